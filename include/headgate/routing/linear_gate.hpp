// LinearGate: z = W x + b, float32, summed in an order that does not depend on the batch. Before a staged selection it
// is StagedRouter; a gate (routing/gated_router.hpp) for routers that do more to its logits, too.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "headgate/core/context.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Backend = NativeBackend>
class LinearGate {
 public:
  // weights: (num_experts, hidden_size); bias: (num_experts) or empty.
  static Expected<LinearGate> create(ConstRows weights, std::span<const float> bias = {}) {
    if (weights.rows < 1) return Status::mismatch("rows of a router's gate (experts), at least", weights.rows, 1);
    if (weights.cols < 1) {
      return Status::mismatch("columns of a router's gate (hidden_size), at least", weights.cols, 1);
    }
    if (Status status = check_view(weights); !status.ok()) return status;
    const auto size = static_cast<std::int64_t>(bias.size());
    if (size != 0 && size != weights.rows) {
      return Status::mismatch("size of gate_bias against experts", size, weights.rows);
    }
    for (ExpertId e = 0; e < size; ++e) {
      if (!std::isfinite(bias[as_size(e)])) return Status::not_finite("gate_bias is not finite", -1, -1, e);
    }
    return LinearGate(weights, bias);
  }

  index_t num_experts() const noexcept { return weights_->rows(); }
  index_t hidden_size() const noexcept { return weights_->cols(); }

  // x (T, hidden_size) -> z (T, num_experts).
  void logits(ConstRows x, Rows z, Context& ctx) const {
    product<Backend>(weights_->view(), x, z, ctx);
    if (bias_.empty()) return;
    const index_t n = ctx.slices(x.rows);
    ctx.parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(x.rows, n, i);
      for (index_t t = slice.first; t < slice.last; ++t) Backend::axpy(1.0f, bias_.data(), z.cols, z.row_data(t));
    });
  }

 private:
  LinearGate(ConstRows weights, std::span<const float> bias)
      : weights_(std::make_shared<const Panel16<F32>>(weights)), bias_(bias.begin(), bias.end()) {}

  std::shared_ptr<const Panel16<F32>> weights_;  // (num_experts, hidden_size), which copies share
  std::vector<float> bias_;                      // (num_experts) or empty
};

}  // namespace headgate::inline HEADGATE_ABI
