// The two products of an attention over a cache (kernels/cache_format.hpp), for up to 12 queries that share its keys
// and values: score, q . k of whole panels of positions, and weigh, sums of weighed values. Lane by lane a sum is one
// chain of fused multiply-adds, channels or positions ascending, however many queries, panels and lines a block has: so
// a query has the same bits alone and among others. A line is read, and made floats, once for all queries of a block.
#pragma once

#include "headgate/kernels/formats/f32.hpp"
#include "headgate/kernels/simd/cache_line.hpp"
#include "headgate/kernels/simd/multiply.hpp"

namespace headgate::inline HEADGATE_ABI {

// Registers that may be kept, as g++ 12 and clang 14 allocate them without spilling.
template <class Arch>
inline constexpr index_t attention_registers = lanes<Arch> == 16 || std::is_base_of_v<xsimd::neon64, Arch> ? 29 : 14;

// PANELS panels by ROWS queries.
template <class Arch, class Format, index_t PANELS, index_t ROWS>
HEADGATE_NOINLINE void score_block(const std::byte* panels, std::int64_t panel_bytes, index_t channels,
                                   const float* tile, index_t tile_stride, float* scores,
                                   std::int64_t stride) noexcept {
  constexpr index_t parts = panel_rows / lanes<Arch>;
  constexpr index_t columns = PANELS * parts;
  Floats<Arch> sums[as_size(columns)][as_size(ROWS)];
#pragma GCC unroll 16
  for (index_t c = 0; c < columns; ++c) {
#pragma GCC unroll 16
    for (index_t r = 0; r < ROWS; ++r) sums[c][r] = Floats<Arch>(0.0f);
  }
  [[maybe_unused]] Floats<Arch> scales[as_size(columns)];
  const std::byte* line = panels;
  while (channels > 0) {
    index_t left = channels;
    if constexpr (Format::group > 0) {
      left = left < Format::group ? left : Format::group;
#pragma GCC unroll 16
      for (index_t c = 0; c < columns; ++c) {
        scales[c] =
            floats_of<Arch>(reinterpret_cast<const f16*>(line + c / parts * panel_bytes) + lanes<Arch> * (c % parts));
      }
      line += Format::scales_bytes;
    }
    channels -= left;
    for (; left > 0; --left) {
      Floats<Arch> keys[as_size(columns)];
#pragma GCC unroll 16
      for (index_t c = 0; c < columns; ++c) {
        keys[c] = numbers_of<Arch, Format>(line + c / parts * panel_bytes, c % parts);
        if constexpr (Format::group > 0) keys[c] = keys[c] * scales[c];
      }
#pragma GCC unroll 16
      for (index_t r = 0; r < ROWS; ++r) {
        const Floats<Arch> q(tile[r]);
#pragma GCC unroll 16
        for (index_t c = 0; c < columns; ++c) sums[c][r] = fused<Arch>(keys[c], q, sums[c][r]);
      }
      tile += tile_stride;
      line += Format::line_bytes;
    }
  }
#pragma GCC unroll 16
  for (index_t r = 0; r < ROWS; ++r) {
#pragma GCC unroll 16
    for (index_t c = 0; c < columns; ++c) sums[c][r].store_unaligned(scores + r * stride + lanes<Arch> * c);
  }
}

// How many panels, or lines, meet so many queries at once, and how many queries at most: the sums, so many registers
// for every register of a line, and a number of a query wait in registers.
template <class Arch>
constexpr index_t attention_columns(index_t rows, index_t registers_of_column, index_t most) noexcept {
  constexpr index_t parts = panel_rows / lanes<Arch>;
  index_t n = most;
  while (n > 1 && n * parts * (rows + registers_of_column) + 1 > attention_registers<Arch>) n /= 2;
  return n;
}
template <class Arch>
constexpr index_t attention_rows(index_t registers_of_column, index_t most) noexcept {
  constexpr index_t parts = panel_rows / lanes<Arch>;
  index_t n = most;
  while (n > 1 && parts * (n + registers_of_column) + 1 > attention_registers<Arch>) --n;
  return n;
}

// use(count, first) for pieces of at most MOST columns, counts known at compile time, the largest first.
template <index_t MOST, class Use>
HEADGATE_INLINE void in_pieces(index_t first, index_t end, Use&& use) noexcept {
  for (; first + MOST <= end; first += MOST) use(std::integral_constant<index_t, MOST>{}, first);
  if constexpr (MOST > 1) in_pieces<MOST / 2>(first, end, use);
}

// KernelBackend's score.
template <class Arch, class Format>
void score(const std::byte* panels, index_t channels, index_t num_panels, const float* tile, index_t m, float* scores,
           std::int64_t stride) noexcept {
  if constexpr (Format::type == CacheType::f32) {
    multiply<Arch, F32>(panels, channels, num_panels, tile, m, scores, stride);
  } else {
    constexpr index_t registers = Format::group > 0 ? 2 : 1;
    constexpr index_t most = attention_rows<Arch>(registers, F32Tile::max_rows);
    const std::int64_t panel_bytes = Format::panel_bytes(channels);
    const index_t cuts = divide_up(m, most);
    for (index_t cut = 0; cut < cuts; ++cut) {
      const index_t first = cut * m / cuts;
      with_count<most>((cut + 1) * m / cuts - first, [&](auto rows) {
        constexpr index_t at_once = attention_columns<Arch>(rows(), registers, 4);
        in_pieces<at_once>(0, num_panels, [&](auto count, index_t p) {
          score_block<Arch, Format, count(), rows()>(panels + p * panel_bytes, panel_bytes, channels, tile + first, m,
                                                     scores + first * stride + panel_rows * p, stride);
        });
      });
    }
  }
}

// LINES lines of the values of `count` positions by ROWS queries. scales: of the first line's group in the first row.
template <class Arch, class Format, index_t LINES, index_t ROWS>
HEADGATE_NOINLINE void weigh_block(const std::byte* values, std::int64_t row_bytes, const std::byte* scales,
                                   index_t count, const float* weights, std::int64_t stride, float* sums,
                                   std::int64_t sums_stride) noexcept {
  constexpr index_t parts = panel_rows / lanes<Arch>;
  constexpr index_t columns = LINES * parts;
  Floats<Arch> totals[as_size(columns)][as_size(ROWS)];
#pragma GCC unroll 16
  for (index_t r = 0; r < ROWS; ++r) {
#pragma GCC unroll 16
    for (index_t c = 0; c < columns; ++c) {
      totals[c][r] = Floats<Arch>::load_unaligned(sums + r * sums_stride + lanes<Arch> * c);
    }
  }
  for (; count > 0; --count) {
    Floats<Arch> numbers[as_size(columns)];
#pragma GCC unroll 16
    for (index_t c = 0; c < columns; ++c) {
      numbers[c] = numbers_of<Arch, Format>(values + c / parts * Format::line_bytes, c % parts);
      if constexpr (Format::group > 0) {
        constexpr index_t shared = Format::group / panel_rows;  // lines of a scale
        numbers[c] = numbers[c] * scale_of<Arch>(scales + c / parts / shared * static_cast<index_t>(sizeof(f16)));
      }
    }
#pragma GCC unroll 16
    for (index_t r = 0; r < ROWS; ++r) {
      const Floats<Arch> weight(weights[r * stride]);
#pragma GCC unroll 16
      for (index_t c = 0; c < columns; ++c) totals[c][r] = fused<Arch>(weight, numbers[c], totals[c][r]);
    }
    values += row_bytes;
    if constexpr (Format::group > 0) scales += row_bytes;
    ++weights;
  }
#pragma GCC unroll 16
  for (index_t r = 0; r < ROWS; ++r) {
#pragma GCC unroll 16
    for (index_t c = 0; c < columns; ++c) {
      totals[c][r].store_unaligned(sums + r * sums_stride + lanes<Arch> * c);
    }
  }
}

// KernelBackend's weigh.
template <class Arch, class Format>
void weigh(const std::byte* values, index_t channels, index_t count, const float* weights, std::int64_t stride,
           index_t m, float* sums) noexcept {
  constexpr index_t most = attention_rows<Arch>(1, 6);
  const std::int64_t row_bytes = Format::row_bytes(channels);
  const index_t num_lines = divide_up(channels, panel_rows);
  const std::int64_t sums_stride = std::int64_t{num_lines} * panel_rows;
  const index_t cuts = divide_up(m, most);
  for (index_t cut = 0; cut < cuts; ++cut) {
    const index_t first = cut * m / cuts;
    with_count<most>((cut + 1) * m / cuts - first, [&](auto rows) {
      constexpr index_t at_once = attention_columns<Arch>(rows(), 1, 8);
      in_pieces<at_once>(0, num_lines, [&](auto lines, index_t line) {
        const std::byte* scales = values;
        if constexpr (Format::group > 0) scales += Format::scale_of_row(channels, line * panel_rows / Format::group);
        weigh_block<Arch, Format, lines(), rows()>(values + std::int64_t{line} * Format::line_bytes, row_bytes, scales,
                                                   count, weights + first * stride, stride,
                                                   sums + first * sums_stride + panel_rows * line, sums_stride);
      });
    });
  }
}

}  // namespace headgate::inline HEADGATE_ABI
