// Packer: what a part needs to become the object that computes: reads rows on the context's threads, packs them, and
// gives the pages of the files back when they have been read. So memory peaks at the packed weights and one tensor.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "headgate/core/context.hpp"
#include "headgate/layers/linear.hpp"
#include "headgate/models/weight_rows.hpp"
#include "headgate/routing/any_router.hpp"
#include "headgate/routing/staged_router.hpp"

namespace headgate::inline HEADGATE_ABI {

// Replaces or wraps the router of a layer with experts. gate: where the checkpoint's router is a linear one, its gate
// (experts and null experts, hidden_size) and biases, else no rows; good for the call only. own: that router, which may
// be returned as it is.
using MakeRouter = std::function<AnyRouter(index_t layer, const GateWeights& gate, AnyRouter own)>;

// A packed matrix whose format was chosen when its checkpoint was read.
using Matrix = Linear<AnyFormat>;

class Packer {
 public:
  // ctx outlives the packer; make_router may be empty.
  explicit Packer(Context& ctx, MakeRouter make_router = nullptr) : ctx_(ctx), make_router_(std::move(make_router)) {}

  // use(row, values) for every row, on several threads; values: the numbers of the row.
  template <class F>
  void each_row(const WeightRows& rows, F&& use) const {
    rows.read_all(use, ctx_);
    rows.release();
  }
  // All elements, row by row.
  std::vector<float> floats(const WeightRows& rows) const {
    std::vector<float> values(as_size(rows.parameters()));
    copy(rows, values);
    return values;
  }
  std::vector<float> floats(const std::optional<WeightRows>& rows) const {
    return rows ? floats(*rows) : std::vector<float>();
  }
  void copy(const WeightRows& rows, std::span<float> out) const {
    each_row(rows, [&](index_t r, const float* row) {
      std::copy_n(row, rows.cols(), &out[as_size(r) * as_size(rows.cols())]);
    });
  }
  // In the format that keeps its values; bias (rows) or none.
  Matrix linear(const WeightRows& rows, const std::optional<WeightRows>& bias = std::nullopt) const {
    Matrix matrix = Matrix::create(rows.rows(), rows.cols(), bias.has_value(), rows.format()).value();
    each_row(rows, [&](index_t r, const float* row) { matrix.set_row(r, row); });
    const std::vector<float> values = floats(bias);
    for (std::size_t r = 0; r < values.size(); ++r) matrix.set_bias(static_cast<index_t>(r), values[r]);
    return matrix;
  }

  // What the caller of the load makes of a layer's router.
  AnyRouter replaced(const GateWeights& gate, AnyRouter own) const {
    return make_router_ ? make_router_(layer_, gate, std::move(own)) : own;
  }
  void begin_layer(index_t layer) noexcept { layer_ = layer; }
  index_t layer() const noexcept { return layer_; }

  // What routers of several layers refer to: kept as long as the model is.
  void keep(std::shared_ptr<const void> shared) { kept_.push_back(std::move(shared)); }
  std::vector<std::shared_ptr<const void>> kept() const { return kept_; }

 private:
  Context& ctx_;
  MakeRouter make_router_;
  index_t layer_ = 0;
  std::vector<std::shared_ptr<const void>> kept_;
};

}  // namespace headgate::inline HEADGATE_ABI
