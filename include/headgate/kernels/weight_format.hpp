// WeightFormat: how weights lie in a panel (panel16.hpp) and what they are multiplied with. A format is one half of a
// kernel; the other is its tile, what rows of activations are packed to before they meet such weights. Formats are used
// as values, so that one known at compile time (F32) and one chosen at run time (AnyFormat) read the same.
#pragma once

#include <concepts>

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

// A tile of m rows, 1 <= m <= max_rows, is m * row_size(k) elements. It can be made in pieces: columns from c on, a
// multiple of columns, start at element m * row_size(c). Kinds of tiles are used as values, like formats.
template <class T>
concept ActivationTile = std::copyable<T> && requires(const T& tile, index_t k) {
  typename T::Element;
  { T::max_rows } -> std::convertible_to<index_t>;
  { tile.columns } -> std::convertible_to<index_t>;
  { tile.is_row } -> std::convertible_to<bool>;  // a lone row of floats is its own tile, and is read in place
  { tile.row_size(k) } noexcept -> std::same_as<std::int64_t>;
};

// A row of weights as a format packs it: its floats, or the bytes of a file, for formats that keep those.
struct WeightRow {
  constexpr WeightRow(const float* values) noexcept : floats(values) {}     // NOLINT(google-explicit-constructor)
  constexpr WeightRow(const std::byte* stored) noexcept : bytes(stored) {}  // NOLINT(google-explicit-constructor)
  const float* floats = nullptr;
  const std::byte* bytes = nullptr;
};

// How a row of k columns lies in one lane (0..15) of a panel, and how many bytes a panel has.
template <class F>
concept WeightFormat = std::copyable<F> && std::equality_comparable<F> && ActivationTile<typename F::Tile> &&
                       requires(const F& format, WeightRow row, index_t k, index_t lane, std::byte* panel,
                                const std::byte* packed, float* out) {
                         { format.name() } noexcept -> std::same_as<const char*>;
                         { format.packs_floats() } noexcept -> std::same_as<bool>;  // else bytes
                         { format.fits(k) } noexcept -> std::same_as<bool>;  // whether a row can have so many columns
                         { format.panel_bytes(k) } noexcept -> std::same_as<std::int64_t>;
                         { format.pack(row, k, lane, panel) } noexcept;
                         // out[i] = the weight of column first + i, i < count. Arguments: panel, k, lane, first, count,
                         // out.
                         { format.unpack(packed, k, lane, k, k, out) } noexcept;
                       };

// What a format is multiplied with.
template <WeightFormat Format>
constexpr typename Format::Tile tile_of(const Format& format) noexcept {
  if constexpr (requires { format.tile(); }) {
    return format.tile();
  } else {
    return {};
  }
}

// Calls use with a format, or a kind of tile, known at compile time: the one that was chosen at run time, or itself.
template <class Format, class Use>
constexpr decltype(auto) visit_format(Format format, Use&& use) {
  if constexpr (requires { format.visit(use); }) {
    return format.visit(use);
  } else {
    return use(format);
  }
}

}  // namespace headgate::inline HEADGATE_ABI
