// Dot products of four bytes: what processors multiply whole numbers with. Intrinsics that xsimd lacks.
#pragma once

#include <array>

#include "headgate/kernels/simd/halves.hpp"

#if defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__AVX2__)
#include <immintrin.h>
#endif

namespace headgate::inline HEADGATE_ABI {

namespace detail {

// The sum as it is. g++ adds whole numbers in an order of its own otherwise, keeps what it has not added, and spills.
template <class Register>
HEADGATE_INLINE Register in_order(Register sum) noexcept {
#if defined(__aarch64__)
  __asm__ volatile("" : "+w"(sum));
#elif defined(__AVX2__)
  __asm__("" : "+v"(sum));
#endif
  return sum;
}

// sum[i] += q[4 i] x[4 i] + ... + q[4 i + 3] x[4 i + 3], q without a sign, x with one. WIDE: q may be more than 127.
#if defined(__AVX512VNNI__) && HEADGATE_AVX512
template <bool WIDE>
HEADGATE_INLINE __m512i dot_bytes(__m512i sum, __m512i q, __m512i x) noexcept {
  return _mm512_dpbusd_epi32(sum, q, x);
}
#elif HEADGATE_AVX512
// Pairs are added with 16 bits, in which two products of 128 by 127 have room.
template <bool WIDE>
HEADGATE_INLINE __m512i dot_bytes(__m512i sum, __m512i q, __m512i x) noexcept {
  if constexpr (WIDE) {
    const __m512i low = _mm512_maddubs_epi16(_mm512_and_si512(q, _mm512_set1_epi8(0x7f)), x);
    const __m512i high = _mm512_maddubs_epi16(_mm512_and_si512(_mm512_srli_epi16(q, 7), _mm512_set1_epi8(1)), x);
    sum = in_order(_mm512_add_epi32(sum, _mm512_madd_epi16(low, _mm512_set1_epi16(1))));
    return in_order(_mm512_add_epi32(sum, _mm512_madd_epi16(high, _mm512_set1_epi16(128))));
  } else {
    return in_order(_mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(q, x), _mm512_set1_epi16(1))));
  }
}
#endif

#if defined(__AVXVNNI__)
template <bool WIDE>
HEADGATE_INLINE __m256i dot_bytes(__m256i sum, __m256i q, __m256i x) noexcept {
  return _mm256_dpbusd_avx_epi32(sum, q, x);
}
#elif defined(__AVX2__)
template <bool WIDE>
HEADGATE_INLINE __m256i dot_bytes(__m256i sum, __m256i q, __m256i x) noexcept {
  if constexpr (WIDE) {
    const __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(q, _mm256_set1_epi8(0x7f)), x);
    const __m256i high = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(q, 7), _mm256_set1_epi8(1)), x);
    sum = in_order(_mm256_add_epi32(sum, _mm256_madd_epi16(low, _mm256_set1_epi16(1))));
    return in_order(_mm256_add_epi32(sum, _mm256_madd_epi16(high, _mm256_set1_epi16(128))));
  } else {
    return in_order(_mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(q, x), _mm256_set1_epi16(1))));
  }
}
#elif defined(__aarch64__)
HEADGATE_INLINE int32x4_t dot_signed(int32x4_t sum, int8x16_t q, int8x16_t x) noexcept {
#if defined(__ARM_FEATURE_DOTPROD)
  return in_order(vdotq_s32(sum, q, x));
#else
  const int16x8_t low = vmull_s8(vget_low_s8(q), vget_low_s8(x));
  const int16x8_t high = vmull_s8(vget_high_s8(q), vget_high_s8(x));
  return in_order(vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high))));
