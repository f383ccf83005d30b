// DrLlmRouter: a policy of layers (layer_schedule.hpp): a small network for each layer reads what enters it and says
// whether the layer is skipped, run, or run twice (Heakl et al. 2025, "Dr.LLM: Dynamic Layer Routing in LLMs", arXiv
// 2510.12773, section 3):
//   m_w = mean of the rows of window w;  windows: min(W, T) of floor(T / windows) rows each, the rest left out
//   z = mean over w of W2 gelu(W1 m_w + b1) + b2;  runs = argmax z, of two that are equal the lower
// Follows models/modeling_*.py of its code (gelu in its tanh form) with the setting "router" of their penalty, but: a
// text decides for itself, once, by its prompt, as in the paper; and a repeated layer has keys and values of its own
// (the code appends both to one cache).
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/layer_schedule.hpp"
#include "headgate/layers/linear.hpp"

namespace headgate::inline HEADGATE_ABI {

// Of one layer, as torch.nn.Linear has them.
struct DrLlmWeights {
  ConstRows linear1;             // (router width, hidden_size)
  std::span<const float> bias1;  // (router width)
  ConstRows linear2;             // (3, router width): of skip, run, run twice
  std::span<const float> bias2;  // (3)
};

// Table of structures: DrLlmRouter | a layer is skipped, run or run twice, by windowed means of the prompt |
//   Heakl et al. 2025, 2510.12773
template <class Backend = NativeBackend>
class DrLlmRouter {
 public:
  static constexpr index_t choices = LayerSchedule::most_runs + 1;

  // layers: in order. windows: W, 8 in the released code.
  static Expected<DrLlmRouter> create(std::span<const DrLlmWeights> layers, index_t windows = 8) {
    if (layers.empty()) return Status::mismatch("layers that a router of layers knows, at least", 0, 1);
    if (windows < 1) return Status::mismatch("windows of a router of layers, at least", windows, 1);
    std::vector<Layer> networks;
    for (const DrLlmWeights& w : layers) {
      if (w.linear2.rows != choices) return Status::mismatch("choices of a router of layers", w.linear2.rows, choices);
      if (w.linear2.cols != w.linear1.rows) {
        return Status::mismatch("columns of linear2 against rows of linear1", w.linear2.cols, w.linear1.rows);
      }
      if (w.linear1.cols != layers.front().linear1.cols) {
        return Status::mismatch("width of a router of layers", w.linear1.cols, layers.front().linear1.cols);
      }
      auto first = Linear<F32, Backend>::create(w.linear1, w.bias1);
      if (!first) return first.error();
      auto second = Linear<F32, Backend>::create(w.linear2, w.bias2);
      if (!second) return second.error();
      networks.push_back({std::move(first).value(), std::move(second).value()});
    }
    return DrLlmRouter(std::move(networks), windows);
  }

  index_t num_layers() const noexcept { return static_cast<index_t>(layers_->size()); }
  index_t hidden_size() const noexcept { return layers_->front().first.cols(); }
  index_t windows() const noexcept { return windows_; }

  // z of a layer, for the rows x (T, hidden_size) that enter it. usage: no rows, or a layer that it does not know.
  Status score(index_t layer, ConstRows x, std::span<float, choices> z, Context& ctx) const {
    if (layer < 0 || layer >= num_layers()) {
      return Status::mismatch("layer of a router of layers", layer, num_layers() - 1);
    }
    if (x.rows < 1) return Status::mismatch("rows that a router of layers reads, at least", x.rows, 1);
    if (x.cols != hidden_size()) return Status::mismatch("width of x against hidden_size", x.cols, hidden_size());
    if (Status status = check_view(x); !status.ok()) return status;
    const auto& [first, second] = (*layers_)[as_size(layer)];
    const FloatModes modes;
    const Workspace::Mark mark(ctx.workspace);
    const index_t windows = std::min(windows_, x.rows);
    const Rows means = ctx.workspace.take_rows(windows, x.cols);
    const Rows inner = ctx.workspace.take_rows(windows, first.rows());
    const Rows scores = ctx.workspace.take_rows(windows, choices);
    const index_t size = x.rows / windows;
    fill(means, 0.0f);
    for (index_t w = 0; w < windows; ++w) {
      for (index_t t = w * size; t < (w + 1) * size; ++t) {
        Backend::axpy(1.0f, x.row_data(t), x.cols, means.row_data(w));
      }
      for (float& mean : means.row(w)) mean /= static_cast<float>(size);
    }
    if (Status status = first.forward(means, inner, ctx); !status.ok()) return status;
    for (index_t w = 0; w < windows; ++w) {
      Backend::activate({ActivationKind::gelu_tanh}, inner.row_data(w), inner.cols, inner.row_data(w));
    }
    if (Status status = second.forward(inner, scores, ctx); !status.ok()) return status;
    std::fill(z.begin(), z.end(), 0.0f);
    for (index_t w = 0; w < windows; ++w) Backend::axpy(1.0f, scores.row_data(w), choices, z.data());
    for (float& score : z) score /= static_cast<float>(windows);
    if (!Backend::all_finite(z.data(), choices))
      return Status::not_finite("a score of a layer is not finite", layer, -1);
    return Status::success();
  }

  // As a LayerPolicy.
  Status operator()(index_t layer, ConstRows x, index_t& runs, Context& ctx) const {
    std::array<float, choices> z{};
    if (Status status = score(layer, x, z, ctx); !status.ok()) return status;
    runs = static_cast<index_t>(std::max_element(z.begin(), z.end()) - z.begin());
    return Status::success();
  }

 private:
  struct Layer {
    Linear<F32, Backend> first;
    Linear<F32, Backend> second;
  };
  DrLlmRouter(std::vector<Layer> layers, index_t windows)
      : layers_(std::make_shared<const std::vector<Layer>>(std::move(layers))), windows_(windows) {}

  std::shared_ptr<const std::vector<Layer>> layers_;  // copies share them
  index_t windows_;
};

}  // namespace headgate::inline HEADGATE_ABI
