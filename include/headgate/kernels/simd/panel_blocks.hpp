// Products of quantized blocks in panels (formats/panel_blocks.hpp) and tiles of whole numbers (formats/int8_tile.hpp).
// A panel is read once for a few rows, line by line, and unpacked in registers to a byte a weight, without a sign. The
// sum over the columns of a scale is exact; those sums, each times its scales, are one chain of fused multiply-adds,
// columns ascending: the bits of Scalar.
#pragma once

#include "headgate/kernels/formats/panel_blocks.hpp"
#include "headgate/kernels/simd/dot.hpp"
#include "headgate/kernels/simd/multiply.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace detail {

template <class Arch>
HEADGATE_INLINE typename Words<Arch>::type load_words(const void* from) noexcept {
  typename Words<Arch>::type words;
  std::memcpy(&words, from, sizeof words);
  return words;
}
// The bytes that stand for q in dot products: value(q) + bias.
template <class Blocks>
inline constexpr index_t bias_of = [] {
  index_t lowest = 0;
  for (int q = 0; q < 1 << Blocks::bits; ++q) lowest = Blocks::value(q) < lowest ? Blocks::value(q) : lowest;
  return -lowest;
}();
template <class Blocks>
inline constexpr index_t largest_of = [] {
  index_t largest = 0;
  for (int q = 0; q < 1 << Blocks::bits; ++q) largest = Blocks::value(q) > largest ? Blocks::value(q) : largest;
  return largest + bias_of<Blocks>;
}();
template <class Blocks>
inline constexpr bool is_table = largest_of<Blocks> != (1 << Blocks::bits) - 1;

// value(q) + bias for q below 16.
template <class Blocks>
inline constexpr auto table_of = [] {
  std::array<std::uint8_t, 16> table{};
  for (int q = 0; q < 16; ++q) table[as_size(q)] = static_cast<std::uint8_t>(Blocks::value(q) + bias_of<Blocks>);
  return table;
}();

}  // namespace detail

// Of as many rows as a register holds, scale s of a group and minimum s. halves, bytes: theirs.
template <class Arch, class Blocks>
HEADGATE_INLINE Floats<Arch> scale_of(const std::byte* halves, const std::byte* bytes, index_t s) noexcept {
  using Format = PanelBlocks<Blocks>;
  using Word = typename Words<Arch>::type;
  if constexpr (!Format::has_halves) {
    const auto e = __builtin_bit_cast(Word, detail::widened<Arch, std::uint8_t>(bytes));
    const Word tiny = __builtin_bit_cast(Word, e < 2u);
    return as_floats<Arch>((((e - 1u) << 23) & ~tiny) | ((0x200000u << (e & 1u)) & tiny));
  } else if constexpr (Format::has_header) {
    auto multiple = detail::widened<Arch, typename Format::GroupScale>(bytes + 16 * s);
    if constexpr (Format::has_nibbles) multiple &= 15;
    return detail::load_halves<Arch>(halves) * detail::to_floats<Arch>(multiple);
  } else {
    return detail::load_halves<Arch>(halves);
  }
}
template <class Arch, class Blocks>
HEADGATE_INLINE Floats<Arch> minimum_of(const std::byte* halves, const std::byte* bytes, index_t s) noexcept {
  using Format = PanelBlocks<Blocks>;
  const Floats<Arch> minimum = detail::load_halves<Arch>(halves + 32);
  if constexpr (!Format::has_header) return minimum;
  auto multiple = detail::widened<Arch, typename Format::GroupScale>(bytes + 16 * (Format::has_nibbles ? s : s + 1));
  if constexpr (Format::has_nibbles) multiple >>= 4;
  return -minimum * detail::to_floats<Arch>(multiple);
}

// The bits of one plane of q, where they belong in it: `width` bits above `low` others.
template <class Arch, index_t width, index_t low>
HEADGATE_INLINE typename Words<Arch>::type plane_of(const std::byte* packed, index_t quad) noexcept {
  const auto line = detail::load_words<Arch>(packed + 64 * (low + width * quad / 8));
  const index_t up = low - width * quad % 8;
  return (up > 0 ? line << up : line >> -up) & 0x01010101u * (((1u << width) - 1) << low);
}
// Columns 4 quad to 4 quad + 3 of a group, a byte a weight, from the lane that `packed` starts with.
template <class Arch, class Blocks>
HEADGATE_INLINE typename Words<Arch>::type unpacked(const std::byte* packed, index_t quad) noexcept {
  constexpr index_t bits = Blocks::bits;
  if constexpr (bits == 8) return detail::load_words<Arch>(packed + 64 * quad);
  typename Words<Arch>::type q{};
  if constexpr ((bits & 4) != 0) q |= plane_of<Arch, 4, 0>(packed, quad);
  if constexpr ((bits & 2) != 0) q |= plane_of<Arch, 2, bits & 4>(packed, quad);
  if constexpr ((bits & 1) != 0) q |= plane_of<Arch, 1, bits & 6>(packed, quad);
  if constexpr (detail::is_table<Blocks>) q = look_up<Arch>(detail::table_of<Blocks>, q);
  return q;
}

