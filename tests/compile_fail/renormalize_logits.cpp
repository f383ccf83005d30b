// Logits add up to anything, 0 included: they are not divided by their sum.
// expect: FitsScore
#include "headgate/kernels/scalar.hpp"
#include "headgate/routing/topk_softmax.hpp"

using namespace headgate;

#ifdef HEADGATE_COMPILE_FAIL
using Score = IdentityScore;
#else
using Score = SigmoidScore;
#endif

index_t route(const float* gate) {
  return StagedRouter<Score, TopK, Renormalize, Scalar>({.gate = {gate, 7, 26}}, {3}, {}).num_experts();
}
