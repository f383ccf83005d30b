// Tutel's cosine router (Hwang et al. 2022, arXiv 2206.03382; after Chi et al. 2022, arXiv 2204.09179):
//   z = exp(min(tau, ln 100)) <norm(P x + p), norm(c_e)>;  s = softmax(z);  A = top k
//   w_e = s_e / max(sum_A s, 2^-23), and s_e itself where k = 1
// Follows cosine_top.py and extract_critical of Tutel, of which golden vectors come. Tutel then drops what is beyond an
// expert's capacity: routing/expert_capacity.hpp and limit_capacity of routing/plan_transform.hpp do that to a plan.
#pragma once

#include "headgate/kernels/native.hpp"
#include "headgate/routing/cosine_gate.hpp"
#include "headgate/routing/gated_router.hpp"
#include "headgate/routing/stages/top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Backend = NativeBackend>
using TutelCosineRouter = GatedRouter<CosineGate<Backend>, SoftmaxScore, TopK, Renormalize, Backend>;

// Table of routers: tutel_cosine_router | cosines of a projection to prototypes, softmax, top k, divided by their sum |
//   Hwang et al. 2022, 2206.03382
template <class Backend = NativeBackend>
Expected<TutelCosineRouter<Backend>> tutel_cosine_router(const CosineGateWeights& weights, index_t k) {
  return TutelCosineRouter<Backend>::create(CosineGate<Backend>::create(weights), TopK{k},
                                            Renormalize{.at_least = 0x1p-23f, .keep_single = true});
}

}  // namespace headgate::inline HEADGATE_ABI
