// Products of packed weights (panel16.hpp) and a tile of rows, in registers. A block is PANELS panels by ROWS rows: k
// runs outermost, a line of weights is loaded once for all rows and a number of the tile broadcast once for all panels.
// Lane by lane the sum is one chain of fused multiply-adds, k ascending from 0, whatever the block: the same bits
// always.
//
// Few rows take several panels at once, which hides the latency of the multiply-add and keeps several streams from
// memory going; many rows take as many as the registers hold. Each block is a function of its own, never inlined: g++
// 12 spills accumulators that live across another loop.
#pragma once

#include "headgate/kernels/kernel_backend.hpp"
#include "headgate/kernels/simd/halves.hpp"
#include "headgate/kernels/simd/pairs.hpp"

namespace headgate::inline HEADGATE_ABI {

// A format whose line of 16 rows x 4 bytes becomes registers of floats by operations on words (formats/f32.hpp), or is
// 16 halves of each column (formats/f16.hpp), to be multiplied with an F32Tile; or is multiplied as it is with a tile
// of pairs.
template <class Format>
inline constexpr bool is_halves = requires { Format::has_halves; };
template <class Format>
concept LineFormat = WeightFormat<Format> && sizeof(typename Format::Tile::Element) == 4 && requires {
  { Format::per_line } -> std::convertible_to<index_t>;
};
template <class Format>
inline constexpr bool is_pairs = std::same_as<typename Format::Tile, Bf16Tile>;

// An element of a tile for all lanes, and what it adds, with weights, to a sum.
template <class Arch>
HEADGATE_INLINE Floats<Arch> broadcast(const float* element) noexcept {
  return Floats<Arch>(*element);
}
template <class Arch>
HEADGATE_INLINE Floats<Arch> broadcast(const std::uint32_t* element) noexcept {
  return as_floats<Arch>(detail::splat<Arch>(*element));
}
template <class Arch, class Format>
HEADGATE_INLINE Floats<Arch> add_product(Floats<Arch> weights, Floats<Arch> x, Floats<Arch> sum) noexcept {
  if constexpr (is_pairs<Format>) {
    return dot_pairs<Arch>(weights, x, sum);
  } else {
    return fused<Arch>(weights, x, sum);
  }
}

// Part `part` of 16 / lanes of the weights of column K of a line.
template <class Arch, class Format, index_t K>
HEADGATE_INLINE Floats<Arch> weights_of(const std::byte* line, index_t part) noexcept {
  if constexpr (is_halves<Format>) {
    return detail::load_halves<Arch>(line + 2 * panel_rows * K + 2 * lanes<Arch> * part);
  } else {
    const auto words =
        as_words<Arch>(Floats<Arch>::load_unaligned(reinterpret_cast<const float*>(line) + lanes<Arch> * part));
    return as_floats<Arch>(Format::template float_bits<K>(words));
  }
}

// sums += weights of column K of a line, times that column's row of the tile. Whichever of weights and numbers are
// fewer wait in registers.
template <class Arch, class Format, index_t K, index_t PANELS, index_t ROWS>
HEADGATE_INLINE void multiply_column(
    const std::byte* line, std::int64_t panel_bytes, const typename Format::Tile::Element* tile,
    Floats<Arch> (&sums)[as_size(PANELS)][as_size(panel_rows / lanes<Arch>)][as_size(ROWS)]) noexcept {
  constexpr index_t parts = panel_rows / lanes<Arch>;
  if constexpr (ROWS <= PANELS * parts) {
    Floats<Arch> x[as_size(ROWS)];
#pragma GCC unroll 16
    for (index_t r = 0; r < ROWS; ++r) x[r] = broadcast<Arch>(tile + r);
#pragma GCC unroll 16
    for (index_t p = 0; p < PANELS; ++p) {
#pragma GCC unroll 16
      for (index_t part = 0; part < parts; ++part) {
        const Floats<Arch> weights = weights_of<Arch, Format, K>(line + p * panel_bytes, part);
#pragma GCC unroll 16
        for (index_t r = 0; r < ROWS; ++r) {
          sums[p][part][r] = add_product<Arch, Format>(weights, x[r], sums[p][part][r]);
        }
      }
    }
  } else {
    Floats<Arch> weights[as_size(PANELS)][as_size(parts)];
#pragma GCC unroll 16
    for (index_t p = 0; p < PANELS; ++p) {
#pragma GCC unroll 16
      for (index_t part = 0; part < parts; ++part)
        weights[p][part] = weights_of<Arch, Format, K>(line + p * panel_bytes, part);
    }
#pragma GCC unroll 16
    for (index_t r = 0; r < ROWS; ++r) {
      const Floats<Arch> x = broadcast<Arch>(tile + r);
#pragma GCC unroll 16
      for (index_t p = 0; p < PANELS; ++p) {
#pragma GCC unroll 16
        for (index_t part = 0; part < parts; ++part) {
          sums[p][part][r] = add_product<Arch, Format>(weights[p][part], x, sums[p][part][r]);
        }
      }
    }
  }
}

// One block. k: columns, or pairs of them. panel_bytes lie between panels, tile_stride elements between the columns of
// the tile. ADDS: the sums go on from what y holds.
template <class Arch, class Format, index_t PANELS, index_t ROWS, bool ADDS>
HEADGATE_NOINLINE void multiply_block(const std::byte* panels, std::int64_t panel_bytes, index_t k,
                                      const typename Format::Tile::Element* tile, index_t tile_stride, float* y,
                                      std::int64_t stride) noexcept {
  constexpr index_t parts = panel_rows / lanes<Arch>;
  constexpr index_t per_line = Format::per_line;
  Floats<Arch> sums[as_size(PANELS)][as_size(parts)][as_size(ROWS)];
#pragma GCC unroll 16
  for (index_t p = 0; p < PANELS; ++p) {
#pragma GCC unroll 16
    for (index_t part = 0; part < parts; ++part) {
#pragma GCC unroll 16
      for (index_t r = 0; r < ROWS; ++r) {
        if constexpr (ADDS) {
          sums[p][part][r] = Floats<Arch>::load_unaligned(y + r * stride + panel_rows * p + lanes<Arch> * part);
        } else {
          sums[p][part][r] = Floats<Arch>(0.0f);
        }
      }
    }
  }
  const std::byte* line = panels;
  for (index_t lines = k / per_line; lines > 0; --lines) {
    multiply_column<Arch, Format, 0, PANELS, ROWS>(line, panel_bytes, tile, sums);
    if constexpr (per_line == 2) {
      __asm__ volatile("" : "+r"(line) : : "memory");  // read the line again: kept, it would take the registers of sums
      multiply_column<Arch, Format, 1, PANELS, ROWS>(line, panel_bytes, tile + tile_stride, sums);
    }
    tile += per_line * tile_stride;
    line += 64;
  }
  if (k % per_line != 0) multiply_column<Arch, Format, 0, PANELS, ROWS>(line, panel_bytes, tile, sums);
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

// Registers that a block keeps: its accumulators, and the fewer of weights and numbers of the tile.
template <class Arch>
constexpr index_t registers_of_block(index_t num_panels, index_t rows) noexcept {
  const index_t weights = num_panels * (panel_rows / lanes<Arch>);
  return weights * rows + (weights < rows ? weights : rows);
}
// How many may be kept without spilling, as g++ 12 and clang 14 allocate them: 32 registers with AVX-512 and on
// AArch64, else 16; bf16 needs some to unpack a line.
template <class Arch, class Format>
inline constexpr index_t free_registers = [] {
  const bool unpacks = Format::per_line > 1 || (is_pairs<Format> && !has_pair_dots);
  if (lanes<Arch> == 16 || std::is_base_of_v<xsimd::neon64, Arch>) return is_pairs<Format> && unpacks ? 24 : 27;
  return unpacks ? 12 : 15;
}();

template <class Arch, class Format>
constexpr index_t panels_at_once(index_t rows) noexcept {
  index_t n = 4;
  while (n > 1 && registers_of_block<Arch>(n, rows) > free_registers<Arch, Format>) --n;
  return n;
}
template <class Arch, class Format>
constexpr index_t rows_at_once() noexcept {
  index_t n = F32Tile::max_rows;
  while (n > 1 && registers_of_block<Arch>(1, n) > free_registers<Arch, Format>) --n;
  return n;
}

// ROWS rows of every panel.
template <class Arch, class Format, bool ADDS, index_t ROWS>
void multiply_rows(const std::byte* panels, index_t k, index_t num_panels, const typename Format::Tile::Element* tile,
                   index_t tile_stride, float* y, std::int64_t stride) noexcept {
  constexpr index_t at_once = panels_at_once<Arch, Format>(ROWS);
  const std::int64_t panel_bytes = Format::panel_bytes(k);
  k = divide_up(k, Format::Tile::columns);
  index_t p = 0;
  for (; p + at_once <= num_panels; p += at_once) {
    multiply_block<Arch, Format, at_once, ROWS, ADDS>(panels + p * panel_bytes, panel_bytes, k, tile, tile_stride,
                                                      y + panel_rows * p, stride);
  }
  for (; p < num_panels; ++p) {
    multiply_block<Arch, Format, 1, ROWS, ADDS>(panels + p * panel_bytes, panel_bytes, k, tile, tile_stride,
                                                y + panel_rows * p, stride);
  }
}

// use(count) with count = rows <= MOST, known at compile time.
template <index_t MOST, class Use>
HEADGATE_INLINE void with_count(index_t rows, Use&& use) noexcept {
  if constexpr (MOST > 1) {
    if (rows < MOST) return with_count<MOST - 1>(rows, use);
  }
  use(std::integral_constant<index_t, MOST>{});
}

// KernelBackend's multiply, or, with ADDS, more columns of a sum that y holds. A tile that is too high for the
// registers is cut into parts of nearly equal height.
template <class Arch, LineFormat Format, bool ADDS = false>
void multiply(const std::byte* panels, index_t k, index_t num_panels, const typename Format::Tile::Element* tile,
              index_t m, float* y, std::int64_t stride) noexcept {
  constexpr index_t most = rows_at_once<Arch, Format>();
  const index_t parts = divide_up(m, most);
  index_t first = 0;
  for (index_t part = 0; part < parts; ++part) {
    const index_t last = (part + 1) * m / parts;
    with_count<most>(last - first, [&](auto rows) {
      multiply_rows<Arch, Format, ADDS, rows()>(panels, k, num_panels, tile + first, m, y + first * stride, stride);
    });
    first = last;
  }
}

}  // namespace headgate::inline HEADGATE_ABI
