// fused_multiply_add: a b + c with one rounding, of which every product of this library is a chain. std::fma, but for
// MinGW-w64's (version 10), which rounds twice.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "headgate/core/config.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace detail {

// In double the product is exact. The sum is rounded to odd: where it is not exact its last bit becomes 1, so that
// rounding it to float is rounding once (Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums").
HEADGATE_INLINE float fused_by_double(float a, float b, float c) noexcept {
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double addend = static_cast<double>(c);
  const double sum = product + addend;
  const double part = sum - product;
  const double error = (product - (sum - part)) + (addend - part);  // Knuth's two-sum; NaN where sum is not finite
  const auto bits = std::bit_cast<std::uint64_t>(sum);
  if ((error < 0.0 || error > 0.0) && (bits & 1u) == 0u) {
    const bool away_from_zero = (error > 0.0) == (sum > 0.0);
    return static_cast<float>(std::bit_cast<double>(away_from_zero ? bits + 1u : bits - 1u));
  }
  return static_cast<float>(sum);
}

}  // namespace detail

HEADGATE_INLINE float fused_multiply_add(float a, float b, float c) noexcept {
#if defined(__MINGW32__) && !defined(__FMA__)
  return detail::fused_by_double(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

}  // namespace headgate::inline HEADGATE_ABI
