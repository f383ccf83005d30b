// Products of rows of whole numbers in panels (formats/int8_rows.hpp) and tiles of such: the bits of Scalar. As of
// quantized blocks (panel_blocks.hpp), but that a group of columns takes one multiply-add less: the scale of a row
// multiplies its sum at the end.
#pragma once

#include "headgate/kernels/formats/int8_rows.hpp"
#include "headgate/kernels/simd/panel_blocks.hpp"

namespace headgate::inline HEADGATE_ABI {

// One panel by ROWS rows of a tile of m, from row `first` on.
template <class Arch, index_t ROWS>
HEADGATE_NOINLINE void multiply_int8_panel(const std::byte* panel, index_t k, const std::byte* tile, index_t m,
                                           index_t first, float* y, std::int64_t stride) noexcept {
  using Int = typename Ints<Arch>::type;
  constexpr index_t parts = panel_rows / lanes<Arch>;
  PanelSums<Arch, ROWS> sums{.y = y, .stride = stride, .registers = {}};
  sums.clear();
  const std::byte* x_scales = tile + Int8Tile::scale_at(m, first);
  const std::byte* x_sums = tile + Int8Tile::sum_at(m, first);
  const std::byte* x = tile + Int8Tile::values_at(m, first);
  const std::byte* line = panel + 64;
  for (index_t groups = divide_up(k, Int8Tile::columns); groups > 0; --groups) {
#pragma GCC unroll 4
    for (index_t part = 0; part < parts; ++part) {
      // Read x again for each part: kept, it would take the registers of dots.
      if constexpr (parts > 1) __asm__ volatile("" : "+r"(x));
      Int dots[as_size(ROWS)];
#pragma GCC unroll 16
      for (index_t r = 0; r < ROWS; ++r) {
        std::int32_t sum;
        std::memcpy(&sum, x_sums + 4 * r, 4);
        dots[r] = -Int8Rows::bias * sum - Int{};
      }
#pragma GCC unroll 8
      for (index_t quad = 0; quad < 8; ++quad) {
        const auto q = detail::load_words<Arch>(line + 64 * quad + 4 * lanes<Arch> * part);
#pragma GCC unroll 16
        for (index_t r = 0; r < ROWS; ++r) {
          std::uint32_t word;
          std::memcpy(&word, x + 32 * r + 4 * quad, 4);
          dots[r] = dot<Arch, wide_dot_costs_more<Arch>>(dots[r], q, detail::splat<Arch>(word));
        }
      }
#pragma GCC unroll 16
      for (index_t r = 0; r < ROWS; ++r) {
        float x_scale;
        std::memcpy(&x_scale, x_scales + 4 * r, 4);
        sums.add(part, r, detail::to_floats<Arch>(dots[r]), Floats<Arch>(x_scale));
      }
    }
    line += Int8Rows::group_bytes;
    const std::int64_t step = std::int64_t{Int8Tile::group_bytes} * m;
    x_scales += step;
    x_sums += step;
    x += step;
  }
  sums.multiply(reinterpret_cast<const float*>(panel));
}

// Rows of a block, without spilling.
template <class Arch>
inline constexpr index_t int8_rows_of_block = lanes<Arch> < 16            ? 4
                                              : wide_dot_costs_more<Arch> ? 8
                                                                          : 12;

// multiply_int8_panel for 1, 2, ... rows.
template <class Arch>
inline constexpr auto multiply_int8_panel_of_rows = []<index_t... r>(std::integer_sequence<index_t, r...>) {
  return std::array{&multiply_int8_panel<Arch, r + 1>...};
}(std::make_integer_sequence<index_t, int8_rows_of_block<Arch>>());

// KernelBackend's multiply.
template <class Arch, class Format>
  requires std::same_as<Format, Int8Rows>
void multiply(const std::byte* panels, index_t k, index_t num_panels, const std::byte* tile, index_t m, float* y,
              std::int64_t stride) noexcept {
  const index_t parts = divide_up(m, int8_rows_of_block<Arch>);
  for (index_t p = 0; p < num_panels; ++p) {
    for (index_t part = 0; part < parts; ++part) {
      const index_t first = part * m / parts;
      const index_t rows = (part + 1) * m / parts - first;
      multiply_int8_panel_of_rows<Arch>[as_size(rows - 1)](panels, k, tile, m, first,
                                                           y + panel_rows * p + first * stride, stride);
    }
    panels += Int8Rows::panel_bytes(k);
  }
}

}  // namespace headgate::inline HEADGATE_ABI
