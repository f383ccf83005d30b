// WeightFormats: the one list of weight formats. What a backend must multiply (kernel_backend.hpp), the tables of
// kernels (kernel_table.hpp) and the formats that a matrix can have at run time (any_format.hpp) are made from it: a
// new format is its header and a name here.
#pragma once

#include "headgate/kernels/formats/bf16_dots.hpp"
#include "headgate/kernels/formats/f16.hpp"
#include "headgate/kernels/formats/f32.hpp"
#include "headgate/kernels/formats/int8_rows.hpp"
#include "headgate/kernels/formats/panel_blocks.hpp"
#include "headgate/kernels/formats/row_blocks.hpp"

namespace headgate::inline HEADGATE_ABI {

template <WeightFormat First, WeightFormat... Rest>
struct FormatList {
  static constexpr index_t size = 1 + static_cast<index_t>(sizeof...(Rest));
  template <class F>
  static constexpr bool contains = std::same_as<F, First> || (std::same_as<F, Rest> || ...);
  template <index_t max_rows>
  static constexpr bool all_have_height =
      First::Tile::max_rows == max_rows && ((Rest::Tile::max_rows == max_rows) && ...);

  // The place of a format in the list, and of the first one with such a tile. Precondition: there is one.
  template <class F>
  static constexpr index_t index_of() noexcept {
    if constexpr (std::same_as<F, First>) {
      return 0;
    } else {
      return 1 + FormatList<Rest...>::template index_of<F>();
    }
  }
  template <ActivationTile Tile>
  static constexpr index_t index_of_tile() noexcept {
    if constexpr (std::same_as<Tile, typename First::Tile>) {
      return 0;
    } else {
      return 1 + FormatList<Rest...>::template index_of_tile<Tile>();
    }
  }
  // use(the format at this place)
  template <class Use>
  static constexpr decltype(auto) visit(index_t index, Use&& use) {
    if constexpr (sizeof...(Rest) == 0) {
      return use(First{});
    } else {
      if (index == 0) return use(First{});
      return FormatList<Rest...>::visit(index - 1, use);
    }
  }
};

namespace detail {

template <class... Blocks>
FormatList<F32, Bf16, Bf16Dots, F16, Int8Rows, RowBlocks<Blocks>..., PanelBlocks<Blocks>...> with_blocks(
    blocks::TypeList<Blocks...>);

}  // namespace detail

// Floats, and every type of file: rows as they lie there, to be multiplied with floats, and panels for smaller numbers.
using WeightFormats = decltype(detail::with_blocks(blocks::All{}));

}  // namespace headgate::inline HEADGATE_ABI
