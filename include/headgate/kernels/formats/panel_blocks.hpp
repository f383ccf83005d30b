// PanelBlocks: the quantized blocks of GGUF files in panels, to be multiplied with whole numbers (int8_tile.hpp). Every
// weight keeps its value; 16 rows x 4 columns lie side by side, as the dot products of processors take them.
//
// A panel is read from its first byte to its last, in lines of 64 bytes. Runs of one, two or four groups of 32 columns:
//   scales  a line: group by group d of 16 rows as halves, and their minima. Of MXFP4 a byte a row. Where a block is
//           several groups, these are in a line before it, and this one has the first of group_scales of 16 rows, then
//           the second.
//   q       (core/quantized_blocks.hpp) group by group, lines of 16 rows x 4 bytes. Its bits are cut into planes of 8,
//           4, 2 or 1, low bits first. One of w bits has w lines: bits w j to w j + w - 1 of byte i of line h are those
//           of column 4 (8 h / w + j) + i.
// One core reads one such stream at the speed of memory, where scales apart from q took twice the time.
#pragma once

#include "headgate/core/block_bytes.hpp"
#include "headgate/kernels/formats/int8_tile.hpp"
#include "headgate/kernels/formats/row_blocks.hpp"

namespace headgate::inline HEADGATE_ABI {

template <QuantizedBlocks BlocksOfRow>
struct PanelBlocks {
  using Blocks = BlocksOfRow;
  using Tile = Int8Tile;
  static constexpr const char* name() noexcept { return text.data(); }
  static constexpr bool packs_floats() noexcept { return false; }
  static constexpr bool fits(index_t k) noexcept { return k % Blocks::size == 0; }
  static constexpr std::int64_t panel_bytes(index_t k) noexcept {
    const index_t n = k / blocks::group;
    return std::int64_t{64} * (divide_up(n, groups_of_run) + (has_header ? n / groups : 0)) +
           std::int64_t{n} * group_bytes;
  }

  static void pack(WeightRow row, index_t k, index_t lane, std::byte* panel) noexcept {
    for (index_t g = 0; g < k / blocks::group; ++g) {
      const std::byte* const block = row.bytes + std::int64_t{g / groups} * Blocks::bytes;
      pack_scales(block, g, lane, panel);
      pack_q(Blocks::affine(block, g % groups).q, panel + q_at(g) + 4 * lane);
    }
  }
  static void unpack(const std::byte* panel, index_t /*k*/, index_t lane, index_t first, index_t count,
                     float* out) noexcept {
    for (index_t i = 0; i < count;) {
      const index_t g = (first + i) / blocks::group;
      const auto weights = load_group(panel, lane, g);
      for (index_t c = (first + i) % blocks::group; c < blocks::group && i < count; ++c, ++i) {
        out[i] = blocks::weight_of<Blocks>(weights, as_size(c));
      }
    }
  }

  // The row's blocks as pack took them, and how many bytes they are.
  static constexpr std::int64_t row_bytes(index_t k) noexcept { return RowBlocks<Blocks>::row_bytes(k); }
  static void unpack_row(const std::byte* panel, index_t k, index_t lane, std::byte* row) noexcept {
    for (index_t g = 0; g < k / blocks::group; ++g) {
      std::byte* const block = row + std::int64_t{g / groups} * Blocks::bytes;
      const std::byte* const bytes = panel + bytes_at(g) + lane;
      if constexpr (has_halves) {
        std::memcpy(block + Blocks::scale_at, panel + half_at(g) + 2 * lane, 2);
        if constexpr (blocks::has_minimum<Blocks>) {
          std::memcpy(block + Blocks::minimum_at, panel + half_at(g) + 32 + 2 * lane, 2);
        }
      } else {
        *block = *bytes;
      }
      if constexpr (groups > 1) {
        blocks::GroupScales<Blocks> scales;
        for (std::size_t s = 0; s < scales.size(); ++s) scales[s] = static_cast<GroupScale>(bytes[16 * s]);
        blocks::store_scales<Blocks>(block, g % groups, scales);
      }
      blocks::store_q<Blocks>(block, g % groups, load_group(panel, lane, g).q);
    }
  }

  // Of the 32 columns of group g of one row.
  static auto load_group(const std::byte* panel, index_t lane, index_t g) noexcept {
    decltype(Blocks::affine(panel, 0)) weights{};
    const std::byte* const lines = panel + q_at(g) + 4 * lane;
    for (index_t i = 0; i < blocks::group; ++i) weights.q[as_size(i)] = static_cast<std::uint8_t>(q_at(lines, i));
    if constexpr (has_halves) {
      const std::byte* const halves = panel + half_at(g);
      weights.scale.fill(blocks::load_half(halves + 2 * lane));
      if constexpr (blocks::has_minimum<Blocks>) weights.minimum.fill(blocks::load_half(halves + 32 + 2 * lane));
    }
    const std::byte* const bytes = panel + bytes_at(g) + lane;
    if constexpr (groups > 1) {
      const auto at = [&](std::size_t s) { return static_cast<GroupScale>(bytes[16 * s]); };
      for (std::size_t s = 0; s < weights.scale.size(); ++s) {
        weights.scale[s] *= static_cast<float>(has_nibbles ? at(s) & 15 : at(s));
        if constexpr (blocks::has_minimum<Blocks>) {
          weights.minimum[s] *= -static_cast<float>(has_nibbles ? at(s) >> 4 : at(s + 1));
        }
      }
    }
    if constexpr (!has_halves) {
      weights.scale[0] = Blocks::scale(std::to_integer<std::uint32_t>(*bytes));
    }
    return weights;
  }

