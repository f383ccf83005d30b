// Int8Rows: weights as whole numbers of eight bits, one scale for each row (a channel of the output), to be multiplied
// with whole numbers (int8_tile.hpp):
//   y = scale q,  q in [-128, 127]
// as checkpoints of compressed-tensors hold them ("int-quantized", strategy "channel", symmetric; their "W8A8").
//
// A panel is a line of the scales of 16 rows, floats, then, for each 32 columns, 8 lines of 16 rows x 4 bytes, each q +
// 128. Columns beyond a row stand there too, and are multiplied with 0.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "headgate/kernels/formats/int8_tile.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Int8Rows {
  using Tile = Int8Tile;
  static constexpr const char* name() noexcept { return "i8-panels"; }
  static constexpr bool packs_floats() noexcept { return false; }
  static constexpr bool fits(index_t /*k*/) noexcept { return true; }
  static constexpr index_t group_bytes = 512;  // of 32 columns
  static constexpr std::int64_t panel_bytes(index_t k) noexcept {
    return 64 + std::int64_t{group_bytes} * divide_up(k, Int8Tile::columns);
  }
  static constexpr int bias = 128;

  // A row as pack takes it: its scale, a float, then k bytes, each a whole number.
  static constexpr std::int64_t row_bytes(index_t k) noexcept { return std::int64_t{sizeof(float)} + k; }
  // Such a row of these weights, finite ones, each rounded to the nearest of 255 multiples of max |x| / 127.
  static void encode(const float* x, index_t k, std::byte* row) noexcept {
    float largest = 0.0f;
    for (index_t i = 0; i < k; ++i) largest = std::max(largest, std::abs(x[i]));
    const float scale = largest / 127.0f;
    std::memcpy(row, &scale, sizeof scale);
    for (index_t i = 0; i < k; ++i) {
      const double q = scale > 0.0f ? std::nearbyint(double{x[i]} / double{scale}) : 0.0;
      row[sizeof scale + as_size(i)] = static_cast<std::byte>(static_cast<int>(std::clamp(q, -127.0, 127.0)));
    }
  }

  static void pack(WeightRow row, index_t k, index_t lane, std::byte* panel) noexcept {
    std::memcpy(panel + 4 * lane, row.bytes, sizeof(float));
    for (index_t i = 0; i < k; ++i) panel[place(lane, i)] = row.bytes[sizeof(float) + as_size(i)] ^ std::byte{bias};
  }
  static void unpack(const std::byte* panel, index_t /*k*/, index_t lane, index_t first, index_t count,
                     float* out) noexcept {
    for (index_t i = 0; i < count; ++i) out[i] = scale(panel, lane) * static_cast<float>(q(panel, lane, first + i));
  }
  // The row as pack took it.
  static void unpack_row(const std::byte* panel, index_t k, index_t lane, std::byte* row) noexcept {
    std::memcpy(row, panel + 4 * lane, sizeof(float));
    for (index_t i = 0; i < k; ++i) row[sizeof(float) + as_size(i)] = panel[place(lane, i)] ^ std::byte{bias};
  }

  static float scale(const std::byte* panel, index_t lane) noexcept {
    float scale;
    std::memcpy(&scale, panel + 4 * lane, sizeof scale);
    return scale;
  }
  static int q(const std::byte* panel, index_t lane, index_t column) noexcept {
    return std::to_integer<int>(panel[place(lane, column)]) - bias;
  }

  friend constexpr bool operator==(Int8Rows, Int8Rows) noexcept = default;

 private:
  static constexpr std::int64_t place(index_t lane, index_t column) noexcept {
    return 64 + std::int64_t{64} * (column / 4) + 4 * lane + column % 4;
  }
};
static_assert(WeightFormat<Int8Rows>);

}  // namespace headgate::inline HEADGATE_ABI
