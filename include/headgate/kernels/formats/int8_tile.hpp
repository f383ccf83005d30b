// Int8Tile: activations as whole numbers of eight bits, 32 columns of a row with a scale of their own:
//   scale = max |x| / 127,  q = round(x / scale), to even, in [-127, 127];  x is nearly scale q.
// Columns beyond a row are 0. Where a number of the group is not finite, the scale is no number, and neither is what is
// computed from it.
//
// Group by group, of m rows: m scales, m times scale * (sum of all q) (float), m sums of the first 16 q and m of all 32
// (int32), m x 32 q (int8).
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "headgate/kernels/fused_multiply_add.hpp"
#include "headgate/kernels/weight_format.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Int8Tile {
  using Element = std::byte;
  static constexpr index_t max_rows = 12;
  static constexpr index_t columns = 32;
  static constexpr bool is_row = false;
  static constexpr index_t group_bytes = 4 * 4 + 32;  // of one row
  static constexpr std::int64_t row_size(index_t k) noexcept {
    return std::int64_t{group_bytes} * divide_up(k, columns);
  }

  // Where row r of m stands in a group.
  static constexpr index_t scale_at(index_t /*m*/, index_t r) noexcept { return 4 * r; }
  static constexpr index_t scaled_sum_at(index_t m, index_t r) noexcept { return 4 * m + 4 * r; }
  static constexpr index_t half_sum_at(index_t m, index_t r) noexcept { return 8 * m + 4 * r; }
  static constexpr index_t sum_at(index_t m, index_t r) noexcept { return 12 * m + 4 * r; }
  static constexpr index_t values_at(index_t m, index_t r) noexcept { return 16 * m + 32 * r; }

  // What a group is multiplied with before it is rounded, and its scale, from the bits of its largest |x|.
  struct Scaling {
    float scale;
    float inverse;
  };
  static Scaling scaling(std::uint32_t largest_bits) noexcept {
    const auto largest = std::bit_cast<float>(largest_bits);
    if (largest_bits >= 0x7f800000u) return {std::numeric_limits<float>::quiet_NaN(), 0.0f};
    if (largest < 0x1p-100f) return {0.0f, 0.0f};  // whose inverse would be none
    return {largest / 127.0f, 127.0f / largest};
  }
  // x inverse + magic has round(x inverse) in its low bits.
  static constexpr float magic = 0x1.8p23f;
};
static_assert(ActivationTile<Int8Tile>);

}  // namespace headgate::inline HEADGATE_ABI