  static constexpr index_t groups = Blocks::size / blocks::group;  // of a block
  static constexpr auto num_scales =
      static_cast<index_t>(std::tuple_size_v<decltype(Blocks::affine(nullptr, 0).scale)>);
  static constexpr bool has_halves = requires { Blocks::scale_at; };
  static constexpr bool has_header = groups > 1;  // a line of halves before each block
  static constexpr bool has_nibbles = blocks::has_minimum<Blocks> && num_scales == 2;  // scale and minimum in a byte
  static constexpr index_t group_bytes = 64 * Blocks::bits;
  // Of the 16 rows of a group, in the line of its run.
  static constexpr index_t scale_bytes = [] {
    if constexpr (has_header) {
      return 16 * static_cast<index_t>(std::tuple_size_v<blocks::GroupScales<Blocks>>);
    } else {
      return !has_halves ? 16 : blocks::has_minimum<Blocks> ? 64 : 32;
    }
  }();
  static constexpr index_t groups_of_run = 64 / scale_bytes;

  // Where group g has its halves, its bytes and its q.
  static constexpr std::int64_t half_at(index_t g) noexcept {
    return has_header ? line_at(g / groups * groups) - 64 : bytes_at(g);
  }
  static constexpr std::int64_t bytes_at(index_t g) noexcept { return line_at(g) + g % groups_of_run * scale_bytes; }
  static constexpr std::int64_t q_at(index_t g) noexcept { return line_at(g) + 64 + g % groups_of_run * group_bytes; }

  // The bytes of groups: numbers with a sign, or without.
  using GroupScale = decltype([] {
    if constexpr (has_header) {
      return Blocks::group_scales(nullptr, 0)[0];
    } else {
      return std::uint8_t{};
    }
  }());

  friend constexpr bool operator==(PanelBlocks, PanelBlocks) noexcept = default;

 private:
  static constexpr std::int64_t line_at(index_t g) noexcept {
    const index_t run = g / groups_of_run;
    return std::int64_t{64} * (run + (has_header ? g / groups + 1 : 0)) +
           std::int64_t{run} * groups_of_run * group_bytes;
  }
  static void pack_scales(const std::byte* block, index_t g, index_t lane, std::byte* panel) noexcept {
    if constexpr (has_halves) {
      if (g % groups == 0) {
        std::memcpy(panel + half_at(g) + 2 * lane, block + Blocks::scale_at, 2);
        if constexpr (blocks::has_minimum<Blocks>) {
          std::memcpy(panel + half_at(g) + 32 + 2 * lane, block + Blocks::minimum_at, 2);
        }
      }
    } else {
      panel[bytes_at(g) + lane] = *block;
    }
    if constexpr (groups > 1) {
      const auto scales = Blocks::group_scales(block, g % groups);
      std::byte* const bytes = panel + bytes_at(g) + lane;
      for (std::size_t s = 0; s < scales.size(); ++s) bytes[16 * s] = static_cast<std::byte>(scales[s]);
    }
  }
  static void pack_q(const std::array<std::uint8_t, 32>& q, std::byte* lines) noexcept {
    const auto words = std::bit_cast<std::array<std::uint32_t, 8>>(q);
    for_each_plane([&](auto width, auto low) {
      constexpr index_t each = 8 / width;
      for (index_t h = 0; h < width; ++h) {
        std::uint32_t word = 0;
        for (index_t j = 0; j < each; ++j) {
          word |= (words[as_size(h * each + j)] >> low & 0x01010101u * ((1u << width) - 1)) << (width * j);
        }
        std::memcpy(lines + 64 * (low + h), &word, 4);
      }
    });
  }
  // Of column i of a group.
  static unsigned q_at(const std::byte* lines, index_t i) noexcept {
    unsigned q = 0;
    for_each_plane([&](auto width, auto low) {
      const index_t bit = width * (i / 4);
      const auto byte = std::to_integer<unsigned>(lines[64 * (low + bit / 8) + i % 4]);
      q |= (byte >> (bit % 8) & ((1u << width) - 1)) << low;
    });
    return q;
  }
  // use(bits of a plane, bits below it, and so lines before it)
  template <class Use>
  static constexpr void for_each_plane(Use use) noexcept {
    const auto plane = [&]<index_t width>(std::integral_constant<index_t, width> of_width) {
      constexpr index_t low = Blocks::bits / (2 * width) * (2 * width);
      if constexpr ((Blocks::bits & width) != 0) use(of_width, std::integral_constant<index_t, low>());
    };
    plane(std::integral_constant<index_t, 8>());
    plane(std::integral_constant<index_t, 4>());
    plane(std::integral_constant<index_t, 2>());
    plane(std::integral_constant<index_t, 1>());
  }

  // As its type is called in files, and what tells it from rows of the same.
  static constexpr auto text = [] {
    std::array<char, 16> name{};
    std::size_t n = 0;
    for (const char* c = RowBlocks<Blocks>::name(); *c != 0; ++c) name[n++] = *c;
    for (const char c : std::string_view("-panels")) name[n++] = c;
    return name;
  }();
};
static_assert(WeightFormat<PanelBlocks<blocks::Q4_0>>);

}  // namespace headgate::inline HEADGATE_ABI