#endif
}
template <bool WIDE>
HEADGATE_INLINE int32x4_t dot_bytes(int32x4_t sum, uint8x16_t q, int8x16_t x) noexcept {
  if constexpr (WIDE) {
    sum = dot_signed(sum, vreinterpretq_s8_u8(vandq_u8(q, vdupq_n_u8(0x7f))), x);
    return in_order(
        vaddq_s32(sum, vshlq_n_s32(dot_signed(vdupq_n_s32(0), vreinterpretq_s8_u8(vshrq_n_u8(q, 7)), x), 7)));
  } else {
    return dot_signed(sum, vreinterpretq_s8_u8(q), x);
  }
}
#endif

#if defined(__AVX512VNNI__) && HEADGATE_AVX512
inline constexpr bool has_wide_vnni = true;
#else
inline constexpr bool has_wide_vnni = false;
#endif
#if defined(__AVXVNNI__)
inline constexpr bool has_vnni = true;
#else
inline constexpr bool has_vnni = false;
#endif

}  // namespace detail

// Whether the architecture has such products, and whether one with q of more than 127 costs more.
#if defined(__aarch64__)
template <class Arch>
inline constexpr bool has_dot = true;
#elif defined(__AVX2__)
template <class Arch>
inline constexpr bool has_dot = lanes<Arch> >= 8;
#else
template <class Arch>
inline constexpr bool has_dot = false;
#endif
template <class Arch>
inline constexpr bool wide_dot_costs_more = !(lanes<Arch> == 16 ? detail::has_wide_vnni : detail::has_vnni);

#if defined(__aarch64__) || defined(__AVX2__)

// As detail::dot_bytes; four bytes in a word.
template <class Arch, bool WIDE>
HEADGATE_INLINE typename Ints<Arch>::type dot(typename Ints<Arch>::type sum, typename Words<Arch>::type q,
                                              typename Words<Arch>::type x) noexcept {
  using Sum = typename Ints<Arch>::type;
#if defined(__aarch64__)
  return __builtin_bit_cast(
      Sum, detail::dot_bytes<WIDE>(__builtin_bit_cast(int32x4_t, sum), __builtin_bit_cast(uint8x16_t, q),
                                   __builtin_bit_cast(int8x16_t, x)));
#elif defined(__AVX2__)
  using Register = decltype([] {
#if HEADGATE_AVX512
    if constexpr (lanes<Arch> == 16)
      return __m512i{};
    else
#endif
      return __m256i{};
  }());
  return __builtin_bit_cast(Sum,
                            detail::dot_bytes<WIDE>(__builtin_bit_cast(Register, sum), __builtin_bit_cast(Register, q),
                                                    __builtin_bit_cast(Register, x)));
#endif
}

// table[byte] for every byte, which are below 16.
template <class Arch>
HEADGATE_INLINE typename Words<Arch>::type look_up(const std::array<std::uint8_t, 16>& table,
                                                   typename Words<Arch>::type bytes) noexcept {
  using Result = typename Words<Arch>::type;
#if defined(__aarch64__)
  return __builtin_bit_cast(Result, vqtbl1q_u8(vld1q_u8(table.data()), __builtin_bit_cast(uint8x16_t, bytes)));
#elif defined(__AVX2__)
  const __m128i one = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table.data()));
#if HEADGATE_AVX512
  if constexpr (lanes<Arch> == 16) {
    return __builtin_bit_cast(
        Result, _mm512_shuffle_epi8(_mm512_maskz_broadcast_i32x4(0xffff, one), __builtin_bit_cast(__m512i, bytes)));
  } else
#endif
  {
    return __builtin_bit_cast(
        Result, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(one), __builtin_bit_cast(__m256i, bytes)));
  }
#endif
}

#else  // never called

template <class Arch, bool WIDE>
typename Ints<Arch>::type dot(typename Ints<Arch>::type sum, typename Words<Arch>::type q,
                              typename Words<Arch>::type x) noexcept;
template <class Arch>
typename Words<Arch>::type look_up(const std::array<std::uint8_t, 16>& table,
                                   typename Words<Arch>::type bytes) noexcept;

#endif

}  // namespace headgate::inline HEADGATE_ABI
