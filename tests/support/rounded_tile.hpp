// A weight format from outside of the list, whose tiles are of another kind: activations rounded to bfloat16, two
// columns at a time, at most five rows, and no row is a tile. Shows that what multiplies by way of formats knows no
// tile.
#pragma once

#include "headgate/kernels/scalar.hpp"

namespace headgate {

struct RoundedTile {
  using Element = bf16;
  static constexpr index_t max_rows = 5;
  static constexpr index_t columns = 2;
  static constexpr bool is_row = false;
  static constexpr std::int64_t row_size(index_t k) noexcept { return 2 * divide_up(k, 2); }
};

struct RoundedBf16 : Bf16 {
  using Tile = RoundedTile;
  friend constexpr bool operator==(RoundedBf16, RoundedBf16) noexcept { return true; }
};

// Scalar for that format, too. A tile is pairs of columns, each row by row: element ((k / 2) * m + r) * 2 + k % 2.
struct RoundedBackend : Scalar {
  using Scalar::make_tile;
  using Scalar::multiply;
  static void make_tile(RoundedTile, const float* const* rows, index_t m, index_t k, bf16* tile) noexcept {
    for (index_t i = 0; i < RoundedTile::row_size(k); ++i) {
      for (index_t r = 0; r < m; ++r) tile[(i / 2 * m + r) * 2 + i % 2] = i < k ? bf16(rows[r][i]) : bf16();
    }
  }
  static void multiply(RoundedBf16, const std::byte* panels, index_t k, index_t num_panels, const bf16* tile, index_t m,
                       float* y, std::int64_t stride) noexcept {
    for (index_t r = 0; r < m; ++r) {
      for (index_t row = 0; row < num_panels * panel_rows; ++row) {
        const std::byte* const panel = panels + row / panel_rows * Bf16::panel_bytes(k);
        float sum = 0.0f;
        for (index_t i = 0; i < k; ++i) {
          const auto x = static_cast<float>(tile[(i / 2 * m + r) * 2 + i % 2]);
          float weight;
          Bf16::unpack(panel, k, row % panel_rows, i, 1, &weight);
          sum = fused_multiply_add(weight, x, sum);
        }
        y[r * stride + row] = sum;
      }
    }
  }
};

}  // namespace headgate
