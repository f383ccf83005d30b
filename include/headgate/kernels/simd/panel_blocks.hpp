// Products of quantized blocks in panels (formats/panel_blocks.hpp) and tiles of whole numbers (formats/int8_tile.hpp).
// A few columns of a few panels are unpacked to a byte a weight, without a sign, which stay in the L1 cache, and
// multiplied there with all rows by one kernel for all types. The sum over the columns of a scale is exact; those sums,
// each times its scales, are one chain of fused multiply-adds, columns ascending: the bits of Scalar.
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
template <class Arch>
HEADGATE_INLINE typename Words<Arch>::type splat(std::uint32_t word) noexcept {
  return word - typename Words<Arch>::type{};
}
template <class Arch>
HEADGATE_INLINE Floats<Arch> to_floats(typename Ints<Arch>::type ints) noexcept {
  typedef float Vector __attribute__((vector_size(4 * Floats<Arch>::size)));
  return __builtin_bit_cast(typename Floats<Arch>::register_type, __builtin_convertvector(ints, Vector));
}
// As many narrow numbers, each as a word.
template <class Arch, class Narrow>
HEADGATE_INLINE typename Ints<Arch>::type widened(const std::byte* from) noexcept {
  typedef Narrow Vector __attribute__((vector_size(sizeof(Narrow) * Floats<Arch>::size)));
  Vector narrow;
  std::memcpy(&narrow, from, sizeof narrow);
  if constexpr (sizeof(Narrow) == 1) {  // in two steps: g++ 12 takes one for each number otherwise
    using Short = std::conditional_t<std::is_signed_v<Narrow>, std::int16_t, std::uint16_t>;
    typedef Short Shorts __attribute__((vector_size(2 * Floats<Arch>::size)));
    return __builtin_convertvector(__builtin_convertvector(narrow, Shorts), typename Ints<Arch>::type);
  } else {
    return __builtin_convertvector(narrow, typename Ints<Arch>::type);
  }
}
template <class Arch>
HEADGATE_INLINE Floats<Arch> load_halves(const std::byte* from) noexcept {
  using Word = typename Words<Arch>::type;
  const auto half = __builtin_bit_cast(Word, widened<Arch, std::uint16_t>(from));
  constexpr std::uint32_t smallest = 0x400u << 13;  // normal number, and infinity
  constexpr std::uint32_t infinity = 0x7c00u << 13;
  const Word bits = (half & 0x7fffu) << 13;
  const Word tiny = __builtin_bit_cast(Word, bits < smallest);
  const Word rebased = bits + (112u << 23) + (__builtin_bit_cast(Word, bits >= infinity) & (112u << 23));
  const Floats<Arch> unit = as_floats<Arch>(splat<Arch>(113u << 23));
  const Word denormal = as_words<Arch>(as_floats<Arch>(bits + (113u << 23)) - unit);
  return as_floats<Arch>((rebased & ~tiny) | (denormal & tiny) | (half & 0x8000u) << 16);
}

// Weights unpacked: of each panel its groups of 32 columns, each 8 lines of 16 rows x 4 bytes.
struct UnpackedPanels {
  const std::byte* lines;
  std::int64_t panel_bytes;  // between panels
  const float* scales;       // (panels, groups_at_once, scales of a group, 16)
  const float* minima;       // (panels, groups_at_once, 16)
  index_t groups;
};
inline constexpr index_t groups_at_once = 4;

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

