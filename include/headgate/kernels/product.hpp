// Product: y = x W^T for packed weights and any number of rows, on the context's threads; of one matrix, or of several
// that read the same rows. Router gates, attention projections and output heads run through it; experts, which gather
// and combine, call the kernels themselves.
#pragma once

#include <algorithm>
#include <span>

#include "headgate/core/context.hpp"
#include "headgate/kernels/native.hpp"

namespace headgate::inline HEADGATE_ABI {

// Rows cut into tiles of nearly equal height, at most max_rows: 64 rows are 6 tiles of 10 or 11, not 5 and a rest.
struct TileCut {
  index_t rows;
  index_t max_rows;  // ActivationTile::max_rows
  constexpr index_t count() const noexcept { return divide_up(rows, max_rows); }
  constexpr Slice tile(index_t i) const noexcept { return Slice::of(rows, count(), i); }
};

// Tiles of rows, one after the other.
template <class Backend, ActivationTile Tile>
void make_tiles(Tile kind, ConstRows x, Slice tiles, typename Tile::Element* out) noexcept {
  const TileCut cut{x.rows, Tile::max_rows};
  for (index_t i = tiles.first; i < tiles.last; ++i) {
    const Slice rows = cut.tile(i);
    const float* row[as_size(Tile::max_rows)];
    for (index_t r = rows.first; r < rows.last; ++r) row[r - rows.first] = x.row_data(r);
    make_any_tile<Backend>(kind, row, rows.last - rows.first, x.cols, out + rows.first * kind.row_size(x.cols));
  }
}

// One matrix of a product: y (T, weights.rows) = x W^T.
template <WeightFormat Format>
struct Factor {
  PanelView<Format> weights;
  Rows y;
};

namespace detail {

// Some panels by some tiles. Panels that stay in the L2 cache wait there while all tiles pass by.
template <class Backend, WeightFormat Format>
void multiply_tiles(const Factor<Format>& factor, Slice panels, const typename Format::Tile::Element* tiles,
                    const TileCut& cut, Slice of_tiles) noexcept {
  constexpr std::int64_t l2_block = std::int64_t{256} << 10;
  const PanelView<Format>& weights = factor.weights;
  const auto multiply = [&](index_t first, index_t count, const auto* tile, index_t m, float* y, std::int64_t stride) {
    multiply_any<Backend>(weights.format, weights.panel(first), weights.cols, count, tile, m, y, stride);
  };
  const std::int64_t panel_bytes = weights.format.panel_bytes(weights.cols < 1 ? 1 : weights.cols);
  const auto fitting = static_cast<index_t>(l2_block / panel_bytes & ~std::int64_t{1});
  const index_t block = fitting < 2 ? 2 : fitting;
  for (index_t first = panels.first; first < panels.last; first += block) {
    const index_t last = first + block < panels.last ? first + block : panels.last;
    const index_t whole = last * panel_rows <= weights.rows ? last : last - 1;
    for (index_t i = of_tiles.first; i < of_tiles.last; ++i) {
      const Slice rows = cut.tile(i);
      const index_t m = rows.last - rows.first;
      const auto* const tile = tiles + rows.first * tile_of(weights.format).row_size(weights.cols);
      if (whole > first) {
        multiply(first, whole - first, tile, m, factor.y.row_data(rows.first) + panel_rows * first, factor.y.stride);
      }
      if (whole < last) {  // the last panel has fewer than 16 rows
        float padded[as_size(Format::Tile::max_rows * panel_rows)];
        multiply(whole, 1, tile, m, padded, panel_rows);
        for (index_t r = 0; r < m; ++r) {
          for (index_t c = whole * panel_rows; c < weights.rows; ++c) {
            factor.y.row_data(rows.first + r)[c] = padded[r * panel_rows + c - whole * panel_rows];
          }
        }
      }
    }
  }
}

}  // namespace detail

// y (T, W.rows) = x (T, W.cols) W^T for every factor, whose W.cols are x.cols; rows are packed to tiles once, and one
// run of the executor computes all outputs. Shapes fit: the callers check them.
template <class Backend = NativeBackend, WeightFormat Format>
void products(std::span<const Factor<Format>> factors, ConstRows x, Context& ctx) {
  using Tile = typename Format::Tile;
  if (factors.empty()) return;
  const Tile kind = tile_of(factors.front().weights.format);
  if constexpr (!std::is_empty_v<Tile>) {  // matrices of other tiles by themselves
    const auto others = std::find_if(factors.begin(), factors.end(), [&](const Factor<Format>& factor) {
      return tile_of(factor.weights.format) != kind;
    });
    if (others != factors.end()) {
      const auto same = static_cast<std::size_t>(others - factors.begin());
      products<Backend>(factors.first(same), x, ctx);
      return products<Backend>(factors.subspan(same), x, ctx);
    }
  }
  index_t num_panels = 0;
  for (const Factor<Format>& factor : factors) num_panels += factor.weights.num_panels();
  if (x.rows == 0 || num_panels == 0) return;
  const Workspace::Mark mark(ctx.workspace);
  const TileCut cut{x.rows, Tile::max_rows};
  const typename Tile::Element* tiles = nullptr;
  if (kind.is_row) tiles = reinterpret_cast<const typename Tile::Element*>(x.data);
  if (x.rows > 1 || !kind.is_row) {
    auto* const out = ctx.workspace.take<typename Tile::Element>(x.rows * kind.row_size(x.cols)).data();
    const index_t n = ctx.slices(cut.count());
    ctx.parallel(n, [&](index_t i) { make_tiles<Backend>(kind, x, Slice::of(cut.count(), n, i), out); });
    tiles = out;
  }

  // Panels are counted over all factors.
  const auto multiply = [&](Slice panels, Slice of_tiles) {
    index_t before = 0;
    for (const Factor<Format>& factor : factors) {
      const index_t count = factor.weights.num_panels();
      const Slice own{std::clamp(panels.first - before, 0, count), std::clamp(panels.last - before, 0, count)};
      detail::multiply_tiles<Backend>(factor, own, tiles, cut, of_tiles);
      before += count;
    }
  };
  // Threads take columns, so that each weight is read by one of them; narrow matrices are shared out by rows instead.
  const index_t threads = ctx.executor.size();
  if (num_panels < 2 * threads && cut.count() >= threads) {
    ctx.parallel(threads, [&](index_t i) { multiply({0, num_panels}, Slice::of(cut.count(), threads, i)); });
  } else {
    const index_t n = ctx.slices(num_panels);
    ctx.parallel(n, [&](index_t i) { multiply(Slice::of(num_panels, n, i), {0, cut.count()}); });
  }
}

// Of one matrix.
template <class Backend = NativeBackend, WeightFormat Format>
void product(PanelView<Format> weights, ConstRows x, Rows y, Context& ctx) {
  const Factor<Format> factor{weights, y};
  products<Backend>(std::span<const Factor<Format>>(&factor, 1), x, ctx);
}

}  // namespace headgate::inline HEADGATE_ABI
