// softmax and sigmoid in place, float32.
//   softmax(x)_i = exp(x_i - max x) / sum_j exp(x_j - max x);  -inf gives exactly 0, and so does a row of nothing else.
#pragma once

#include "headgate/core/exactly_equal.hpp"
#include "headgate/kernels/simd/exp.hpp"
#include "headgate/kernels/simd/reduce.hpp"

namespace headgate::inline HEADGATE_ABI {

// x becomes exp(x - largest); returns the sum.
template <class Arch>
HEADGATE_NOINLINE float exp_sum(float* x, index_t n, float largest) noexcept {
  const Floats<Arch> subtracted(largest);
  Floats<Arch> totals(0.0f);
  index_t i = 0;
  for (; i + lanes<Arch> <= n; i += lanes<Arch>) {
    const Floats<Arch> y = exp<Arch>(Floats<Arch>::load_unaligned(x + i) - subtracted);
    y.store_unaligned(x + i);
    totals = totals + y;
  }
  if (i < n) {
    store<Arch>(x + i, exp<Arch>(load<Arch>(x + i, n - i) - subtracted), n - i);
    totals = totals + load<Arch>(x + i, n - i);  // again, because the empty lanes must add nothing
  }
  return sum_lanes<Arch>(totals);
}

template <class Arch>
HEADGATE_NOINLINE void softmax(float* x, index_t n) noexcept {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const float largest = max<Arch>(x, n);
  if (exactly_equal(largest, -infinity)) {
    for (index_t i = 0; i < n; ++i) x[i] = 0.0f;
    return;
  }
  const Floats<Arch> total(exp_sum<Arch>(x, n, largest));
  for (index_t i = 0; i < n; i += lanes<Arch>) store<Arch>(x + i, load<Arch>(x + i, n - i) / total, n - i);
}

template <class Arch>
HEADGATE_NOINLINE void sigmoid(float* x, index_t n) noexcept {
  for (index_t i = 0; i < n; i += lanes<Arch>) store<Arch>(x + i, sigmoid<Arch>(load<Arch>(x + i, n - i)), n - i);
}

}  // namespace headgate::inline HEADGATE_ABI
