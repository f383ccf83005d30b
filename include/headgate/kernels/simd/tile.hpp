// make_tile: copies of up to 12 rows, in floats or as pairs of bfloat16, turned so that the numbers of one k, or of
// two, lie side by side.
#pragma once

#include <cstring>

#include "headgate/kernels/formats/bf16_tile.hpp"
#include "headgate/kernels/formats/f32_tile.hpp"
#include "headgate/kernels/simd/arch.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace detail {

// Of an F32Tile and a Bf16Tile: element i of a row, and elements i to i + 3. limit: columns of the row.
template <class Tile>
HEADGATE_INLINE typename Tile::Element tile_element(const float* row, index_t i, index_t limit) noexcept {
  if constexpr (Tile::columns == 1) {
    return row[i];
  } else {
    return Bf16Tile::word(row[2 * i], 2 * i + 1 < limit ? row[2 * i + 1] : 0.0f);
  }
}
typedef std::uint32_t FourWords __attribute__((vector_size(16)));
template <class Tile>
HEADGATE_INLINE FourWords four_elements(const float* row, index_t i) noexcept {
  FourWords words[Tile::columns];
  std::memcpy(words, row + Tile::columns * i, sizeof words);
  if constexpr (Tile::columns == 1) {
    return words[0];
  } else {
    for (FourWords& word : words) {
      const auto is_nan = __builtin_bit_cast(FourWords, (word & 0x7fffffffu) > 0x7f800000u);
      word = ((word | 0x400000u) & is_nan) | ((word + 0x7fffu + (word >> 16 & 1u)) & ~is_nan);
    }
    return __builtin_shufflevector(words[0], words[1], 0, 2, 4, 6) >> 16 |
           (__builtin_shufflevector(words[0], words[1], 1, 3, 5, 7) & 0xffff0000u);
  }
}

}  // namespace detail

// Up to 4 SQUARES rows, cut into squares of 4 x 4 elements that are turned in registers. Squares of a height that is no
// multiple of 4 write beyond their k: the numbers of the next k come later and cover it, and the last columns are
// copied one by one.
template <class Arch, class Tile, index_t SQUARES>
HEADGATE_NOINLINE void make_squares(const float* const* rows, index_t m, index_t k,
                                    typename Tile::Element* tile) noexcept {
  using Quad = detail::FourWords;
  const index_t size = divide_up(k, Tile::columns);  // of a row, in elements
  const index_t whole = k / Tile::columns;           // without one that is half there
  index_t i = 0;
  for (; i + 8 <= whole; i += 4) {
    Quad turned[as_size(SQUARES)][4];
#pragma GCC unroll 3
    for (index_t s = 0; s < SQUARES; ++s) {
      Quad row[4];
#pragma GCC unroll 4
      for (index_t r = 0; r < 4; ++r) row[r] = detail::four_elements<Tile>(rows[4 * s + r < m ? 4 * s + r : m - 1], i);
      const Quad low02 = __builtin_shufflevector(row[0], row[2], 0, 4, 1, 5);
      const Quad low13 = __builtin_shufflevector(row[1], row[3], 0, 4, 1, 5);
      const Quad high02 = __builtin_shufflevector(row[0], row[2], 2, 6, 3, 7);
      const Quad high13 = __builtin_shufflevector(row[1], row[3], 2, 6, 3, 7);
      turned[s][0] = __builtin_shufflevector(low02, low13, 0, 4, 1, 5);
      turned[s][1] = __builtin_shufflevector(low02, low13, 2, 6, 3, 7);
      turned[s][2] = __builtin_shufflevector(high02, high13, 0, 4, 1, 5);
      turned[s][3] = __builtin_shufflevector(high02, high13, 2, 6, 3, 7);
    }
#pragma GCC unroll 4
    for (index_t j = 0; j < 4; ++j) {
#pragma GCC unroll 3
      for (index_t s = 0; s < SQUARES; ++s) {
        std::memcpy(tile + std::int64_t{i + j} * m + 4 * s, &turned[s][j], sizeof(Quad));
      }
    }
  }
  for (; i < size; ++i) {
    for (index_t r = 0; r < m; ++r) tile[std::int64_t{i} * m + r] = detail::tile_element<Tile>(rows[r], i, k);
  }
}

template <class Arch, class Tile>
void make_tile(const float* const* rows, index_t m, index_t k, typename Tile::Element* tile) noexcept {
  if (m == 1) {
    if constexpr (Tile::is_row) {
      std::memcpy(tile, rows[0], sizeof(float) * as_size(k));
    } else {
      const index_t whole = k / Tile::columns / 4 * 4;
      for (index_t i = 0; i < whole; i += 4) {
        const detail::FourWords words = detail::four_elements<Tile>(rows[0], i);
        std::memcpy(tile + i, &words, sizeof words);
      }
      for (index_t i = whole; i < divide_up(k, Tile::columns); ++i) tile[i] = detail::tile_element<Tile>(rows[0], i, k);
    }
  } else if (m <= 4) {
    make_squares<Arch, Tile, 1>(rows, m, k, tile);
  } else if (m <= 8) {
    make_squares<Arch, Tile, 2>(rows, m, k, tile);
  } else {
    make_squares<Arch, Tile, 3>(rows, m, k, tile);
  }
}

}  // namespace headgate::inline HEADGATE_ABI
