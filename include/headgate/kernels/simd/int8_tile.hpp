// Making tiles of whole numbers (formats/int8_tile.hpp): the bytes of Scalar.
#pragma once

#include "headgate/kernels/formats/int8_tile.hpp"
#include "headgate/kernels/simd/dot.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace detail {

template <class Vector, int... i>
HEADGATE_INLINE auto half_of(Vector v, bool upper, std::integer_sequence<int, i...>) noexcept {
  constexpr int n = sizeof...(i);
  return upper ? __builtin_shufflevector(v, v, (i + n)...) : __builtin_shufflevector(v, v, i...);
}

}  // namespace detail

// All lanes of a vector by a function of two vectors.
template <class Vector, class Function>
HEADGATE_INLINE auto reduced(Vector v, Function f) noexcept {
  constexpr int n = sizeof(Vector) / sizeof(v[0]);
  if constexpr (n == 2) {
    const Vector swapped = __builtin_shufflevector(v, v, 1, 0);
    return f(v, swapped)[0];
  } else {
    using Half = std::make_integer_sequence<int, n / 2>;
    return reduced(f(detail::half_of(v, false, Half()), detail::half_of(v, true, Half())), f);
  }
}

namespace detail {

// The bytes of 32 whole numbers within [-128, 127], stored, and the sums of 16 and 16 of them.
struct HalfSums {
  std::int32_t first;
  std::int32_t second;
};
template <class Arch>
HEADGATE_INLINE HalfSums store_bytes(const typename Ints<Arch>::type (&q)[as_size(32 / lanes<Arch>)],
                                     std::byte* out) noexcept {
#if defined(__AVX2__)
  if constexpr (lanes<Arch> >= 8) {
    __m256i bytes;
#if HEADGATE_AVX512
    if constexpr (lanes<Arch> == 16) {
      bytes = _mm256_set_m128i(_mm512_maskz_cvtepi32_epi8(0xffff, __builtin_bit_cast(__m512i, q[1])),
                               _mm512_maskz_cvtepi32_epi8(0xffff, __builtin_bit_cast(__m512i, q[0])));
    } else
#endif
    {
      const auto shorts = [&](std::size_t i) {
        return _mm256_packs_epi32(__builtin_bit_cast(__m256i, q[i]), __builtin_bit_cast(__m256i, q[i + 1]));
      };
      bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(shorts(0), shorts(2)),
                                          _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), bytes);
    const __m256i fours = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes), _mm256_set1_epi16(1));
    const __m256i twos = _mm256_add_epi32(fours, _mm256_shuffle_epi32(fours, 0x4e));
    const __m256i sums = _mm256_add_epi32(twos, _mm256_shuffle_epi32(twos, 0xb1));
    return {_mm256_extract_epi32(sums, 0), _mm256_extract_epi32(sums, 4)};
  }
#endif
  HalfSums sums{};
  for (std::size_t i = 0; i < 32; ++i) {
    const std::int32_t value = q[i / lanes<Arch>][i % lanes<Arch>];
    out[i] = static_cast<std::byte>(value);
    (i < 16 ? sums.first : sums.second) += value;
  }
  return sums;
}

}  // namespace detail

// Row r of m of one group: x has 32 columns.
template <class Arch>
HEADGATE_INLINE void make_int8_row(const float* x, index_t m, index_t r, std::byte* tile) noexcept {
  using Int = typename Ints<Arch>::type;
  const auto larger = [](auto a, auto b) { return a > b ? a : b; };
  constexpr index_t parts = Int8Tile::columns / lanes<Arch>;
  Int largest{};  // bits of |x| compare as whole numbers
#pragma GCC unroll 16
  for (index_t i = 0; i < parts; ++i) {
    const auto bits = as_words<Arch>(Floats<Arch>::load_unaligned(x + lanes<Arch> * i)) & 0x7fffffffu;
    largest = larger(__builtin_bit_cast(Int, bits), largest);
  }
  const Int8Tile::Scaling scaling = Int8Tile::scaling(static_cast<std::uint32_t>(reduced(largest, larger)));

  std::byte* const values = tile + Int8Tile::values_at(m, r);
  detail::HalfSums sums{};
  if (scaling.inverse > 0.0f) {
    const Floats<Arch> inverse(scaling.inverse);
    const Floats<Arch> magic(Int8Tile::magic);
    Int q[as_size(parts)];
#pragma GCC unroll 16
    for (index_t i = 0; i < parts; ++i) {
      const auto rounded = fused<Arch>(Floats<Arch>::load_unaligned(x + lanes<Arch> * i), inverse, magic);
      q[i] = __builtin_bit_cast(Int, as_words<Arch>(rounded) - std::bit_cast<std::uint32_t>(Int8Tile::magic));
    }
    sums = detail::store_bytes<Arch>(q, values);
  } else {
    std::memset(values, 0, Int8Tile::columns);
  }
  const std::int32_t sum = sums.first + sums.second;
  const float scaled_sum = scaling.scale * static_cast<float>(sum);
  std::memcpy(tile + Int8Tile::scale_at(m, r), &scaling.scale, 4);
  std::memcpy(tile + Int8Tile::scaled_sum_at(m, r), &scaled_sum, 4);
  std::memcpy(tile + Int8Tile::half_sum_at(m, r), &sums.first, 4);
  std::memcpy(tile + Int8Tile::sum_at(m, r), &sum, 4);
}

template <class Arch>
HEADGATE_NOINLINE void make_int8_tile(const float* const* rows, index_t m, index_t k, std::byte* tile) noexcept {
  constexpr index_t columns = Int8Tile::columns;
  for (index_t r = 0; r < m; ++r) {
    std::byte* group = tile;
    index_t first = 0;
    for (; first + columns <= k; first += columns) {
      make_int8_row<Arch>(rows[r] + first, m, r, group);
      group += std::int64_t{Int8Tile::group_bytes} * m;
    }
    if (first < k) {
      float last[columns] = {};
      std::memcpy(last, rows[r] + first, sizeof(float) * as_size(k - first));
      make_int8_row<Arch>(last, m, r, group);
    }
  }
}

}  // namespace headgate::inline HEADGATE_ABI
