// Top-k softmax is not one function. z = W x are the logits of a token, A its k chosen experts:
//   who                                  w_e for e in A                          how
//   Switch (Fedus 2021, eq. 1-2)         softmax(z)_e, k = 1                     switch_router
//   Mixtral (Jiang 2024, section 2.1)    softmax(z)_e / sum_A softmax(z)         mixtral_router
//   OLMoE (Muennighoff 2024, eq. 2)      softmax(z)_e                            olmoe_router
//   Qwen1.5/2-MoE (Yang 2024)            softmax(z)_e                            qwen2_moe_router
//   Qwen3-MoE (Yang 2025)                softmax(z)_e / sum_A softmax(z)         qwen3_moe_router
//   Granite, JetMoE, Shazeer 2017        exp(z_e) / sum_A exp(z)                 granite_router
//   gpt-oss (OpenAI 2025)                the same, z = W x + b                   granite_router with gate_bias
//   DeepSeek-V2 (greedy)                 c softmax(z)_e                          SoftmaxTopK<Scale>
//   Tutel                                softmax / max(sum_A, 2^-23); k = 1: softmax
//                                                                        SoftmaxTopK<Renormalize>, 2^-23, keep_single
//   ERNIE 4.5 (Baidu 2025)               softmax / max(sum_A, 1e-12), A by softmax + b    ernie_router
//   Llama 4                              1 / (1 + exp(-z_e)), A by z             SigmoidOverSelected of IdentityScore
//   FactorLLM, SPT                       equal ones, A by z                      hard_top_k.hpp
// OLMoE, Qwen2-MoE, Qwen3-MoE and Mellum checkpoints say in norm_topk_prob whether weights are divided by their sum.
// The presets are what the published models say; a loader that reads the opposite takes the preset that divides, or
// does not (Mellum's is Qwen3-MoE's). Follows the modelling code of transformers, from which the golden vectors come.
// "softmax / sum_A" and "softmax over A" agree in exact arithmetic, not in bits. Switch drops tokens beyond an expert's
// capacity: limit_capacity of routing/plan_transform.hpp does that to a plan.
#pragma once

#include "headgate/kernels/native.hpp"
#include "headgate/routing/staged_router.hpp"
#include "headgate/routing/stages/top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

// Softmax over all experts, then the k best, weighed by Weigh.
template <WeighStage Weigh, class Backend = NativeBackend>
using SoftmaxTopK = StagedRouter<SoftmaxScore, TopK, Weigh, Backend>;
// The k best by logit, then softmax over these.
template <class Backend = NativeBackend>
using TopKThenSoftmax = StagedRouter<IdentityScore, TopK, SoftmaxOverSelected, Backend>;
// The commonest: softmax, the k best, divided by their sum.
using TopKSoftmax = SoftmaxTopK<Renormalize>;

// Table of routers: switch_router | softmax, best one | Fedus et al. 2021, 2101.03961
template <class Backend = NativeBackend>
Expected<SoftmaxTopK<Keep, Backend>> switch_router(const GateWeights& weights) {
  return SoftmaxTopK<Keep, Backend>::create(weights, TopK{1}, Keep{});
}
// Table of routers: mixtral_router | softmax, top k, divided by their sum | Jiang et al. 2024, 2401.04088
template <class Backend = NativeBackend>
Expected<SoftmaxTopK<Renormalize, Backend>> mixtral_router(const GateWeights& weights, index_t k) {
  return SoftmaxTopK<Renormalize, Backend>::create(weights, TopK{k}, Renormalize{});
}
// Table of routers: olmoe_router | softmax, top k | Muennighoff et al. 2024, 2409.02060
template <class Backend = NativeBackend>
Expected<SoftmaxTopK<Keep, Backend>> olmoe_router(const GateWeights& weights, index_t k) {
  return SoftmaxTopK<Keep, Backend>::create(weights, TopK{k}, Keep{});
}
// Table of routers: qwen2_moe_router | softmax, top k | Yang et al. 2024, 2407.10671
template <class Backend = NativeBackend>
Expected<SoftmaxTopK<Keep, Backend>> qwen2_moe_router(const GateWeights& weights, index_t k) {
  return SoftmaxTopK<Keep, Backend>::create(weights, TopK{k}, Keep{});
}
// Table of routers: qwen3_moe_router | softmax, top k, divided by their sum | Yang et al. 2025, 2505.09388
template <class Backend = NativeBackend>
Expected<SoftmaxTopK<Renormalize, Backend>> qwen3_moe_router(const GateWeights& weights, index_t k) {
  return SoftmaxTopK<Renormalize, Backend>::create(weights, TopK{k}, Renormalize{});
}
// Table of routers: granite_router | top k, then softmax over these | Shazeer et al. 2017, 1701.06538
template <class Backend = NativeBackend>
Expected<TopKThenSoftmax<Backend>> granite_router(const GateWeights& weights, index_t k) {
  return TopKThenSoftmax<Backend>::create(weights, TopK{k}, SoftmaxOverSelected{});
}

// Table of routers: ernie_router | softmax, top k by softmax + bias, divided by their sum | Baidu 2025, ERNIE 4.5
// The weights' selection_bias is b (moe_statics.e_score_correction_bias); at_least is moe_norm_min.
template <class Backend = NativeBackend>
Expected<SoftmaxTopK<Renormalize, Backend>> ernie_router(const GateWeights& weights, index_t k,
                                                         float at_least = 1e-12f) {
  return SoftmaxTopK<Renormalize, Backend>::create(weights, TopK{k}, Renormalize{.at_least = at_least});
}

}  // namespace headgate::inline HEADGATE_ABI