// Sums of one panel by ROWS rows: registers, or, where there are few of these, what y holds.
template <class Arch, index_t ROWS>
struct PanelSums {
  static constexpr bool in_registers = lanes<Arch> == 16;
  static constexpr index_t parts = panel_rows / lanes<Arch>;
  float* y;
  std::int64_t stride;
  Floats<Arch> registers[in_registers ? as_size(parts) : 1][in_registers ? as_size(ROWS) : 1];

  HEADGATE_INLINE float* at(index_t part, index_t r) const noexcept { return y + r * stride + lanes<Arch> * part; }
  HEADGATE_INLINE void add(index_t part, index_t r, Floats<Arch> a, Floats<Arch> b) noexcept {
    if constexpr (in_registers) {
      registers[part][r] = fused<Arch>(a, b, registers[part][r]);
    } else {
      fused<Arch>(a, b, Floats<Arch>::load_unaligned(at(part, r))).store_unaligned(at(part, r));
    }
  }
  HEADGATE_INLINE void clear() noexcept {
    for_each([&](index_t part, index_t r) {
      if constexpr (in_registers) {
        registers[part][r] = Floats<Arch>(0.0f);
      } else {
        Floats<Arch>(0.0f).store_unaligned(at(part, r));
      }
    });
  }
  HEADGATE_INLINE void store() const noexcept {
    if constexpr (in_registers) {
      for_each([&](index_t part, index_t r) { registers[part][r].store_unaligned(at(part, r)); });
    }
  }
  // Stores them times a factor for each of the 16 rows of the panel.
  HEADGATE_INLINE void multiply(const float* factors) const noexcept {
    for_each([&](index_t part, index_t r) {
      const auto factor = Floats<Arch>::load_unaligned(factors + lanes<Arch> * part);
      if constexpr (in_registers) {
        (registers[part][r] * factor).store_unaligned(at(part, r));
      } else {
        (Floats<Arch>::load_unaligned(at(part, r)) * factor).store_unaligned(at(part, r));
      }
    });
  }

 private:
  template <class F>
  static HEADGATE_INLINE void for_each(F&& f) noexcept {
#pragma GCC unroll 16
    for (index_t part = 0; part < parts; ++part) {
#pragma GCC unroll 16
      for (index_t r = 0; r < ROWS; ++r) f(part, r);
    }
  }
};

