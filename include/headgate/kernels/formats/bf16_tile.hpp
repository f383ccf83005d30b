// Bf16Tile: activations rounded to bfloat16, two columns in a word, as the dot products of processors take them. Word
// j * m + r has column 2 j of row r of m in its lower half and the next one in its upper; beyond the row it is 0.
#pragma once

#include "headgate/core/dtype.hpp"
#include "headgate/kernels/weight_format.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Bf16Tile {
  using Element = std::uint32_t;
  static constexpr index_t max_rows = 12;
  static constexpr index_t columns = 2;
  static constexpr bool is_row = false;
  static constexpr std::int64_t row_size(index_t k) noexcept { return divide_up(k, columns); }

  static constexpr Element word(float first, float second) noexcept {
    return bf16(first).bits | static_cast<Element>(bf16(second).bits) << 16;
  }
};
static_assert(ActivationTile<Bf16Tile>);

}  // namespace headgate::inline HEADGATE_ABI
