// FtpRouter: which tokens a layer may leave out, by four numbers of each (Li et al. 2024, "FTP: A Fine-grained
// Token-wise Pruner", arXiv 2412.11494): one small network for all layers, keep where z_1 > z_0,
//   z = W2 gelu(W1 f + b1) + b2;  f = (place in the text, attention that it got, rank of that, sparsity of the layer)
// attention: what the layer before that ran gave the token; place and rank from 0 to 1 (of the most attended). Batch
// form: rank among all tokens, which looks at later ones. Causal form, to decode: among those up to the token itself,
// and of a token alone both are 0. A layer of sparsity 0 keeps every token. Which activation, and how the numbers are
// scaled, is reconstructed: no code is public. What it keeps goes to a TokenGate of weight one; an attention does not
// say yet what tokens got, so it is for callers who know.
#pragma once

#include <algorithm>
#include <memory>

#include "headgate/core/exactly_equal.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/linear.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of structures: FtpRouter | tokens skip a layer by place, attention, its rank and the layer's sparsity |
//   after Li et al. 2024, 2412.11494
class FtpRouter {
 public:
  static constexpr index_t features = 4;
  enum class Form : std::uint8_t { batch, causal };

  // w1 (width, 4), b1 (width), w2 (2, width), b2 (2), of skip and keep.
  static Expected<FtpRouter> create(ConstRows w1, std::span<const float> b1, ConstRows w2, std::span<const float> b2) {
    if (w1.cols != features) return Status::mismatch("numbers that FTP reads of a token", w1.cols, features);
    if (w2.rows != 2) return Status::mismatch("choices of FTP", w2.rows, 2);
    if (w2.cols != w1.rows) return Status::mismatch("columns of w2 against rows of w1", w2.cols, w1.rows);
    auto first = Linear<>::create(w1, b1);
    if (!first) return first.error();
    auto second = Linear<>::create(w2, b2);
    if (!second) return second.error();
    return FtpRouter({std::move(first).value(), std::move(second).value()});
  }

  // f (tokens, 4) of a text from its start. Preconditions: shapes.
  static void read(std::span<const float> attention, float sparsity, Form form, Rows f) noexcept {
    const auto tokens = static_cast<index_t>(attention.size());
    for (index_t t = 0; t < tokens; ++t) {
      const index_t seen = form == Form::batch ? tokens : t + 1;
      index_t before = 0;  // tokens that got more, or as much and stand before
      for (index_t i = 0; i < seen; ++i) {
        const float other = attention[as_size(i)];
        const float own = attention[as_size(t)];
        before += other > own || (exactly_equal(other, own) && i < t) ? 1 : 0;
      }
      const float last = static_cast<float>(std::max(seen - 1, index_t{1}));
      float* const row = f.row_data(t);
      row[0] = static_cast<float>(t) / last;
      row[1] = attention[as_size(t)];
      row[2] = static_cast<float>(before) / last;
      row[3] = sparsity;
    }
  }

  // kept (tokens) of a text from its start. numeric: attention, or a score, that is not finite.
  Status choose(std::span<const float> attention, float sparsity, Form form, std::span<std::uint8_t> kept,
                Context& ctx) const {
    const auto tokens = static_cast<index_t>(attention.size());
    if (kept.size() != attention.size()) {
      return Status::mismatch("tokens kept against attention", static_cast<std::int64_t>(kept.size()), tokens);
    }
    if (!(sparsity >= 0.0f && sparsity <= 1.0f))
      return {ErrorCode::usage, "the sparsity of a layer is not from 0 to 1"};
    std::fill(kept.begin(), kept.end(), std::uint8_t{1});
    if (exactly_equal(sparsity, 0.0f)) return Status::success();
    const FloatModes modes;
    const Workspace::Mark mark(ctx.workspace);
    const Rows f = ctx.workspace.take_rows(tokens, features);
    const Rows inner = ctx.workspace.take_rows(tokens, network_->first.rows());
    const Rows z = ctx.workspace.take_rows(tokens, 2);
    read(attention, sparsity, form, f);
    if (Status status = network_->first.forward(f, inner, ctx); !status.ok()) return status;
    for (index_t t = 0; t < tokens; ++t) {
      NativeBackend::activate({ActivationKind::gelu}, inner.row_data(t), inner.cols, inner.row_data(t));
    }
    if (Status status = network_->second.forward(inner, z, ctx); !status.ok()) return status;
    for (index_t t = 0; t < tokens; ++t) {
      const float* const row = z.row_data(t);
      if (!NativeBackend::all_finite(row, 2)) return Status::not_finite("a score of FTP is not finite", -1, t);
      kept[as_size(t)] = row[1] > row[0] ? 1 : 0;
    }
    return Status::success();
  }

 private:
  struct Network {
    Linear<> first;
    Linear<> second;
  };
  explicit FtpRouter(Network network) : network_(std::make_shared<const Network>(std::move(network))) {}

  std::shared_ptr<const Network> network_;  // copies share it
};

}  // namespace headgate::inline HEADGATE_ABI