// Of one panel the scales and minima of `count` groups from group `first` on, of one block where a block is several.
template <class Arch, class Blocks>
HEADGATE_INLINE void unpack_scales(const std::byte* panel, index_t first, index_t count, index_t lane, float* scales,
                                   float* minima) noexcept {
  using Format = PanelBlocks<Blocks>;
  using Word = typename Words<Arch>::type;
  constexpr index_t num_scales = Format::num_scales;
  const std::byte* const halves = panel + Format::half_at(first) + 2 * lane;
  Floats<Arch> d;
  Floats<Arch> minimum;
  if constexpr (Format::has_halves && Format::groups > 1) {
    d = detail::load_halves<Arch>(halves);
    if constexpr (blocks::has_minimum<Blocks>) minimum = -detail::load_halves<Arch>(halves + 32);
  }
  for (index_t i = 0; i < count; ++i) {
    float* const scale = scales + i * num_scales * panel_rows + lane;
    float* const least = minima + i * panel_rows + lane;
    const std::byte* const bytes = panel + Format::bytes_at(first + i) + lane;
    if constexpr (Format::groups > 1) {
#pragma GCC unroll 2
      for (index_t s = 0; s < num_scales; ++s) {
        const auto factor = detail::widened<Arch, typename Format::GroupScale>(bytes + 16 * s);
        (d * detail::to_floats<Arch>(factor)).store_unaligned(scale + s * panel_rows);
      }
      if constexpr (blocks::has_minimum<Blocks>) {
        const auto factor = detail::widened<Arch, typename Format::GroupScale>(bytes + 16);
        (minimum * detail::to_floats<Arch>(factor)).store_unaligned(least);
      }
    } else if constexpr (Format::has_halves) {
      detail::load_halves<Arch>(halves + i * Format::block_scales).store_unaligned(scale);
      if constexpr (blocks::has_minimum<Blocks>) {
        detail::load_halves<Arch>(halves + i * Format::block_scales + 32).store_unaligned(least);
      }
    } else {
      const auto e = __builtin_bit_cast(Word, detail::widened<Arch, std::uint8_t>(bytes));
      const Word tiny = __builtin_bit_cast(Word, e < 2u);
      as_floats<Arch>((((e - 1u) << 23) & ~tiny) | ((0x200000u << (e & 1u)) & tiny)).store_unaligned(scale);
    }
  }
}

// The lines of one group, a byte a weight, from line `packed` of its q on.
template <class Arch, class Blocks>
HEADGATE_INLINE void unpack_lines(const std::byte* packed, std::byte* out) noexcept {
  using Word = typename Words<Arch>::type;
  Word high[2] = {};
  if constexpr (Blocks::bits > 4) high[0] = detail::load_words<Arch>(packed + 256);
  if constexpr (Blocks::bits > 5) high[1] = detail::load_words<Arch>(packed + 320);
#pragma GCC unroll 4
  for (index_t j = 0; j < 4; ++j) {
    const Word both = detail::load_words<Arch>(packed + 64 * j);
    Word q[2] = {both & 0x0f0f0f0fu, both >> 4 & 0x0f0f0f0fu};
#pragma GCC unroll 2
    for (index_t i = 0; i < 2; ++i) {
      const index_t quad = 2 * j + i;
      if constexpr (Blocks::bits == 5) q[i] |= (high[0] >> quad & 0x01010101u) << 4;
      if constexpr (Blocks::bits == 6) q[i] |= (high[quad / 4] >> (2 * (quad % 4)) & 0x03030303u) << 4;
      if constexpr (detail::is_table<Blocks>) q[i] = look_up<Arch>(detail::table_of<Blocks>, q[i]);
      std::memcpy(out + 64 * quad, &q[i], sizeof q[i]);
    }
  }
}

// count groups of one panel from group `first` on: lines (of eight bits none: they are used as they are), scales and
// minima.
template <class Arch, class Blocks>
HEADGATE_NOINLINE void unpack_groups(const std::byte* panel, index_t k, index_t first, index_t count, std::byte* lines,
                                     float* scales, float* minima) noexcept {
  using Format = PanelBlocks<Blocks>;
#pragma GCC unroll 4
  for (index_t lane = 0; lane < panel_rows; lane += lanes<Arch>) {
    unpack_scales<Arch, Blocks>(panel, first, count, lane, scales, minima);
  }
  if constexpr (Blocks::bits < 8) {
    const std::byte* packed = panel + Format::scale_bytes(k) + std::int64_t{first} * Format::group_bytes;
    for (index_t i = 0; i < count; ++i) {
#pragma GCC unroll 4
      for (index_t lane = 0; lane < panel_rows; lane += lanes<Arch>) {
        unpack_lines<Arch, Blocks>(packed + 4 * lane, lines + 4 * lane);
      }
      packed += Format::group_bytes;
      lines += 512;
    }
  }
}

