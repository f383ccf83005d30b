// AnyTile: what a format that is chosen at run time is multiplied with: the tile of a member of WeightFormats, its
// elements as bytes.
#pragma once

#include <algorithm>

#include "headgate/kernels/weight_formats.hpp"

namespace headgate::inline HEADGATE_ABI {

class AnyTile {
 public:
  template <class Tile>
    requires std::is_empty_v<Tile> && ActivationTile<Tile>
  constexpr AnyTile(Tile) noexcept  // NOLINT(google-explicit-constructor)
      : columns(Tile::columns),
        is_row(Tile::is_row),
        index_(static_cast<std::uint8_t>(WeightFormats::index_of_tile<Tile>())) {}

  using Element = std::byte;
  static constexpr index_t max_rows = F32Tile::max_rows;
  static_assert(WeightFormats::all_have_height<max_rows>);
  index_t columns;
  bool is_row;
  // Calls use(F32Tile{}) or ...: what it returns, of one type for all.
  template <class Use>
  constexpr decltype(auto) visit(Use&& use) const {
    return WeightFormats::visit(index_, [&]<class Format>(Format) { return use(typename Format::Tile{}); });
  }

  constexpr std::int64_t row_size(index_t k) const noexcept {
    return visit([k]<class Tile>(Tile) { return Tile::row_size(k) * std::int64_t{sizeof(typename Tile::Element)}; });
  }

  friend constexpr bool operator==(AnyTile a, AnyTile b) noexcept { return a.index_ == b.index_; }

 private:
  std::uint8_t index_;
};
static_assert(ActivationTile<AnyTile>);

}  // namespace headgate::inline HEADGATE_ABI
