// F32: weights in float32, one column in a line.
#pragma once

#include <cstring>

#include "headgate/kernels/formats/f32_tile.hpp"
#include "headgate/kernels/weight_format.hpp"

namespace headgate::inline HEADGATE_ABI {

struct F32 {
  using Tile = F32Tile;
  static constexpr const char* name() noexcept { return "f32"; }
  static constexpr bool packs_floats() noexcept { return true; }
  static constexpr bool fits(index_t /*k*/) noexcept { return true; }
  static constexpr std::int64_t panel_bytes(index_t k) noexcept { return std::int64_t{64} * k; }
  static void pack(WeightRow row, index_t k, index_t lane, std::byte* panel) noexcept {
    for (index_t i = 0; i < k; ++i) std::memcpy(panel + std::int64_t{64} * i + 4 * lane, row.floats + i, 4);
  }
  static void unpack(const std::byte* panel, index_t /*k*/, index_t lane, index_t first, index_t count,
                     float* out) noexcept {
    for (index_t i = 0; i < count; ++i) {
      std::memcpy(out + i, panel + std::int64_t{64} * (first + i) + 4 * lane, 4);
    }
  }

  // What vector kernels ask: columns in a line, and the bits of the floats of column COLUMN, given the line's words.
  static constexpr index_t per_line = 1;
  template <index_t COLUMN, class Words>
  static HEADGATE_INLINE Words float_bits(Words line) noexcept {
    return line;
  }

  friend constexpr bool operator==(F32, F32) noexcept = default;
};
static_assert(WeightFormat<F32>);

}  // namespace headgate::inline HEADGATE_ABI