// PANELS panels by ROWS rows of a tile of m, from row `first` on: y += their products. bias: of the bytes.
template <class Arch, bool WIDE, index_t SCALES, bool HAS_MINIMUM, index_t PANELS, index_t ROWS>
HEADGATE_NOINLINE void multiply_unpacked_block(const detail::UnpackedPanels& in, index_t bias, const std::byte* tile,
                                               index_t m, index_t first, float* y, std::int64_t stride) noexcept {
  using Int = typename Ints<Arch>::type;
  using Word = typename Words<Arch>::type;
  constexpr index_t parts = panel_rows / lanes<Arch>;
  constexpr index_t quads = 8 / SCALES;
  Floats<Arch> sums[as_size(PANELS)][as_size(parts)][as_size(ROWS)];
#pragma GCC unroll 16
  for (index_t p = 0; p < PANELS; ++p) {
#pragma GCC unroll 16
    for (index_t part = 0; part < parts; ++part) {
#pragma GCC unroll 16
      for (index_t r = 0; r < ROWS; ++r) {
        sums[p][part][r] = Floats<Arch>::load_unaligned(y + r * stride + panel_rows * p + lanes<Arch> * part);
      }
    }
  }
  const std::byte* lines = in.lines;
  const std::byte* x_scales = tile + Int8Tile::scale_at(m, first);
  const std::byte* x_sums = tile + Int8Tile::half_sum_at(m, first);
  const std::byte* x = tile + Int8Tile::values_at(m, first);
  const float* scales = in.scales;
  const float* minima = in.minima;
  const index_t scaled_sums = Int8Tile::scaled_sum_at(m, 0) - Int8Tile::scale_at(m, 0);
  const index_t next_sums = Int8Tile::sum_at(m, 0) - Int8Tile::half_sum_at(m, 0);
  for (index_t g = in.groups; g > 0; --g) {
#pragma GCC unroll 2
    for (index_t s = 0; s < SCALES; ++s) {
      Int dots[as_size(PANELS)][as_size(parts)][as_size(ROWS)];
#pragma GCC unroll 16
      for (index_t r = 0; r < ROWS; ++r) {
        Int start{};
        if constexpr (!HAS_MINIMUM) {
          std::int32_t sum;
          std::memcpy(&sum, x_sums + next_sums + 4 * r, 4);
          if constexpr (SCALES == 2) {
            std::int32_t half;
            std::memcpy(&half, x_sums + 4 * r, 4);
            sum = s == 0 ? half : sum - half;
          }
          start = -bias * sum - start;
        }
#pragma GCC unroll 16
        for (index_t p = 0; p < PANELS; ++p) {
#pragma GCC unroll 16
          for (index_t part = 0; part < parts; ++part) dots[p][part][r] = start;
        }
      }
#pragma GCC unroll 8
      for (index_t j = s * quads; j < (s + 1) * quads; ++j) {
        Word q[as_size(PANELS)][as_size(parts)];
#pragma GCC unroll 16
        for (index_t p = 0; p < PANELS; ++p) {
#pragma GCC unroll 16
          for (index_t part = 0; part < parts; ++part) {
            q[p][part] = detail::load_words<Arch>(lines + p * in.panel_bytes + 64 * j + 4 * lanes<Arch> * part);
          }
        }
#pragma GCC unroll 16
        for (index_t r = 0; r < ROWS; ++r) {
          std::uint32_t word;
          std::memcpy(&word, x + 32 * r + 4 * j, 4);
          const Word four = detail::splat<Arch>(word);
#pragma GCC unroll 16
          for (index_t p = 0; p < PANELS; ++p) {
#pragma GCC unroll 16
            for (index_t part = 0; part < parts; ++part) {
              dots[p][part][r] = dot<Arch, WIDE>(dots[p][part][r], q[p][part], four);
            }
          }
        }
      }
#pragma GCC unroll 16
      for (index_t p = 0; p < PANELS; ++p) {
#pragma GCC unroll 16
        for (index_t part = 0; part < parts; ++part) {
          const auto scale = Floats<Arch>::load_unaligned(
              scales + (p * detail::groups_at_once * SCALES + s) * panel_rows + lanes<Arch> * part);
#pragma GCC unroll 16
          for (index_t r = 0; r < ROWS; ++r) {
            float x_scale;
            std::memcpy(&x_scale, x_scales + 4 * r, 4);
            sums[p][part][r] =
                fused<Arch>(detail::to_floats<Arch>(dots[p][part][r]), scale * Floats<Arch>(x_scale), sums[p][part][r]);
          }
        }
      }
    }
    if constexpr (HAS_MINIMUM) {
#pragma GCC unroll 16
      for (index_t r = 0; r < ROWS; ++r) {
        float scaled_sum;
        std::memcpy(&scaled_sum, x_scales + scaled_sums + 4 * r, 4);
        const Floats<Arch> x_sum(scaled_sum);
#pragma GCC unroll 16
        for (index_t p = 0; p < PANELS; ++p) {
#pragma GCC unroll 16
          for (index_t part = 0; part < parts; ++part) {
            const auto minimum =
                Floats<Arch>::load_unaligned(minima + p * detail::groups_at_once * panel_rows + lanes<Arch> * part);
            sums[p][part][r] = fused<Arch>(minimum, x_sum, sums[p][part][r]);
          }
        }
      }
      minima += panel_rows;
    }
    scales += SCALES * panel_rows;
    lines += 512;
    const std::int64_t step = std::int64_t{Int8Tile::group_bytes} * m;
    x_scales += step;
    x_sums += step;
    x += step;
  }
#pragma GCC unroll 16
  for (index_t r = 0; r < ROWS; ++r) {
#pragma GCC unroll 16
    for (index_t p = 0; p < PANELS; ++p) {
#pragma GCC unroll 16
      for (index_t part = 0; part < parts; ++part) {
        sums[p][part][r].store_unaligned(y + r * stride + panel_rows * p + lanes<Arch> * part);
      }
    }
  }
}

