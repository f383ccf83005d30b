// Numbers of a cache's lines (kernels/cache_format.hpp) as registers of floats.
#pragma once

#include <cstring>

#include "headgate/kernels/cache_format.hpp"
#include "headgate/kernels/simd/arch.hpp"

#if defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__AVX2__)
#include <immintrin.h>
#endif

namespace headgate::inline HEADGATE_ABI {

namespace detail {

template <class Number, index_t LANES>
struct Numbers {
  typedef Number type __attribute__((vector_size(static_cast<unsigned>(LANES) * sizeof(Number))));
};

}  // namespace detail

// As many whole numbers as a register has lanes.
template <class Arch>
HEADGATE_INLINE Floats<Arch> floats_of(const std::int8_t* from) noexcept {
  using Register = typename Floats<Arch>::register_type;
  // In two steps: g++ 12 takes one of them number by number.
  typename detail::Numbers<std::int8_t, lanes<Arch>>::type bytes;
  std::memcpy(&bytes, from, sizeof bytes);
#if HEADGATE_AVX512
  if constexpr (lanes<Arch> == 16) {
    return _mm512_maskz_cvtepi32_ps(0xffff, _mm512_maskz_cvtepi8_epi32(0xffff, __builtin_bit_cast(__m128i, bytes)));
  }
#endif
#if defined(__AVX2__)
  if constexpr (lanes<Arch> == 8) {
    __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low));
  }
#endif
  const auto shorts = __builtin_convertvector(bytes, typename detail::Numbers<std::int16_t, lanes<Arch>>::type);
  const auto words = __builtin_convertvector(shorts, typename detail::Numbers<std::int32_t, lanes<Arch>>::type);
  const auto floats = __builtin_convertvector(words, typename detail::Numbers<float, lanes<Arch>>::type);
  return __builtin_bit_cast(Register, floats);
}

// The same of halves.
template <class Arch>
HEADGATE_INLINE Floats<Arch> floats_of_halves(
    typename detail::Numbers<std::uint16_t, lanes<Arch>>::type bits) noexcept {
#if HEADGATE_AVX512
  if constexpr (lanes<Arch> == 16) return _mm512_maskz_cvtph_ps(0xffff, __builtin_bit_cast(__m256i, bits));
#endif
#if defined(__F16C__)
  if constexpr (lanes<Arch> == 8) return _mm256_cvtph_ps(__builtin_bit_cast(__m128i, bits));
#endif
#if defined(__aarch64__)
  if constexpr (lanes<Arch> == 4) return vcvt_f32_f16(__builtin_bit_cast(float16x4_t, bits));
#endif
  // As f16's own: what is large as a number of bits is infinite or NaN, what is small not normal.
  using Words = typename headgate::Words<Arch>::type;
  const auto wide = __builtin_convertvector(bits, Words);
  const Words magnitude = wide & 0x7fffu;
  const Floats<Arch> scaled = as_floats<Arch>(magnitude << 13) * Floats<Arch>(0x1p112f);
  const Words infinite = as_words<Arch>(scaled) | 0x7f800000u;
  const Floats<Arch> number = xsimd::select(scaled < Floats<Arch>(65536.0f), scaled, as_floats<Arch>(infinite));
  return as_floats<Arch>(as_words<Arch>(number) | (wide & 0x8000u) << 16);
}
template <class Arch>
HEADGATE_INLINE Floats<Arch> floats_of(const f16* from) noexcept {
  typename detail::Numbers<std::uint16_t, lanes<Arch>>::type bits;
  std::memcpy(&bits, from, sizeof bits);
  return floats_of_halves<Arch>(bits);
}
template <class Arch>
HEADGATE_INLINE Floats<Arch> floats_of(const float* from) noexcept {
  return Floats<Arch>::load_unaligned(from);
}

// Part `part` of 16 / lanes of a line, without its scales.
template <class Arch, class Format>
HEADGATE_INLINE Floats<Arch> numbers_of(const std::byte* line, index_t part) noexcept {
  return floats_of<Arch>(reinterpret_cast<const typename Format::Number*>(line) + lanes<Arch> * part);
}
// A half in all lanes.
template <class Arch>
HEADGATE_INLINE Floats<Arch> scale_of(const std::byte* half) noexcept {
  std::uint16_t bits;
  std::memcpy(&bits, half, sizeof bits);
  return floats_of_halves<Arch>(typename detail::Numbers<std::uint16_t, lanes<Arch>>::type{} + bits);
}

}  // namespace headgate::inline HEADGATE_ABI
