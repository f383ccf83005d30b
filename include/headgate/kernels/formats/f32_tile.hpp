// F32Tile: activations in float32, rows turned so that the numbers of one column lie side by side: (k, m).
#pragma once

#include "headgate/kernels/weight_format.hpp"

namespace headgate::inline HEADGATE_ABI {

struct F32Tile {
  using Element = float;
  static constexpr index_t max_rows = 12;
  static constexpr index_t columns = 1;
  static constexpr bool is_row = true;
  static constexpr std::int64_t row_size(index_t k) noexcept { return k; }
};
static_assert(ActivationTile<F32Tile>);

}  // namespace headgate::inline HEADGATE_ABI