// Outputs, in registers, that a block keeps twice: whole numbers and floats.
template <class Arch>
inline constexpr index_t outputs_of_block = lanes<Arch> == 8 ? 6 : 12;

template <class Arch, bool WIDE, index_t SCALES, bool HAS_MINIMUM, index_t ROWS>
void multiply_unpacked_rows(detail::UnpackedPanels in, index_t num_panels, index_t bias, const std::byte* tile,
                            index_t m, index_t first, float* y, std::int64_t stride) noexcept {
  constexpr index_t parts = panel_rows / lanes<Arch>;
  constexpr index_t fitting = outputs_of_block<Arch> / (parts * ROWS);
  constexpr index_t at_once = fitting < 1 ? 1 : fitting > 4 ? 4 : fitting;
  while (num_panels > 0) {
    const index_t taken = num_panels < at_once ? 1 : at_once;
    if (taken == at_once) {
      multiply_unpacked_block<Arch, WIDE, SCALES, HAS_MINIMUM, at_once, ROWS>(in, bias, tile, m, first, y, stride);
    } else {
      multiply_unpacked_block<Arch, WIDE, SCALES, HAS_MINIMUM, 1, ROWS>(in, bias, tile, m, first, y, stride);
    }
    num_panels -= taken;
    y += taken * panel_rows;
    in.lines += taken * in.panel_bytes;
    in.scales += taken * detail::groups_at_once * SCALES * panel_rows;
    in.minima += taken * detail::groups_at_once * panel_rows;
  }
}
template <class Arch, bool WIDE, index_t SCALES, bool HAS_MINIMUM, index_t ROWS>
void multiply_unpacked_up_to(index_t rows, const detail::UnpackedPanels& in, index_t num_panels, index_t bias,
                             const std::byte* tile, index_t m, index_t first, float* y, std::int64_t stride) noexcept {
  if constexpr (ROWS > 1) {
    if (rows < ROWS) {
      return multiply_unpacked_up_to<Arch, WIDE, SCALES, HAS_MINIMUM, ROWS - 1>(rows, in, num_panels, bias, tile, m,
                                                                                first, y, stride);
    }
  }
  multiply_unpacked_rows<Arch, WIDE, SCALES, HAS_MINIMUM, ROWS>(in, num_panels, bias, tile, m, first, y, stride);
}

