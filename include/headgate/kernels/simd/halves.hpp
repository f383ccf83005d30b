// Numbers of one or two bytes as words, and halves as the floats that they are.
#pragma once

#include "headgate/kernels/simd/arch.hpp"

#if defined(__AVX2__)
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
// As many narrow numbers, each as a word.
template <class Arch, class Narrow>
HEADGATE_INLINE typename Ints<Arch>::type widened(const std::byte* from) noexcept {
  typedef Narrow Vector __attribute__((vector_size(sizeof(Narrow) * Floats<Arch>::size)));
  Vector narrow;
  std::memcpy(&narrow, from, sizeof narrow);
  if constexpr (sizeof(Narrow) == 1) {  // in two steps: g++ 12 takes one for each number otherwise
    using Short = std::conditional_t<std::is_signed_v<Narrow>, std::int16_t, std::uint16_t>;
    typedef Short Shorts __attribute__((vector_size(2 * Floats<Arch>::size)));
    return __builtin_convertvector(__builtin_convertvector(narrow, Shorts), typename Ints<Arch>::type);
  } else {
    return __builtin_convertvector(narrow, typename Ints<Arch>::type);
  }
}
template <class Arch>
HEADGATE_INLINE Floats<Arch> load_halves(const std::byte* from) noexcept {
#if HEADGATE_AVX512
  if constexpr (lanes<Arch> == 16)
    return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#endif
#if defined(__F16C__)
  if constexpr (lanes<Arch> == 8) return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#endif
  using Word = typename Words<Arch>::type;
  const auto half = __builtin_bit_cast(Word, widened<Arch, std::uint16_t>(from));
  constexpr std::uint32_t smallest = 0x400u << 13;  // normal number, and infinity
  constexpr std::uint32_t infinity = 0x7c00u << 13;
  const Word bits = (half & 0x7fffu) << 13;
  const Word tiny = __builtin_bit_cast(Word, bits < smallest);
  const Word rebased = bits + (112u << 23) + (__builtin_bit_cast(Word, bits >= infinity) & (112u << 23));
  const Floats<Arch> unit = as_floats<Arch>(splat<Arch>(113u << 23));
  const Word denormal = as_words<Arch>(as_floats<Arch>(bits + (113u << 23)) - unit);
  return as_floats<Arch>((rebased & ~tiny) | (denormal & tiny) | (half & 0x8000u) << 16);
}

}  // namespace detail

}  // namespace headgate::inline HEADGATE_ABI
