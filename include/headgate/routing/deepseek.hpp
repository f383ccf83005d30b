// DeepSeek's routers. z = W x, A the chosen experts of a token:
// clang-format off
//   V2 greedy         s = softmax(z); A = top k of s                 arXiv 2405.04434; V2-Lite, Coder-V2-Lite
//   V2 group-limited  s = softmax(z); a group is as good as its best s; A = top k of s in the topk_group best groups
//                     w_e = c s_e, or, where norm_topk_prob and k > 1, w_e = s_e / (sum_A s + 1e-20): never both
//   V3                s = sigmoid(z); keys u = s + b; a group is as good as the sum of its two best u;
//                     A = top k of u in the topk_group best groups; w_e = c s_e / (sum_A s + 1e-20)
//                     or, where norm_topk_prob is false, w_e = c s_e
//                                                                    arXiv 2412.19437, eq. 12-16; R1; with one group
//                                                                    Moonlight, Kimi-K2, GLM-4.7-Flash (glm4_moe_lite)
// clang-format on
// with c = routed_scaling_factor and b = e_score_correction_bias, which selects and never weighs.
// Follows DeepSeek's inference code (experts of other groups are out, -inf) and, in the epsilon, transformers: the
// inference code has none, and no sum of sigmoids is near 1e-20. transformers' own class for V2 never divides;
// DeepSeek's remote code does what is written here. The inference code reads b only where the model is 7168 wide.
#pragma once

#include "headgate/kernels/native.hpp"
#include "headgate/routing/staged_router.hpp"
#include "headgate/routing/stages/grouped_top_k.hpp"
#include "headgate/routing/stages/top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

struct DeepseekGroups {
  index_t num_groups;  // n_group
  index_t topk_group;
};

// How V2 weighs: by Scale{c}, as all released models do, or by this.
inline constexpr Renormalize deepseek_normalized{.add = 1e-20f};
template <class W>
concept DeepseekV2Weigh = std::same_as<W, Scale> || std::same_as<W, Renormalize>;

template <class Backend = NativeBackend>
using DeepseekV3Router = StagedRouter<SigmoidScore, GroupedTopK, Then<Renormalize, Scale>, Backend>;

// Table of routers: deepseek_v2_router | softmax, groups of experts first, then experts | DeepSeek-AI 2024, 2405.04434
// V2, greedy. With k = 1 DeepSeek's code scales whatever norm_topk_prob says.
template <class Backend = NativeBackend, DeepseekV2Weigh Weigh>
Expected<StagedRouter<SoftmaxScore, TopK, Weigh, Backend>> deepseek_v2_router(const GateWeights& weights, index_t k,
                                                                              Weigh weigh) {
  if (k == 1 && std::same_as<Weigh, Renormalize>) return Status::mismatch("k of normalized weights, at least", 1, 2);
  return StagedRouter<SoftmaxScore, TopK, Weigh, Backend>::create(weights, TopK{k}, weigh);
}
// V2, group-limited.
template <class Backend = NativeBackend, DeepseekV2Weigh Weigh>
Expected<StagedRouter<SoftmaxScore, GroupedTopK, Weigh, Backend>> deepseek_v2_router(const GateWeights& weights,
                                                                                     index_t k, Weigh weigh,
                                                                                     DeepseekGroups groups) {
  if (k == 1 && std::same_as<Weigh, Renormalize>) return Status::mismatch("k of normalized weights, at least", 1, 2);
  const GroupedTopK select{k, groups.num_groups, groups.topk_group, 1};
  return StagedRouter<SoftmaxScore, GroupedTopK, Weigh, Backend>::create(weights, select, weigh);
}
// Table of routers: deepseek_v3_router | sigmoid + bias, groups of experts first, then experts |
//   DeepSeek-AI 2024, 2412.19437
// V3. selection_bias of the weights is b; scale is c. Moonlight has one group.
template <class Backend = NativeBackend>
Expected<DeepseekV3Router<Backend>> deepseek_v3_router(const GateWeights& weights, index_t k, float scale,
                                                       DeepseekGroups groups) {
  const GroupedTopK select{k, groups.num_groups, groups.topk_group, groups.num_groups == 1 ? 1 : 2};
  return DeepseekV3Router<Backend>::create(weights, select, {{.add = 1e-20f}, {scale}});
}

// V3 where norm_topk_prob is false.
template <class Backend = NativeBackend>
Expected<StagedRouter<SigmoidScore, GroupedTopK, Scale, Backend>> deepseek_v3_router(const GateWeights& weights,
                                                                                     index_t k, Scale scale,
                                                                                     DeepseekGroups groups) {
  const GroupedTopK select{k, groups.num_groups, groups.topk_group, groups.num_groups == 1 ? 1 : 2};
  return StagedRouter<SigmoidScore, GroupedTopK, Scale, Backend>::create(weights, select, scale);
}

}  // namespace headgate::inline HEADGATE_ABI