// One panel by ROWS rows of a tile of m, from row `first` on.
template <class Arch, class Blocks, index_t ROWS>
HEADGATE_NOINLINE void multiply_panel(const std::byte* panel, index_t k, const std::byte* tile, index_t m,
                                      index_t first, float* y, std::int64_t stride) noexcept {
  using Format = PanelBlocks<Blocks>;
  using Int = typename Ints<Arch>::type;
  constexpr bool wide = wide_dot_costs_more<Arch> && detail::largest_of<Blocks> > 127;
  constexpr index_t parts = panel_rows / lanes<Arch>;
  constexpr index_t num_scales = Format::num_scales;
  constexpr index_t quads = 8 / num_scales;
  PanelSums<Arch, ROWS> sums{.y = y, .stride = stride, .registers = {}};
  sums.clear();
  const std::byte* x_scales = tile + Int8Tile::scale_at(m, first);
  const std::byte* x_sums = tile + Int8Tile::half_sum_at(m, first);
  const std::byte* x = tile + Int8Tile::values_at(m, first);
  const index_t scaled_sums = Int8Tile::scaled_sum_at(m, 0) - Int8Tile::scale_at(m, 0);
  const index_t next_sums = Int8Tile::sum_at(m, 0) - Int8Tile::half_sum_at(m, 0);
  const std::byte* line = panel;
  const std::byte* halves = panel;
  const std::byte* bytes = panel;
  for (index_t g = 0; g < k / blocks::group; ++g) {
    if (g % Format::groups_of_run == 0) {
      if constexpr (Format::has_header) {
        if (g % Format::groups == 0) {
          halves = line;
          line += 64;
        }
      }
      bytes = line;
      line += 64;
    }
    if constexpr (!Format::has_header) halves = bytes;
#pragma GCC unroll 4
    for (index_t part = 0; part < parts; ++part) {
      const index_t lane = lanes<Arch> * part;
      // Read x again for each part: kept, it would take the registers of dots.
      if constexpr (parts > 1) __asm__ volatile("" : "+r"(x));
#pragma GCC unroll 2
      for (index_t s = 0; s < num_scales; ++s) {
        Int dots[as_size(ROWS)];
#pragma GCC unroll 16
        for (index_t r = 0; r < ROWS; ++r) {
          std::int32_t start = 0;
          if constexpr (!blocks::has_minimum<Blocks>) {
            std::int32_t sum;
            std::memcpy(&sum, x_sums + next_sums + 4 * r, 4);
            if constexpr (num_scales == 2) {
              std::int32_t half;
              std::memcpy(&half, x_sums + 4 * r, 4);
              sum = s == 0 ? half : sum - half;
            }
            start = -detail::bias_of<Blocks> * sum;
          }
          dots[r] = start - Int{};
        }
#pragma GCC unroll 8
        for (index_t quad = s * quads; quad < (s + 1) * quads; ++quad) {
          const auto q = unpacked<Arch, Blocks>(line + 4 * lane, quad);
#pragma GCC unroll 16
          for (index_t r = 0; r < ROWS; ++r) {
            std::uint32_t word;
            std::memcpy(&word, x + 32 * r + 4 * quad, 4);
            dots[r] = dot<Arch, wide>(dots[r], q, detail::splat<Arch>(word));
          }
        }
        const auto scale = scale_of<Arch, Blocks>(halves + 2 * lane, bytes + lane, s);
#pragma GCC unroll 16
        for (index_t r = 0; r < ROWS; ++r) {
          float x_scale;
          std::memcpy(&x_scale, x_scales + 4 * r, 4);
          sums.add(part, r, detail::to_floats<Arch>(dots[r]), scale * Floats<Arch>(x_scale));
        }
      }
      if constexpr (blocks::has_minimum<Blocks>) {
        const auto minimum = minimum_of<Arch, Blocks>(halves + 2 * lane, bytes + lane, num_scales - 1);
#pragma GCC unroll 16
        for (index_t r = 0; r < ROWS; ++r) {
          float scaled_sum;
          std::memcpy(&scaled_sum, x_scales + scaled_sums + 4 * r, 4);
          sums.add(part, r, minimum, Floats<Arch>(scaled_sum));
        }
        if constexpr (num_scales == 2) {
          const auto more = minimum_of<Arch, Blocks>(halves + 2 * lane, bytes + lane, 0) - minimum;
#pragma GCC unroll 16
          for (index_t r = 0; r < ROWS; ++r) {
            std::int32_t half_sum;
            float x_scale;
            std::memcpy(&half_sum, x_sums + 4 * r, 4);
            std::memcpy(&x_scale, x_scales + 4 * r, 4);
            sums.add(part, r, more, Floats<Arch>(static_cast<float>(half_sum) * x_scale));
          }
        }
      }
    }
    line += Format::group_bytes;
    bytes += Format::scale_bytes;
    const std::int64_t step = std::int64_t{Int8Tile::group_bytes} * m;
    x_scales += step;
    x_sums += step;
    x += step;
  }
  sums.store();
}

// Rows of a block, without spilling: each has whole numbers in a register, and floats where PanelSums keeps those.
template <class Arch, class Blocks>
inline constexpr index_t rows_of_block = [] {
  if (lanes<Arch> < 16) return detail::largest_of<Blocks> > 127 ? 4 : 6;
  if (Blocks::bits == 6) return 6;
  const bool has_halves = PanelBlocks<Blocks>::num_scales == 2;
  return wide_dot_costs_more<Arch> || detail::is_table<Blocks> || has_halves ? 8 : 12;
}();

// multiply_panel for 1, 2, ... rows.
template <class Arch, class Blocks>
inline constexpr auto multiply_panel_of_rows = []<index_t... r>(std::integer_sequence<index_t, r...>) {
  return std::array{&multiply_panel<Arch, Blocks, r + 1>...};
}(std::make_integer_sequence<index_t, rows_of_block<Arch, Blocks>>());

template <class Format>
inline constexpr bool is_panel_blocks = false;
template <class Blocks>
inline constexpr bool is_panel_blocks<PanelBlocks<Blocks>> = true;

// KernelBackend's multiply.
template <class Arch, class Format>
  requires is_panel_blocks<Format>
void multiply(const std::byte* panels, index_t k, index_t num_panels, const std::byte* tile, index_t m, float* y,
              std::int64_t stride) noexcept {
  const index_t parts = divide_up(m, rows_of_block<Arch, typename Format::Blocks>);
  for (index_t p = 0; p < num_panels; ++p) {
    for (index_t part = 0; part < parts; ++part) {
      const index_t first = part * m / parts;
      const index_t rows = (part + 1) * m / parts - first;
      multiply_panel_of_rows<Arch, typename Format::Blocks>[as_size(rows - 1)](
          panels, k, tile, m, first, y + panel_rows * p + first * stride, stride);
    }
    panels += Format::panel_bytes(k);
  }
}

}  // namespace headgate::inline HEADGATE_ABI
