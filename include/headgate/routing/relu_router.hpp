// ReMoE (Wang et al. 2025, arXiv 2412.14711, section 3.1, eq. 5): no k, no softmax, no sum:
//   w_e = max(z_e, 0),  z = W x;  every expert with w_e > 0 is active
// Continuous in x, 1-homogeneous in it, rows from empty to full. Follows the paper, whose code is the same line; the
// regularisation that steers sparsity is training's.
#pragma once

#include "headgate/kernels/native.hpp"
#include "headgate/routing/staged_router.hpp"
#include "headgate/routing/stages/positive.hpp"

namespace headgate::inline HEADGATE_ABI {

struct ReluScore {
  static constexpr RowSum sum = RowSum::free;
  static constexpr bool never_negative = true;
  static constexpr bool takes_minus_inf = true;
  template <class Backend>
  void apply(std::span<float> row) const noexcept {
    for (float& s : row) s = s > 0.0f ? s : 0.0f;
  }
};
static_assert(ScoreStage<ReluScore>);

template <class Backend = NativeBackend>
using ReluRouter = StagedRouter<ReluScore, Positive, Keep, Backend>;

// Table of routers: relu_router | every expert with a positive logit, weighed by it | Wang et al. 2024, 2412.14711
template <class Backend = NativeBackend>
Expected<ReluRouter<Backend>> relu_router(const GateWeights& weights) {
  return ReluRouter<Backend>::create(weights, Positive{}, Keep{});
}

}  // namespace headgate::inline HEADGATE_ABI
