// LongCat-Flash's router (Meituan 2025, arXiv 2509.01322, section 2.1): zero experts, which return their input, stand
// among the others, so that a token takes as many feed-forward networks as it needs:
//   s = softmax(W x) over n + m experts;  A = top k of s + b;  w_e = c s_e
// with b = e_score_correction_bias, which selects and never weighs, and c = routed_scaling_factor. The m zero experts
// are the last ids and take their weight with them: y += w_e x. They are experts of the bank
// (experts/zero_compute.hpp), unlike AdaMoE's null experts. Follows transformers' longcat_flash, of which golden
// vectors come; like it, a bias of the classifier (router_bias) reaches no logit. Behind DeepSeek-V3's grouped gate
// (defined here; no model has both): the n stand in groups, the m in none, always in the running.
#pragma once

#include "headgate/kernels/native.hpp"
#include "headgate/routing/deepseek.hpp"
#include "headgate/routing/staged_router.hpp"
#include "headgate/routing/stages/top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Backend = NativeBackend>
using LongCatRouter = StagedRouter<SoftmaxScore, TopK, Scale, Backend>;

// Table of routers: longcat_router | softmax, top k by softmax + bias; some experts return their input |
//   Meituan 2025, 2509.01322
// The gate has n + m rows; selection_bias of the weights is b.
template <class Backend = NativeBackend>
Expected<LongCatRouter<Backend>> longcat_router(const GateWeights& weights, index_t k, float scale) {
  return LongCatRouter<Backend>::create(weights, TopK{k}, Scale{scale});
}

// Table of routers: grouped_zero_expert_router | deepseek_v3_router with experts that return their input, in no group |
//   after Meituan 2025, 2509.01322
// deepseek_v3_router with m zero experts, the last rows of the gate.
template <class Backend = NativeBackend>
Expected<DeepseekV3Router<Backend>> grouped_zero_expert_router(const GateWeights& weights, index_t zero_experts,
                                                               index_t k, float scale, DeepseekGroups groups) {
  const GroupedTopK select{k, groups.num_groups, groups.topk_group, groups.num_groups == 1 ? 1 : 2, zero_experts};
  return DeepseekV3Router<Backend>::create(weights, select, {{.add = 1e-20f}, {scale}});
}

}  // namespace headgate::inline HEADGATE_ABI
