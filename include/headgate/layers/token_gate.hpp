// TokenGate: which tokens pass a layer at all; the others keep their bits (Raposo et al. 2024, "Mixture-of-Depths",
// arXiv 2404.02258, section 3):
//   r_t = score of x_t;  kept t: x_t = x_t + r_t f(x)_t, f(x) = layer(x) - x;  the layer sees kept tokens alone
// Top-k, as it is trained: of every text's rows in a pass the ceil(capacity T) with the largest r are kept, ties to the
// first. That looks at later tokens, so a decoder refuses it. Causal, as it decodes (section 3.5): t is kept where the
// score of a predictor, or r_t itself, is greater than a threshold. Kept tokens stay in order, at the positions they
// have in the text, and a layer holds keys and values of those that it kept. With all kept and r = 1 it is the plain
// layer in bits. Follows the paper; weight one is that of gates which only prune (FTP, ftp_router.hpp).
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "headgate/attention/mixer.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/kernels/native.hpp"

namespace headgate::inline HEADGATE_ABI {

// scores[t] = a number that follows from row t of x alone.
using TokenScore = std::function<Status(ConstRows x, std::span<float> scores, Context& ctx)>;

// w . x_t + b
template <class Backend = NativeBackend>
TokenScore linear_token_score(std::vector<float> weight, float bias = 0.0f) {
  return [w = std::move(weight), bias](ConstRows x, std::span<float> scores, Context&) {
    const auto width = static_cast<std::int64_t>(w.size());
    if (x.cols != width) return Status::mismatch("width of x against that of a token's score", x.cols, width);
    for (index_t t = 0; t < x.rows; ++t) scores[as_size(t)] = Backend::dot(w.data(), x.row_data(t), x.cols) + bias;
    return Status::success();
  };
}

// Table of structures: TokenGate | mixture of depths, tokens of a small score skip a layer |
//   Raposo et al. 2024, 2404.02258
class TokenGate {
 public:
  enum class Weight : std::uint8_t { score, one };

  // Kept where selects' score is greater than the threshold. selects: null for the score that weighs.
  static Expected<TokenGate> causal(TokenScore score, float threshold, TokenScore selects = nullptr,
                                    Weight weight = Weight::score) {
    if (!score) return Status{ErrorCode::usage, "a gate of tokens without a score"};
    if (std::isnan(threshold)) return Status{ErrorCode::usage, "the threshold of a gate of tokens is not a number"};
    TokenGate gate(std::move(score), weight);
    gate.selects_ = std::move(selects);
    gate.threshold_ = threshold;
    return gate;
  }
  // The ceil(capacity T) largest, capacity in (0, 1].
  static Expected<TokenGate> top_k(TokenScore score, double capacity, Weight weight = Weight::score) {
    if (!score) return Status{ErrorCode::usage, "a gate of tokens without a score"};
    if (!(capacity > 0.0 && capacity <= 1.0)) {
      return Status{ErrorCode::usage, "the capacity of a gate of tokens is not above 0 and at most 1"};
    }
    TokenGate gate(std::move(score), weight);
    gate.capacity_ = capacity;
    return gate;
  }

  // Whether a row's fate depends on other rows.
  bool batch_coupled() const noexcept { return capacity_ > 0.0; }

  // weights[t] of every row, 0 in kept[t] where it skips. numeric: a score that is not finite.
  Status choose(ConstRows x, std::span<const SequenceRows> sequences, std::span<std::uint8_t> kept,
                std::span<float> weights, Context& ctx) const {
    Status status = score(score_, x, weights, ctx);
    if (!status.ok()) return status;
    if (batch_coupled()) {
      index_t row = 0;
      for (const SequenceRows& sequence : sequences) {
        keep_best(weights, row, sequence.rows, kept, ctx);
        row += sequence.rows;
      }
    } else {
      const Workspace::Mark mark(ctx.workspace);
      std::span<float> keys = weights;
      if (selects_) {
        keys = ctx.workspace.take<float>(x.rows);
        status = score(selects_, x, keys, ctx);
        if (!status.ok()) return status;
      }
      for (std::size_t t = 0; t < keys.size(); ++t) kept[t] = keys[t] > threshold_ ? 1 : 0;
    }
    if (weight_ == Weight::one) std::fill(weights.begin(), weights.end(), 1.0f);
    return status;
  }

 private:
  TokenGate(TokenScore score, Weight weight) : score_(std::move(score)), weight_(weight) {}

  static Status score(const TokenScore& score, ConstRows x, std::span<float> scores, Context& ctx) {
    if (Status status = score(x, scores, ctx); !status.ok()) return status;
    for (std::size_t t = 0; t < scores.size(); ++t) {
      if (!std::isfinite(scores[t])) {
        return Status::not_finite("a score of a gate of tokens is not finite", -1, static_cast<index_t>(t));
      }
    }
    return Status::success();
  }
  void keep_best(std::span<const float> scores, index_t first, index_t rows, std::span<std::uint8_t> kept,
                 Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const std::span<index_t> order = ctx.workspace.take<index_t>(rows);
    for (index_t i = 0; i < rows; ++i) order[as_size(i)] = first + i;
    const auto count = static_cast<std::size_t>(std::ceil(capacity_ * static_cast<double>(rows)));
    std::sort(order.begin(), order.end(), [&](index_t a, index_t b) {
      const float x = scores[as_size(a)];
      const float y = scores[as_size(b)];
      return x > y || (!(y > x) && a < b);
    });
    for (std::size_t i = 0; i < order.size(); ++i) kept[as_size(order[i])] = i < count ? 1 : 0;
  }

  TokenScore score_;
  TokenScore selects_ = nullptr;
  float threshold_ = 0.0f;
  double capacity_ = 0.0;  // 0: by threshold
  Weight weight_;
};

}  // namespace headgate::inline HEADGATE_ABI
