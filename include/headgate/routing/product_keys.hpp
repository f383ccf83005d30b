// ProductKeys: I J keys made of I first and J second halves, several heads of them (Lample et al. 2019, arXiv
// 1907.05242). Of a query of two halves, key i J + j scores K_1i . q_1 + K_2j . q_2, and the best are found at the cost
// of I + J keys (routing/product_top_k.hpp).
#pragma once

#include <cmath>
#include <vector>

#include "headgate/core/context.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/routing/product_top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Backend = NativeBackend>
class ProductKeys {
 public:
  // first: (heads * I, key_size), second: (heads * J, key_size), a head after the other; copied.
  static Expected<ProductKeys> create(ConstRows first, ConstRows second, index_t heads) {
    if (heads < 1) return Status::mismatch("heads of product keys, at least", heads, 1);
    for (const ConstRows& keys : {first, second}) {
      if (Status status = check_view(keys); !status.ok()) return status;
      if (keys.cols < 1) return Status::mismatch("columns of product keys, at least", keys.cols, 1);
      if (keys.rows < heads || keys.rows % heads != 0) {
        return Status::mismatch("rows of product keys, which are a multiple of the heads,", keys.rows, heads);
      }
    }
    if (second.cols != first.cols) {
      return Status::mismatch("columns of the second product keys against the first", second.cols, first.cols);
    }
    const std::int64_t keys = std::int64_t{first.rows / heads} * (second.rows / heads);
    if (keys > max_index) return Status::mismatch("number of product keys", keys, max_index);
    return ProductKeys(first, second, heads);
  }

  index_t heads() const noexcept { return static_cast<index_t>(sides_[0].size()); }
  index_t side(index_t half) const noexcept { return sides_[half].front().rows(); }  // I, J
  index_t key_size() const noexcept { return sides_[0].front().cols(); }             // of a half
  index_t num_keys() const noexcept { return side(0) * side(1); }

  // What a thread needs to choose for up to F32Tile::max_rows tokens of one head.
  struct Scratch {
    std::span<float> tile;  // (tokens, key_size)
    Rows scores[2];         // (tokens, I or J in whole panels)
    std::span<float> sums;  // (num_keys), where keys are masked; else empty
    ProductTopK<Backend> best;
  };
  Scratch take_scratch(index_t k, bool is_masked, Workspace& workspace) const {
    const auto padded = [&](index_t half) { return divide_up(side(half), panel_rows) * panel_rows; };
    const std::int64_t n = ProductTopK<Backend>::scratch_size(std::max(side(0), side(1)), k);
    return {workspace.take<float>(std::int64_t{F32Tile::max_rows} * key_size()),
            {workspace.take_rows(F32Tile::max_rows, padded(0)), workspace.take_rows(F32Tile::max_rows, padded(1))},
            workspace.take<float>(is_masked ? num_keys() : 0),
            {k, workspace.take<index_t>(3 * n), workspace.take<float>(n)}};
  }

  // Scores of up to F32Tile::max_rows queries: their first or second halves, (tokens, key_size).
  void score(ConstRows queries, index_t half, index_t head, Scratch& scratch) const noexcept {
    const PanelView<F32> keys = sides_[half][as_size(head)].view();
    const Rows scores = scratch.scores[half];
    const float* rows[as_size(F32Tile::max_rows)];
    for (index_t r = 0; r < queries.rows; ++r) rows[r] = queries.row_data(r);
    Backend::make_tile(F32Tile{}, rows, queries.rows, key_size(), scratch.tile.data());
    Backend::multiply(F32{}, keys.data, key_size(), keys.num_panels(), scratch.tile.data(), queries.rows, scores.data,
                      scores.stride);
  }

  // The k best keys of the query whose scores stand in a row, best first, ties to the lower id, and their scores; keys
  // whose mask is 0 are left out, and then all keys are looked at. ids and scores: (k). count: of them, k unless
  // masked.
  Status choose(index_t row, std::span<const std::uint8_t> mask, Scratch& scratch, std::span<ExpertId> ids,
                std::span<float> scores, index_t& count) const noexcept {
    std::span<const float> half[2];
    for (const index_t h : {0, 1}) {
      half[h] = scratch.scores[h].row(row).first(as_size(side(h)));
      if (Backend::all_finite(half[h].data(), side(h))) continue;
      index_t i = 0;
      while (std::isfinite(half[h][as_size(i)])) ++i;
      return Status::not_finite("score of a product key is not finite", -1, -1, h == 0 ? i * side(1) : i);
    }
    const bool is_masked = !mask.empty();
    if (!is_masked) {
      count = scratch.best.choose(half[0], half[1], ids, scores);
    } else {
      std::size_t key = 0;
      for (const float a : half[0]) {
        for (const float b : half[1]) {
          scratch.sums[key] = mask[key] != 0 ? a + b : -std::numeric_limits<float>::infinity();
          ++key;
        }
      }
      count = Backend::top_k(scratch.sums.data(), num_keys(), static_cast<index_t>(ids.size()), ids.data());
      for (std::size_t i = 0; i < as_size(count); ++i) scores[i] = scratch.sums[as_size(ids[i])];
    }
    if ((!is_masked && as_size(count) < ids.size()) || (count > 0 && !std::isfinite(scores[0]))) {
      return Status::not_finite("score of a product key is not finite", -1, -1, count > 0 ? ids[0] : 0);
    }
    return Status::success();
  }

 private:
  ProductKeys(ConstRows first, ConstRows second, index_t heads) {
    for (const index_t half : {0, 1}) {
      const ConstRows keys = half == 0 ? first : second;
      const index_t rows = keys.rows / heads;
      for (index_t h = 0; h < heads; ++h) sides_[half].emplace_back(keys.middle_rows(h * rows, rows));
    }
  }

  std::vector<Panel16<F32>> sides_[2];  // of a head, (I or J, key_size)
};

}  // namespace headgate::inline HEADGATE_ABI
