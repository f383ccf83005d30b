// A select stage says how many experts it chooses, or a plan has no room for them.
// expect: SelectStage
#include "headgate/kernels/scalar.hpp"
#include "headgate/routing/staged_router.hpp"

using namespace headgate;

struct First {
  static constexpr bool needs_nonnegative_scores = false;
  Status check(index_t) const noexcept { return Status::success(); }
  index_t min_k(index_t) const noexcept { return 1; }
#ifndef HEADGATE_COMPILE_FAIL
  index_t max_k(index_t) const noexcept { return 1; }
#endif
  First with_k(index_t) const noexcept { return {}; }
  template <class Backend>
  index_t choose(std::span<const float>, std::span<const float>, std::span<ExpertId> chosen) const noexcept {
    chosen[0] = 0;
    return 1;
  }
};

index_t route(const float* gate) {
  return StagedRouter<SoftmaxScore, First, Keep, Scalar>({.gate = {gate, 7, 26}}, {}, {}).num_experts();
}
