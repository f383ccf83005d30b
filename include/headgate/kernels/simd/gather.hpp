// Products with rows that lie anywhere: several rows at a time, and of those that come next every line is asked for
// while these are computed. One row alone leaves memory waiting: what a row of 1,024 floats costs is the way to it.
// Each row has the bits of dot and axpy.
#pragma once

#include "headgate/kernels/simd/reduce.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace detail {

// Four totals each, which stay in registers.
template <class Arch>
inline constexpr index_t gathered_rows = lanes<Arch> == 16 ? 4 : 2;

// The line of a row that begins with this number, into the second cache.
HEADGATE_INLINE void prefetch(const float* number) noexcept { __builtin_prefetch(number, 0, 2); }

template <class Arch, index_t count, bool has_next>
HEADGATE_NOINLINE void dots(const float* const* rows, const float* x, index_t n, float* out) noexcept {
  constexpr index_t width = lanes<Arch>;
  constexpr index_t floats_per_line = 16;
  Floats<Arch> totals[static_cast<std::size_t>(count)][4] = {};
  index_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width) {
    for (index_t r = 0; r < count; ++r) {
      for (index_t line = 0; has_next && line < 4 * width; line += floats_per_line) {
        prefetch(rows[count + r] + i + line);
      }
    }
    for (index_t j = 0; j < 4; ++j) {
      const Floats<Arch> part = Floats<Arch>::load_unaligned(x + i + width * j);
      for (index_t r = 0; r < count; ++r) {
        totals[r][j] = multiply_add<Arch>(Floats<Arch>::load_unaligned(rows[r] + i + width * j), part, totals[r][j]);
      }
    }
  }
  for (; i < n; i += width) {
    const Floats<Arch> part = load<Arch>(x + i, n - i);
    for (index_t r = 0; r < count; ++r) {
      if (has_next) prefetch(rows[count + r] + i);
      totals[r][0] = multiply_add<Arch>(load<Arch>(rows[r] + i, n - i), part, totals[r][0]);
    }
  }
  for (index_t r = 0; r < count; ++r) {
    out[r] = headgate::sum_lanes<Arch>((totals[r][0] + totals[r][1]) + (totals[r][2] + totals[r][3]));
  }
}

template <class Arch, index_t count, bool has_next>
HEADGATE_NOINLINE void add_scaled(const float* a, const float* const* rows, index_t n, float* y) noexcept {
  constexpr index_t width = lanes<Arch>;
  Floats<Arch> factors[static_cast<std::size_t>(count)];
  for (index_t r = 0; r < count; ++r) factors[r] = Floats<Arch>(a[r]);
  for (index_t i = 0; i < n; i += width) {
    for (index_t r = 0; has_next && r < count; ++r) prefetch(rows[count + r] + i);
    Floats<Arch> sum = load<Arch>(y + i, n - i);
    for (index_t r = 0; r < count; ++r) sum = headgate::fused<Arch>(factors[r], load<Arch>(rows[r] + i, n - i), sum);
    store<Arch>(y + i, sum, n - i);
  }
}

}  // namespace detail

// out[r] = dot(rows[r], x)
template <class Arch>
void gather_dots(const float* const* rows, index_t count, const float* x, index_t n, float* out) noexcept {
  constexpr index_t step = detail::gathered_rows<Arch>;
  index_t r = 0;
  for (; r + 2 * step <= count; r += step) detail::dots<Arch, step, true>(rows + r, x, n, out + r);
  for (; r + step <= count; r += step) detail::dots<Arch, step, false>(rows + r, x, n, out + r);
  for (; r < count; ++r) out[r] = dot<Arch>(rows[r], x, n);
}

// y += a[0] rows[0], then a[1] rows[1], ...
template <class Arch>
void gather_axpy(const float* a, const float* const* rows, index_t count, index_t n, float* y) noexcept {
  constexpr index_t step = detail::gathered_rows<Arch>;
  index_t r = 0;
  for (; r + 2 * step <= count; r += step) detail::add_scaled<Arch, step, true>(a + r, rows + r, n, y);
  for (; r + step <= count; r += step) detail::add_scaled<Arch, step, false>(a + r, rows + r, n, y);
  for (; r < count; ++r) axpy<Arch>(a[r], rows[r], n, y);
}

}  // namespace headgate::inline HEADGATE_ABI
