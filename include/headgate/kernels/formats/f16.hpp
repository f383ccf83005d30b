// F16: weights in half precision, two columns in a line, one after the other; exact for checkpoints stored in it.
#pragma once

#include <cstring>

#include "headgate/core/dtype.hpp"
#include "headgate/kernels/formats/f32_tile.hpp"
#include "headgate/kernels/weight_format.hpp"

namespace headgate::inline HEADGATE_ABI {

struct F16 {
  using Tile = F32Tile;
  static constexpr const char* name() noexcept { return "f16"; }
  static constexpr bool packs_floats() noexcept { return true; }
  static constexpr bool fits(index_t /*k*/) noexcept { return true; }
  static constexpr std::int64_t panel_bytes(index_t k) noexcept { return std::int64_t{64} * divide_up(k, 2); }
  static void pack(WeightRow row, index_t k, index_t lane, std::byte* panel) noexcept {
    for (index_t i = 0; i < k; ++i) {
      const f16 value(row.floats[i]);
      std::memcpy(panel + offset(i, lane), &value, 2);
    }
  }
  static void unpack(const std::byte* panel, index_t /*k*/, index_t lane, index_t first, index_t count,
                     float* out) noexcept {
    for (index_t i = 0; i < count; ++i) {
      f16 value;
      std::memcpy(&value, panel + offset(first + i, lane), 2);
      out[i] = static_cast<float>(value);
    }
  }

  // What vector kernels ask: columns in a line, and that each is 16 halves.
  static constexpr index_t per_line = 2;
  static constexpr bool has_halves = true;

  friend constexpr bool operator==(F16, F16) noexcept = default;

 private:
  static constexpr std::int64_t offset(index_t k, index_t lane) noexcept { return std::int64_t{32} * k + 2 * lane; }
};
static_assert(WeightFormat<F16>);

}  // namespace headgate::inline HEADGATE_ABI
