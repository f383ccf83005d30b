// Sums, maxima and a scaled row that is added. The order of a sum follows from its length alone: four registers take
// turns, then their lanes are added in a fixed tree. axpy gives Scalar's bits.
#pragma once

#include "headgate/core/exactly_equal.hpp"
#include "headgate/kernels/simd/arch.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Arch>
HEADGATE_NOINLINE float sum(const float* x, index_t n) noexcept {
  constexpr index_t width = lanes<Arch>;
  Floats<Arch> totals[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  index_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width) {
    for (index_t j = 0; j < 4; ++j) totals[j] = totals[j] + Floats<Arch>::load_unaligned(x + i + width * j);
  }
  for (; i < n; i += width) totals[0] = totals[0] + load<Arch>(x + i, n - i);
  return sum_lanes<Arch>((totals[0] + totals[1]) + (totals[2] + totals[3]));
}

template <class Arch>
HEADGATE_NOINLINE float dot(const float* x, const float* y, index_t n) noexcept {
  constexpr index_t width = lanes<Arch>;
  Floats<Arch> totals[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  index_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width) {
    for (index_t j = 0; j < 4; ++j) {
      totals[j] = multiply_add<Arch>(Floats<Arch>::load_unaligned(x + i + width * j),
                                     Floats<Arch>::load_unaligned(y + i + width * j), totals[j]);
    }
  }
  for (; i < n; i += width) {
    totals[0] = multiply_add<Arch>(load<Arch>(x + i, n - i), load<Arch>(y + i, n - i), totals[0]);
  }
  return sum_lanes<Arch>((totals[0] + totals[1]) + (totals[2] + totals[3]));
}

// -inf for n = 0. A partial register repeats what came before, since its empty lanes hold 0.
template <class Arch>
HEADGATE_NOINLINE float max(const float* x, index_t n) noexcept {
  constexpr index_t width = lanes<Arch>;
  if (n < width) {
    float largest = -std::numeric_limits<float>::infinity();
    for (index_t i = 0; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
    return largest;
  }
  Floats<Arch> most = Floats<Arch>::load_unaligned(x);
  for (index_t i = width; i < n; i += width) {
    const Floats<Arch> next = Floats<Arch>::load_unaligned(x + (i + width <= n ? i : n - width));
    most = larger<Arch>(next, most);
  }
  return max_lanes<Arch>(most);
}

// x * 0 is NaN for what is not finite, and a sum keeps it.
template <class Arch>
HEADGATE_NOINLINE bool all_finite(const float* x, index_t n) noexcept {
  constexpr index_t width = lanes<Arch>;
  const Floats<Arch> zero(0.0f);
  Floats<Arch> totals[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  index_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width) {
    for (index_t j = 0; j < 4; ++j) {
      totals[j] = multiply_add<Arch>(Floats<Arch>::load_unaligned(x + i + width * j), zero, totals[j]);
    }
  }
  for (; i < n; i += width) totals[0] = multiply_add<Arch>(load<Arch>(x + i, n - i), zero, totals[0]);
  return exactly_equal(sum_lanes<Arch>((totals[0] + totals[1]) + (totals[2] + totals[3])), 0.0f);
}

template <class Arch>
HEADGATE_NOINLINE void axpy(float a, const float* x, index_t n, float* y) noexcept {
  const Floats<Arch> factor(a);
  for (index_t i = 0; i < n; i += lanes<Arch>) {
    store<Arch>(y + i, fused<Arch>(factor, load<Arch>(x + i, n - i), load<Arch>(y + i, n - i)), n - i);
  }
}

}  // namespace headgate::inline HEADGATE_ABI
