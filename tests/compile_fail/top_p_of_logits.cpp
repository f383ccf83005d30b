// Top-p adds up probabilities; logits are none.
// expect: FitsScore
#include "headgate/kernels/scalar.hpp"
#include "headgate/routing/staged_router.hpp"
#include "headgate/routing/stages/top_p.hpp"

using namespace headgate;

#ifdef HEADGATE_COMPILE_FAIL
using Score = IdentityScore;
#else
using Score = SoftmaxScore;
#endif

index_t route(const float* gate) {
  return StagedRouter<Score, TopP, Keep, Scalar>({.gate = {gate, 7, 26}}, {0.4f}, {}).num_experts();
}
