// Dot products of pairs of bfloat16, which processors with AVX512-BF16 multiply at twice the rate of floats.
#pragma once

#include "headgate/kernels/formats/bf16_tile.hpp"
#include "headgate/kernels/simd/arch.hpp"

namespace headgate::inline HEADGATE_ABI {

#if defined(__AVX512BF16__) && HEADGATE_AVX512
inline constexpr bool has_pair_dots = true;
#else
inline constexpr bool has_pair_dots = false;
#endif

// sum[i] + upper halves of w[i] and x[i] + lower halves: two fused multiply-adds, as the instruction rounds, too. That
// takes numbers below 2^-126 for 0.
template <class Arch>
HEADGATE_INLINE Floats<Arch> dot_pairs(Floats<Arch> w, Floats<Arch> x, Floats<Arch> sum) noexcept {
#if defined(__AVX512BF16__) && HEADGATE_AVX512
  if constexpr (lanes<Arch> == 16) {
    using Pairs = __m512bh;
    return _mm512_dpbf16_ps(sum, __builtin_bit_cast(Pairs, static_cast<__m512>(w)),
                            __builtin_bit_cast(Pairs, static_cast<__m512>(x)));
  }
#endif
  using Word = typename Words<Arch>::type;
  const Word weights = as_words<Arch>(w);
  const Word values = as_words<Arch>(x);
  sum = fused<Arch>(as_floats<Arch>(weights & 0xffff0000u), as_floats<Arch>(values & 0xffff0000u), sum);
  return fused<Arch>(as_floats<Arch>(weights << 16), as_floats<Arch>(values << 16), sum);
}

}  // namespace headgate::inline HEADGATE_ABI
