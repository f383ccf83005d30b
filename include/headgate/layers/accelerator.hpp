// Accelerator: the part of a layer that moves a second residual stream p, which runs ahead of x (Bhendawade et al.
// 2025, "M2R2: Mixture of Multi-Rate Residuals", arXiv 2502.02040): where a stage of layers starts p = x, then in every
// layer
//   p = p + U silu(D p)                D (rank, hidden_size), U (hidden_size, rank)
// so that n layers into a stage p stands for x after rate n of them, in time to say which experts those layers will
// want, or whether to stop. Nothing reads p into x. Reconstructed from the abstract and its descriptions: no code is
// public; that p also attends to the keys of x is left out, and so is all training. U = 0 leaves p where the stage
// started.
#pragma once

#include <cstring>
#include <memory>
#include <utility>

#include "headgate/core/expected.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/linear.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of structures: Accelerator | multi-rate residual, a second stream runs ahead by low-rank steps |
//   after Bhendawade et al. 2025, 2502.02040
class Accelerator {
 public:
  struct Stage {
    index_t first = 0;  // layer
    index_t rate = 2;   // layers of x to one of p
  };

  static Expected<Accelerator> create(ConstRows down, ConstRows up, const Stage& stage) {
    if (stage.first < 0) return Status::mismatch("first layer of a stage, at least", stage.first, 0);
    if (stage.rate < 1) return Status::mismatch("rate of an accelerated residual, at least", stage.rate, 1);
    if (up.rows != down.cols) return Status::mismatch("rows of up against columns of down", up.rows, down.cols);
    if (up.cols != down.rows) return Status::mismatch("columns of up against rows of down", up.cols, down.rows);
    auto to_rank = Linear<>::create(down);
    if (!to_rank) return to_rank.error();
    auto from_rank = Linear<>::create(up);
    if (!from_rank) return from_rank.error();
    return Accelerator(std::move(to_rank).value(), std::move(from_rank).value(), stage);
  }

  index_t hidden_size() const noexcept { return down_->cols(); }
  const Stage& stage() const noexcept { return stage_; }
  // The layer before which x is what p is an estimate of, behind the accelerator of this layer.
  index_t stands_for(index_t layer) const noexcept { return stage_.first + stage_.rate * (layer - stage_.first + 1); }

  // p (tokens, hidden_size), where x enters this layer.
  Status advance(index_t layer, ConstRows x, Rows p, Context& ctx) const {
    if (x.cols != hidden_size()) return Status::mismatch("width of x against hidden_size", x.cols, hidden_size());
    if (p.rows != x.rows) return Status::mismatch("rows of p against rows of x", p.rows, x.rows);
    if (p.cols != x.cols) return Status::mismatch("width of p against width of x", p.cols, x.cols);
    if (Status status = check_apart(x, p); !status.ok()) return status;
    const FloatModes modes;
    const Workspace::Mark mark(ctx.workspace);
    if (layer == stage_.first) {
      for (index_t t = 0; t < x.rows; ++t) {
        std::memcpy(p.row_data(t), x.row_data(t), sizeof(float) * as_size(x.cols));
      }
    }
    const Rows inner = ctx.workspace.take_rows(x.rows, down_->rows());
    const Rows step = ctx.workspace.take_rows(x.rows, x.cols);
    if (Status status = down_->forward(p, inner, ctx); !status.ok()) return status;
    for (index_t t = 0; t < x.rows; ++t) {
      NativeBackend::activate({ActivationKind::silu}, inner.row_data(t), inner.cols, inner.row_data(t));
    }
    if (Status status = up_->forward(inner, step, ctx); !status.ok()) return status;
    for (index_t t = 0; t < x.rows; ++t) NativeBackend::axpy(1.0f, step.row_data(t), x.cols, p.row_data(t));
    return Status::success();
  }

 private:
  Accelerator(Linear<> down, Linear<> up, const Stage& stage)
      : down_(std::make_shared<const Linear<>>(std::move(down))),
        up_(std::make_shared<const Linear<>>(std::move(up))),
        stage_(stage) {}

  std::shared_ptr<const Linear<>> down_;  // copies share them
  std::shared_ptr<const Linear<>> up_;
  Stage stage_;
};

}  // namespace headgate::inline HEADGATE_ABI
