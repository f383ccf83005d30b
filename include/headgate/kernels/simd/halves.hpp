// Numbers of one or two bytes as words, and halves as the floats that they are.
#pragma once

#include "headgate/kernels/simd/arch.hpp"

#if defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__AVX2__)
#include <immintrin.h>
#endif

namespace headgate::inline HEADGATE_ABI {

template <class Arch>
struct Ints {
  typedef std::int32_t type __attribute__((vector_size(4 * Floats<Arch>::size)));
};

namespace detail {

template <class Arch>
HEADGATE_INLINE typename Words<Arch>::type splat(std::uint32_t word) noexcept {
  return word - typename Words<Arch>::type{};
}
template <class Arch>
HEADGATE_INLINE Floats<Arch> to_floats(typename Ints<Arch>::type ints) noexcept {
  typedef float Vector __attribute__((vector_size(4 * Floats<Arch>::size)));
  return __builtin_bit_cast(typename Floats<Arch>::register_type, __builtin_convertvector(ints, Vector));
}
template <class Narrow, index_t LANES>
struct Numbers {
  typedef Narrow type __attribute__((vector_size(static_cast<unsigned>(LANES) * sizeof(Narrow))));
};
template <class Arch, class Narrow>
HEADGATE_INLINE auto load_numbers(const std::byte* from) noexcept {
  typename Numbers<Narrow, lanes<Arch>>::type numbers;
  std::memcpy(&numbers, from, sizeof numbers);
  return numbers;
}
// As many bytes as a register has lanes, each as a word.
template <class Arch, class Narrow>
HEADGATE_INLINE typename Ints<Arch>::type widened(const std::byte* from) noexcept {
  const auto narrow = load_numbers<Arch, Narrow>(from);
#if HEADGATE_AVX512
  if constexpr (lanes<Arch> == 16) {
    const auto bytes = __builtin_bit_cast(__m128i, narrow);
    const __m512i words = std::is_signed_v<Narrow> ? _mm512_maskz_cvtepi8_epi32(0xffff, bytes)
                                                   : _mm512_maskz_cvtepu8_epi32(0xffff, bytes);
    return __builtin_bit_cast(typename Ints<Arch>::type, words);
  }
#endif
#if defined(__AVX2__)
  if constexpr (lanes<Arch> == 8) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    const __m256i words = std::is_signed_v<Narrow> ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes);
    return __builtin_bit_cast(typename Ints<Arch>::type, words);
  }
#endif
  // In two steps: g++ 12 takes one for each number otherwise.
  using Short = std::conditional_t<std::is_signed_v<Narrow>, std::int16_t, std::uint16_t>;
  return __builtin_convertvector(__builtin_convertvector(narrow, typename Numbers<Short, lanes<Arch>>::type),
                                 typename Ints<Arch>::type);
}
template <class Arch>
HEADGATE_INLINE Floats<Arch> floats_of_halves(typename Numbers<std::uint16_t, lanes<Arch>>::type halves) noexcept {
#if HEADGATE_AVX512
  if constexpr (lanes<Arch> == 16) return _mm512_maskz_cvtph_ps(0xffff, __builtin_bit_cast(__m256i, halves));
#endif
#if defined(__F16C__)
  if constexpr (lanes<Arch> == 8) return _mm256_cvtph_ps(__builtin_bit_cast(__m128i, halves));
#endif
#if defined(__aarch64__)
  if constexpr (lanes<Arch> == 4) return vcvt_f32_f16(__builtin_bit_cast(float16x4_t, halves));
#endif
  using Word = typename Words<Arch>::type;
  const auto half = __builtin_convertvector(halves, Word);
  constexpr std::uint32_t smallest = 0x400u << 13;  // normal number, and infinity
  constexpr std::uint32_t infinity = 0x7c00u << 13;
  const Word bits = (half & 0x7fffu) << 13;
  const Word tiny = __builtin_bit_cast(Word, bits < smallest);
  const Word rebased = bits + (112u << 23) + (__builtin_bit_cast(Word, bits >= infinity) & (112u << 23));
  const Floats<Arch> unit = as_floats<Arch>(splat<Arch>(113u << 23));
  const Word denormal = as_words<Arch>(as_floats<Arch>(bits + (113u << 23)) - unit);
  return as_floats<Arch>((rebased & ~tiny) | (denormal & tiny) | (half & 0x8000u) << 16);
}
template <class Arch>
HEADGATE_INLINE Floats<Arch> load_halves(const std::byte* from) noexcept {
  return floats_of_halves<Arch>(load_numbers<Arch, std::uint16_t>(from));
}

}  // namespace detail

}  // namespace headgate::inline HEADGATE_ABI
