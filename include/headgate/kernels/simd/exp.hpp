// exp, sigmoid and erf of a register of floats.
//   exp(x) = 2^n exp(r),  n = round(x / ln 2),  |r| <= ln 2 / 2, a polynomial of degree 6 in r. Within 2 ulp; exactly 0
//   below ln(2^-126), so that -inf weighs nothing and no result is denormal; inf above the largest float.
//   erf(x): Norbert Juffa's two minimax polynomials, below and above |x| = 0.93. Within 2 ulp.
#pragma once

#include <limits>

#include "headgate/kernels/simd/arch.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Arch>
HEADGATE_INLINE Floats<Arch> exp(Floats<Arch> x) noexcept {
  using F = Floats<Arch>;
  // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits.
  const F rounder(12582912.0f);
  const F shifted = multiply_add<Arch>(x, F(1.44269504f), rounder);
  const F n = shifted - rounder;
  // ln 2 in two parts, the first with trailing zeros, so that n times it is exact.
  const F r = multiply_add<Arch>(n, F(-1.42860677e-6f), multiply_add<Arch>(n, F(-0.693145752f), x));
  F p(1.37805939e-3f);
  p = multiply_add<Arch>(p, r, F(8.37312452e-3f));
  p = multiply_add<Arch>(p, r, F(4.16695364e-2f));
  p = multiply_add<Arch>(p, r, F(1.66664720e-1f));
  p = multiply_add<Arch>(p, r, F(4.99999851e-1f));
  p = multiply_add<Arch>(p, r, F(1.0f));
  p = multiply_add<Arch>(p, r, F(1.0f));
  // n goes to the exponent; the rounder's own bits are shifted out.
  const F scaled = as_floats<Arch>(as_words<Arch>(p) + (as_words<Arch>(shifted) << 23));
  const F not_small = xsimd::select(x < F(-87.3365402f), F(0.0f), scaled);
  const F finite = xsimd::select(x > F(88.7228317f), F(std::numeric_limits<float>::infinity()), not_small);
  return xsimd::select(x == x, finite, x);
}

template <class Arch>
HEADGATE_INLINE Floats<Arch> sigmoid(Floats<Arch> x) noexcept {
  const Floats<Arch> one(1.0f);
  return one / (one + exp<Arch>(-x));
}

template <class Arch>
HEADGATE_INLINE Floats<Arch> erf(Floats<Arch> x) noexcept {
  using F = Floats<Arch>;
  const F s = x * x;
  const F t = xsimd::select(xsimd::abs(x) > F(4.0f), F(4.0f), xsimd::abs(x));  // erf(4) is 1 in float
  F outer = multiply_add<Arch>(F(-1.72853470e-5f), t, F(3.83197126e-4f));
  outer = multiply_add<Arch>(outer, t * t, multiply_add<Arch>(F(-3.88396438e-3f), t, F(2.42546219e-2f)));
  outer = multiply_add<Arch>(outer, t, F(-1.06777877e-1f));
  outer = multiply_add<Arch>(outer, t, F(-6.34846687e-1f));
  outer = multiply_add<Arch>(outer, t, F(-1.28717512e-1f));
  outer = multiply_add<Arch>(outer, t, -t);
  outer = F(1.0f) - exp<Arch>(outer);
  outer = xsimd::select(x < F(0.0f), -outer, outer);
  F inner(-5.96761703e-4f);
  inner = multiply_add<Arch>(inner, s, F(4.99119423e-3f));
  inner = multiply_add<Arch>(inner, s, F(-2.67681349e-2f));
  inner = multiply_add<Arch>(inner, s, F(1.12819925e-1f));
  inner = multiply_add<Arch>(inner, s, F(-3.76125336e-1f));
  inner = multiply_add<Arch>(inner, s, F(1.28379166e-1f));
  inner = multiply_add<Arch>(inner, x, x);
  return xsimd::select(t > F(0.927734375f), outer, inner);
}

}  // namespace headgate::inline HEADGATE_ABI