using UnpackGroups = void (*)(const std::byte*, index_t, index_t, index_t, std::byte*, float*, float*) noexcept;

// What the driver knows of a type.
struct UnpackedType {
  UnpackGroups unpack;
  std::int64_t panel_bytes;
  std::int64_t in_place;  // where the lines of a panel stand, if they need no unpacking, else -1
  index_t bias;
};

template <class Arch, bool WIDE, index_t SCALES, bool HAS_MINIMUM>
HEADGATE_NOINLINE void multiply_unpacked(const UnpackedType& type, const std::byte* panels, index_t k,
                                         index_t num_panels, const std::byte* tile, index_t m, float* y,
                                         std::int64_t stride) noexcept {
  using detail::groups_at_once;
  constexpr index_t panels_at_once = 4;
  constexpr index_t most = outputs_of_block<Arch> / (panel_rows / lanes<Arch>);
  alignas(64) std::byte lines[as_size(panels_at_once * groups_at_once * 512)];
  alignas(64) float scales[as_size(panels_at_once * groups_at_once * SCALES * panel_rows)];
  alignas(64) float minima[as_size(panels_at_once * groups_at_once * panel_rows)];
  const index_t parts = divide_up(m, most);
  const index_t groups = k / blocks::group;
  for (index_t p = 0; p < num_panels; p += panels_at_once) {
    const index_t n = num_panels - p < panels_at_once ? num_panels - p : panels_at_once;
    float* const out = y + panel_rows * p;
    for (index_t r = 0; r < m; ++r) {
      for (index_t i = 0; i < n * panel_rows; ++i) out[r * stride + i] = 0.0f;
    }
    for (index_t g = 0; g < groups; g += groups_at_once) {
      const index_t count = groups - g < groups_at_once ? groups - g : groups_at_once;
      const std::byte* const first_panel = panels + p * type.panel_bytes;
      for (index_t q = 0; q < n; ++q) {
        type.unpack(first_panel + q * type.panel_bytes, k, g, count, lines + q * groups_at_once * 512,
                    scales + q * groups_at_once * SCALES * panel_rows, minima + q * groups_at_once * panel_rows);
      }
      const detail::UnpackedPanels in{type.in_place < 0 ? lines : first_panel + type.in_place + std::int64_t{512} * g,
                                      type.in_place < 0 ? std::int64_t{groups_at_once} * 512 : type.panel_bytes, scales,
                                      minima, count};
      const std::byte* const columns = tile + std::int64_t{Int8Tile::group_bytes} * m * g;
      for (index_t part = 0; part < parts; ++part) {
        const index_t first = part * m / parts;
        const index_t rows = (part + 1) * m / parts - first;
        multiply_unpacked_up_to<Arch, WIDE, SCALES, HAS_MINIMUM, most>(rows, in, n, type.bias, columns, m, first,
                                                                       out + first * stride, stride);
      }
    }
  }
}

template <class Format>
inline constexpr bool is_panel_blocks = false;
template <class Blocks>
inline constexpr bool is_panel_blocks<PanelBlocks<Blocks>> = true;

// KernelBackend's multiply.
template <class Arch, class Format>
  requires is_panel_blocks<Format>
void multiply(const std::byte* panels, index_t k, index_t num_panels, const std::byte* tile, index_t m, float* y,
              std::int64_t stride) noexcept {
  using Blocks = typename Format::Blocks;
  constexpr bool wide = wide_dot_costs_more<Arch> && detail::largest_of<Blocks> > 127;
  const UnpackedType type{unpack_groups<Arch, Blocks>, Format::panel_bytes(k),
                          Blocks::bits == 8 ? Format::scale_bytes(k) : -1, detail::bias_of<Blocks>};
  multiply_unpacked<Arch, wide, Format::num_scales, blocks::has_minimum<Blocks>>(type, panels, k, num_panels, tile, m,
                                                                                 y, stride);
}

}  // namespace headgate::inline HEADGATE_ABI
