// LayerNormGate: logits of a token that was normalised, scaled as attention scores are:
//   z_e = <LN(x), w_e> / sqrt(d),  LN(x) = (x - mean) / sqrt(variance + 1e-5), without gain and bias
// PHATGOOSE (Muqeeth et al. 2024, arXiv 2402.05859) normalises the rows of the gate, too: LN(w_e) in place of w_e;
// Glider (routing/glider.hpp) does not. Follows Router of PHATGOOSE's moe.py, score_type "original".
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "headgate/core/context.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"

namespace headgate::inline HEADGATE_ABI {

enum class GateRows : std::uint8_t { as_they_are, normalized };

template <class Backend = NativeBackend>
class LayerNormGate {
 public:
  // weights: (num_experts, hidden_size).
  static Expected<LayerNormGate> create(ConstRows weights, GateRows rows) {
    if (weights.rows < 1) return Status::mismatch("rows of a router's gate (experts), at least", weights.rows, 1);
    if (weights.cols < 1) {
      return Status::mismatch("columns of a router's gate (hidden_size), at least", weights.cols, 1);
    }
    if (Status status = check_view(weights); !status.ok()) return status;
    return LayerNormGate(weights, rows);
  }

  index_t num_experts() const noexcept { return weights_->rows(); }
  index_t hidden_size() const noexcept { return weights_->cols(); }

  // x (T, hidden_size) -> z (T, num_experts). Of a row that is not finite, neither are its logits.
  void logits(ConstRows x, Rows z, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const Rows normal = ctx.workspace.take_rows(x.rows, x.cols);
    const index_t n = ctx.slices(x.rows);
    ctx.parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(x.rows, n, i);
      for (index_t t = slice.first; t < slice.last; ++t) normalize(x.row(t), normal.row_data(t));
    });
    product<Backend>(weights_->view(), normal, z, ctx);
  }

 private:
  LayerNormGate(ConstRows weights, GateRows rows)
      : weights_(std::make_shared<const Panel16<F32>>(scaled(weights, rows))) {}

  static void normalize(std::span<const float> x, float* y) noexcept {
    const auto width = static_cast<index_t>(x.size());
    const float mean = Backend::sum(x.data(), width) / static_cast<float>(width);
    for (std::size_t j = 0; j < x.size(); ++j) y[j] = x[j] - mean;
    const float variance = Backend::dot(y, y, width) / static_cast<float>(width);
    // Of an infinite variance the factor would be 0, and all experts equally good.
    const float factor = std::isfinite(variance) ? 1.0f / std::sqrt(variance + 1e-5f) : variance;
    for (std::size_t j = 0; j < x.size(); ++j) y[j] *= factor;
  }
  // The rows that z are products with.
  static Panel16<F32> scaled(ConstRows weights, GateRows rows) {
    std::vector<float> values(as_size(std::int64_t{weights.rows} * weights.cols));
    const Rows out{values.data(), weights.rows, weights.cols};
    const float factor = 1.0f / std::sqrt(static_cast<float>(weights.cols));
    for (index_t e = 0; e < weights.rows; ++e) {
      std::copy_n(weights.row_data(e), weights.cols, out.row_data(e));
      if (rows == GateRows::normalized) normalize(weights.row(e), out.row_data(e));
      for (float& w : out.row(e)) w *= factor;
    }
    return Panel16<F32>(out);
  }

  std::shared_ptr<const Panel16<F32>> weights_;  // (num_experts, hidden_size) / sqrt(d), which copies share
};

}  // namespace headgate::inline HEADGATE_ABI
