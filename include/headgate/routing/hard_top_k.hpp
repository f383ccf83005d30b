// Routers of dense networks that were cut into experts (experts/split_ffn.hpp): the k best by logit, all with one
// weight, since the parts of a network are added and not averaged. z = W x + b:
//   SPT (Gui et al. 2023)            weight 1; the gate's sigmoid is of training alone
//   FactorLLM (Zhao et al. 2024)     weight E / k rounded down, as in its code, so that k parts stand for all
//   Duo-LLM (Alizadeh et al. 2024)   weight 1, k = 1: softmax(z / tau) of training has the same best one
#pragma once

#include "headgate/kernels/native.hpp"
#include "headgate/routing/staged_router.hpp"
#include "headgate/routing/stages/top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Backend = NativeBackend>
using HardTopK = StagedRouter<IdentityScore, TopK, EqualWeights, Backend>;

// Table of routers: spt_router | top k by logit, weight 1 | Gui et al. 2023, 2312.10365
template <class Backend = NativeBackend>
Expected<HardTopK<Backend>> spt_router(const GateWeights& weights, index_t k) {
  return HardTopK<Backend>::create(weights, TopK{k}, EqualWeights{1.0f});
}
// Table of routers: factor_llm_router | top k by logit, weight E / k rounded down | Zhao et al. 2024, 2408.11855
template <class Backend = NativeBackend>
Expected<HardTopK<Backend>> factor_llm_router(const GateWeights& weights, index_t k) {
  if (k < 1) return Status::mismatch("k of a router, at least", k, 1);
  return HardTopK<Backend>::create(weights, TopK{k}, EqualWeights{static_cast<float>(weights.gate.rows / k)});
}
// Table of routers: duo_llm_router | best one by logit, weight 1 | Alizadeh et al. 2024, 2410.10846
template <class Backend = NativeBackend>
Expected<HardTopK<Backend>> duo_llm_router(const GateWeights& weights) {
  return spt_router<Backend>(weights, 1);
}

}  // namespace headgate::inline HEADGATE_ABI
