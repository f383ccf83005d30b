// RowBlocks: weights as GGUF files hold them: 16 rows of quantized blocks, one after the other, at any alignment. So a
// panel is the bytes of a file, and what lies there need not be copied. Blocks: core/quantized_blocks.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "headgate/core/quantized_blocks.hpp"
#include "headgate/kernels/formats/f32_tile.hpp"
#include "headgate/kernels/weight_format.hpp"

namespace headgate::inline HEADGATE_ABI {

template <QuantizedBlocks BlocksOfRow>
struct RowBlocks {
  using Blocks = BlocksOfRow;
  using Tile = F32Tile;
  static constexpr const char* name() noexcept { return lower_case.data(); }
  static constexpr bool packs_floats() noexcept { return false; }
  static constexpr bool fits(index_t k) noexcept { return k % Blocks::size == 0; }
  static constexpr std::int64_t row_bytes(index_t k) noexcept { return std::int64_t{k} / Blocks::size * Blocks::bytes; }
  static constexpr std::int64_t panel_bytes(index_t k) noexcept { return 16 * row_bytes(k); }
  static void pack(WeightRow row, index_t k, index_t lane, std::byte* panel) noexcept {
    if (k > 0) std::memcpy(panel + lane * row_bytes(k), row.bytes, as_size(row_bytes(k)));
  }
  static void unpack(const std::byte* panel, index_t k, index_t lane, index_t first, index_t count,
                     float* out) noexcept {
    decode_blocks<Blocks>(panel + lane * row_bytes(k), first, count, out);
  }

  friend constexpr bool operator==(RowBlocks, RowBlocks) noexcept = default;

 private:
  static constexpr auto lower_case = [] {
    std::array<char, 8> text{};
    for (std::size_t i = 0; i < info(Blocks::dtype).name.size(); ++i) {
      const char c = info(Blocks::dtype).name[i];
      text[i] = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    return text;
  }();
};
static_assert(WeightFormat<RowBlocks<blocks::Q4_0>>);

}  // namespace headgate::inline HEADGATE_ABI
