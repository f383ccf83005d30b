// make_tile: copies of up to 12 rows, turned so that the numbers of one k lie side by side.
#pragma once

#include <cstring>

#include "headgate/kernels/simd/arch.hpp"

namespace headgate::inline HEADGATE_ABI {

// ROWS rows, cut into squares of 4 x 4 that are turned in registers. Squares of a height that is no multiple of 4 write
// beyond their k: the numbers of the next k come later and cover it, and the last columns are copied one by one.
template <class Arch, index_t SQUARES>
HEADGATE_NOINLINE void make_squares(const float* const* rows, index_t m, index_t k, float* tile) noexcept {
  typedef float Quad __attribute__((vector_size(16)));
  index_t i = 0;
  for (; i + 8 <= k; i += 4) {
    Quad turned[as_size(SQUARES)][4];
#pragma GCC unroll 3
    for (index_t s = 0; s < SQUARES; ++s) {
      Quad row[4];
#pragma GCC unroll 4
      for (index_t r = 0; r < 4; ++r) std::memcpy(&row[r], rows[4 * s + r < m ? 4 * s + r : m - 1] + i, sizeof(Quad));
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
  for (; i < k; ++i) {
    for (index_t r = 0; r < m; ++r) tile[std::int64_t{i} * m + r] = rows[r][i];
  }
}

template <class Arch>
void make_tile(const float* const* rows, index_t m, index_t k, float* tile) noexcept {
  if (m == 1) {
    std::memcpy(tile, rows[0], sizeof(float) * as_size(k));
  } else if (m <= 4) {
    make_squares<Arch, 1>(rows, m, k, tile);
  } else if (m <= 8) {
    make_squares<Arch, 2>(rows, m, k, tile);
  } else {
    make_squares<Arch, 3>(rows, m, k, tile);
  }
}

}  // namespace headgate::inline HEADGATE_ABI
