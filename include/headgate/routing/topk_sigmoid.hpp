// The k best by sigmoid plus bias, one group. z = W x, s = 1 / (1 + exp(-z)), A the k largest of s + b:
//   who                     w_e for e in A                            how
//   LFM2-MoE (Liquid 2025)  c s_e / (sum_A s + 1e-6)                  lfm2_moe_router, b = expert_bias
//   MiniMax-M2 (2025)       s_e / sum_A s                             minimax_m2_router, b = e_score_correction_bias
//   either, where norm_topk_prob is false: c s_e                      scaled_sigmoid_router
// DeepSeek-V3, Moonlight and GLM-4.7-Flash add 1e-20 and may have groups: routing/deepseek.hpp. The bias selects and
// never weighs. Follows transformers, of which golden vectors come; llama.cpp divides LFM2's by max(sum_A s, 6.1e-5).
#pragma once

#include "headgate/kernels/native.hpp"
#include "headgate/routing/staged_router.hpp"
#include "headgate/routing/stages/top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

template <WeighStage Weigh, class Backend = NativeBackend>
using SigmoidTopK = StagedRouter<SigmoidScore, TopK, Weigh, Backend>;

// Table of routers: lfm2_moe_router | sigmoid, top k by sigmoid + bias, divided by their sum | Liquid AI 2025, LFM2-MoE
// scale: routed_scaling_factor, c.
template <class Backend = NativeBackend>
Expected<SigmoidTopK<Then<Renormalize, Scale>, Backend>> lfm2_moe_router(const GateWeights& weights, index_t k,
                                                                         float scale = 1.0f) {
  return SigmoidTopK<Then<Renormalize, Scale>, Backend>::create(weights, TopK{k}, {{.add = 1e-6f}, {scale}});
}
// Table of routers: minimax_m2_router | sigmoid, top k by sigmoid + bias, divided by their sum |
//   MiniMax 2025, MiniMax-M2
template <class Backend = NativeBackend>
Expected<SigmoidTopK<Renormalize, Backend>> minimax_m2_router(const GateWeights& weights, index_t k) {
  return SigmoidTopK<Renormalize, Backend>::create(weights, TopK{k}, Renormalize{});
}
template <class Backend = NativeBackend>
Expected<SigmoidTopK<Scale, Backend>> scaled_sigmoid_router(const GateWeights& weights, index_t k, float scale) {
  return SigmoidTopK<Scale, Backend>::create(weights, TopK{k}, Scale{scale});
}

}  // namespace headgate::inline HEADGATE_ABI
