// Product: y = x W^T for packed weights and any number of rows, on the context's threads. Router gates, attention
// projections and output heads run through it; experts, which gather and combine, call the kernels themselves.
#pragma once

#include "headgate/core/context.hpp"
#include "headgate/kernels/native.hpp"

namespace headgate::inline HEADGATE_ABI {

// Rows cut into tiles of nearly equal height, at most max_tile_rows: 64 rows are 6 tiles of 10 or 11, not 5 and a rest.
struct TileCut {
  index_t rows;
  constexpr index_t count() const noexcept { return divide_up(rows, max_tile_rows); }
  constexpr Slice tile(index_t i) const noexcept { return Slice::of(rows, count(), i); }
};

// Transposed copies of rows, tile after tile; of a single row, the row itself. Tile i is (k, height of tile i).
template <class Backend>
void make_tiles(ConstRows x, Slice tiles, float* out) noexcept {
  const TileCut cut{x.rows};
  for (index_t i = tiles.first; i < tiles.last; ++i) {
    const Slice rows = cut.tile(i);
    const float* row[max_tile_rows];
    for (index_t r = rows.first; r < rows.last; ++r) row[r - rows.first] = x.row_data(r);
    Backend::make_tile(row, rows.last - rows.first, x.cols, out + std::int64_t{rows.first} * x.cols);
  }
}

// y (T, W.rows) = x (T, W.cols) W^T. Shapes fit: the callers check them.
template <class Backend = NativeBackend, WeightFormat Format>
void product(PanelView<Format> weights, ConstRows x, Rows y, Context& ctx) {
  if (x.rows == 0 || weights.rows == 0) return;
  const Workspace::Mark mark(ctx.workspace);
  const TileCut cut{x.rows};
  const float* tiles = x.data;
  if (x.rows > 1) {
    float* const out = ctx.workspace.take_rows(x.rows, x.cols).data;
    const index_t n = ctx.slices(cut.count());
    ctx.parallel(n, [&](index_t i) { make_tiles<Backend>(x, Slice::of(cut.count(), n, i), out); });
    tiles = out;
  }

  const auto multiply = [&](Slice panels, Slice of_tiles) {
    // Panels that stay in the L2 cache while all tiles pass by.
    constexpr std::int64_t l2_block = std::int64_t{256} << 10;
    const std::int64_t panel_bytes = Format::panel_bytes(weights.cols < 1 ? 1 : weights.cols);
    const auto fitting = static_cast<index_t>(l2_block / panel_bytes & ~std::int64_t{1});
    const index_t block = fitting < 2 ? 2 : fitting;
    for (index_t first = panels.first; first < panels.last; first += block) {
      const index_t last = first + block < panels.last ? first + block : panels.last;
      const index_t whole = last * panel_rows <= weights.rows ? last : last - 1;
      for (index_t i = of_tiles.first; i < of_tiles.last; ++i) {
        const Slice rows = cut.tile(i);
        const index_t m = rows.last - rows.first;
        const float* const tile = tiles + std::int64_t{rows.first} * weights.cols;
        if (whole > first) {
          Backend::multiply(Format{}, weights.panel(first), weights.cols, whole - first, tile, m,
                            y.row_data(rows.first) + panel_rows * first, y.stride);
        }
        if (whole < last) {  // the last panel has fewer than 16 rows
          float padded[max_tile_rows * panel_rows];
          Backend::multiply(Format{}, weights.panel(whole), weights.cols, 1, tile, m, padded, panel_rows);
          for (index_t r = 0; r < m; ++r) {
            for (index_t c = whole * panel_rows; c < weights.rows; ++c) {
              y.row_data(rows.first + r)[c] = padded[r * panel_rows + c - whole * panel_rows];
            }
          }
        }
      }
    }
  };
  // Threads take columns, so that each weight is read by one of them; a narrow matrix is shared out by rows instead.
  const index_t threads = ctx.executor.size();
  if (weights.num_panels() < 2 * threads && cut.count() >= threads) {
    ctx.parallel(threads, [&](index_t i) { multiply({0, weights.num_panels()}, Slice::of(cut.count(), threads, i)); });
  } else {
    const index_t n = ctx.slices(weights.num_panels());
    ctx.parallel(n, [&](index_t i) { multiply(Slice::of(weights.num_panels(), n, i), {0, cut.count()}); });
  }
}

}  // namespace headgate::inline HEADGATE_ABI
