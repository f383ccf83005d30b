// GraphOfTokens: a token's scores are mixed with those of the tokens before it that are like it (Nguyen et al. 2025,
// "Improving Routing in Sparse Mixture of Experts with Graph of Tokens", arXiv 2505.00792):
//   R = softmax(X W^T + gate_bias), (tokens, experts);  R~ = S R;  then select and weigh
//   similarity-aware  S_ts = softmax over s <= t of x_t . (W_s x_s) / temperature;  W_s learned, or the identity
//   attention-aware   S = the attention of the sub-layer before, averaged over its heads: the caller's
// MixDomain::logits mixes logits instead, with the softmax after it.
//
// Reconstructed: there is no official code, and from what was to be had of the paper it is not certain which of the two
// domains it means, nor whether its weights are divided by their sum; both are parameters. S is causal here.
//
// A row needs the scores of the tokens before it. So this router has a cache, whose bits do not depend on how a text is
// cut into passes; and S = identity is the plain router, in bits. Of the entropies H, with rows of S that add up to 1:
//   sum_s S_ts H(r_s)  <=  H(r~_t)  <=  H(S_t) + sum_s S_ts H(r_s)
// so that mixing lowers H(r_t) only where the neighbours are surer.
#pragma once

#include <cmath>
#include <memory>
#include <type_traits>
#include <vector>

#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"
#include "headgate/routing/linear_gate.hpp"
#include "headgate/routing/staged_router.hpp"
#include "headgate/routing/stages/top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

enum class MixDomain : std::uint8_t { probabilities, logits };

// Scores that are made before the selection: means of distributions.
struct MixedScore {
  static constexpr RowSum sum = RowSum::at_most_one;
  static constexpr bool never_negative = true;
  static constexpr bool takes_minus_inf = false;  // a distribution without an expert would be another one
  template <class Backend>
  void apply(std::span<float> /*row*/) const noexcept {}
};
static_assert(ScoreStage<MixedScore>);

// Where S comes from.
struct TokenGraph {
  enum class Kind : std::uint8_t { similarity, attention };
  Kind kind = Kind::similarity;
  ConstRows similarity = {};  // W_s (hidden_size, hidden_size); without data the identity
  float temperature = 1.0f;   // of similarities
};

// Table of routers: GraphOfTokens | scores mixed with those of similar, or attended, tokens; reconstructed |
//   Nguyen et al. 2025, 2505.00792
template <MixDomain domain = MixDomain::probabilities, SelectStage Select = TopK, WeighStage Weigh = Renormalize,
          class Backend = NativeBackend>
class GraphOfTokens {
  using Score = std::conditional_t<domain == MixDomain::probabilities, MixedScore, SoftmaxScore>;
  using Selection = StagedSelection<Score, Select, Weigh, Backend>;

 public:
  // Of one text in one layer: the scores of its tokens so far, and what they are compared by.
  class State {
   public:
    // Attention-aware: of the next call, (tokens, positions from 0 to its last token at least). Row t of the call reads
    // the first position() + t + 1, which are not negative and add up to 1.
    ConstRows attention = {};

    index_t position() const noexcept { return position_; }
    // A text begins. A call without it goes on with the text.
    void reset(index_t /*tokens*/) noexcept { truncate(0); }
    // Forgets the tokens from there on. Precondition: 0 <= positions <= position().
    void truncate(index_t positions) noexcept { position_ = positions; }
    std::int64_t bytes() const noexcept {
      return static_cast<std::int64_t>((scores_.capacity() + keys_.capacity()) * sizeof(float));
    }

   private:
    friend class GraphOfTokens;
    index_t position_ = 0;
    std::vector<float> scores_;  // (positions, num_experts)
    std::vector<float> keys_;    // (positions, hidden_size), W_s x; of similarities
  };

  static Expected<GraphOfTokens> create(const GateWeights& weights, Select select, Weigh weigh,
                                        const TokenGraph& graph = {}) {
    Expected<LinearGate<Backend>> gate = LinearGate<Backend>::create(weights.gate, weights.gate_bias);
    if (!gate) return gate.error();
    const index_t width = weights.gate.cols;
    if (!(graph.temperature > 0.0f && std::isfinite(graph.temperature)))
      return Status{ErrorCode::usage, "temperature of similarities is not a positive number"};
    if (graph.similarity.data != nullptr) {
      if (graph.kind == TokenGraph::Kind::attention)
        return Status{ErrorCode::usage, "matrix of similarities of a router that mixes by attention"};
      if (Status status = check_view(graph.similarity); !status.ok()) return status;
      if (graph.similarity.rows != width)
        return Status::mismatch("rows of the matrix of similarities", graph.similarity.rows, width);
      if (graph.similarity.cols != width)
        return Status::mismatch("columns of the matrix of similarities", graph.similarity.cols, width);
    }
    Expected<Selection> selection =
        Selection::create(weights.gate.rows, {}, select, weigh, weights.selection_bias, weights.mask);
    if (!selection) return selection.error();
    return GraphOfTokens(std::move(gate).value(), std::move(selection).value(), graph);
  }

  index_t num_experts() const noexcept { return selection_.num_experts(); }
  index_t hidden_size() const noexcept { return gate_.hidden_size(); }
  // Rows depend on those before them, in the pass or in the state: batch-coupled, and causal.
  RouterTraits traits() const noexcept {
    RouterTraits traits = selection_.traits();
    traits.state = StateScope::per_text;
    traits.batch_coupled = true;
    return traits;
  }
  Status set_selection_bias(std::span<const float> bias) { return selection_.set_selection_bias(bias); }

  // On an error the plan has no rows and the state is what it was.
  Status route(const RouterInput& in, State& state, RoutingPlan& plan, Context& ctx) const {
    plan.clear(num_experts());
    const ConstRows x = in.hidden;
    if (Status status = check_hidden(x, hidden_size()); !status.ok()) return status;
    if (Status status = selection_.check(in.edits); !status.ok()) return status;
    const std::int64_t end = std::int64_t{state.position_} + x.rows;
    if (end > max_index) return {ErrorCode::limit, "positions of a text", end, max_index};
    if (kind_ == TokenGraph::Kind::attention) {
      if (Status status = check_view(state.attention); !status.ok()) return status;
      if (state.attention.rows != x.rows)
        return Status::mismatch("rows of attention against tokens", state.attention.rows, x.rows);
      if (x.rows > 0 && state.attention.cols < end)
        return Status::mismatch("positions of attention, at least", state.attention.cols, end);
    }

    const Workspace::Mark mark(ctx.workspace);
    const Rows own = remember(x, state, ctx);
    const Rows mixed = ctx.workspace.take_rows(x.rows, num_logits());
    const index_t n = ctx.slices(x.rows);
    const Rows weights = ctx.workspace.take_rows(n, static_cast<index_t>(end));
    Status status = ctx.try_parallel(n, [&](index_t i) { return score(own, Slice::of(x.rows, n, i)); });
    if (status.ok()) {
      // Later rows read more: threads take them in turn.
      status = ctx.try_parallel(n, [&](index_t i) {
        Status failure;
        for (index_t t = i; t < x.rows && failure.ok(); t += n) {
          failure = mix(x, state, t, weights.row_data(i), mixed.row_data(t));
        }
        return failure;
      });
    }
    if (!status.ok()) {
      status.layer = in.layer;
      return status;
    }
    status = selection_.route(mixed, in, plan, ctx);
    if (!status.ok()) return status;
    state.position_ = static_cast<index_t>(end);
    return Status::success();
  }

 private:
  GraphOfTokens(LinearGate<Backend> gate, Selection selection, const TokenGraph& graph)
      : gate_(std::move(gate)), selection_(std::move(selection)), kind_(graph.kind), temperature_(graph.temperature) {
    if (graph.similarity.data != nullptr) similarity_ = std::make_shared<const Panel16<F32>>(graph.similarity);
  }

  index_t num_logits() const noexcept { return gate_.num_experts(); }

  // Room for x in the state, its keys, and its logits, which are returned. The state's position stays.
  Rows remember(ConstRows x, State& state, Context& ctx) const {
    const std::size_t end = as_size(state.position_ + x.rows);
    if (state.scores_.size() < end * as_size(num_logits())) state.scores_.resize(end * as_size(num_logits()));
    const Rows own(state.scores_.data() + std::int64_t{state.position_} * num_logits(), x.rows, num_logits());
    gate_.logits(x, own, ctx);
    if (kind_ == TokenGraph::Kind::attention) return own;
    if (state.keys_.size() < end * as_size(x.cols)) state.keys_.resize(end * as_size(x.cols));
    const Rows keys(state.keys_.data() + std::int64_t{state.position_} * x.cols, x.rows, x.cols);
    if (similarity_ != nullptr) {
      product<Backend>(similarity_->view(), x, keys, ctx);
    } else {
      for (index_t t = 0; t < x.rows; ++t) std::copy_n(x.row_data(t), x.cols, keys.row_data(t));
    }
    return own;
  }
  // Logits of the pass become what is mixed.
  Status score(Rows own, Slice rows) const noexcept {
    for (index_t t = rows.first; t < rows.last; ++t) {
      if (!Backend::all_finite(own.row_data(t), own.cols)) {
        ExpertId e = 0;
        while (std::isfinite(own.row_data(t)[e])) ++e;
        return Status::not_finite("router logit is not finite", -1, t, e);
      }
      if constexpr (domain == MixDomain::probabilities) Backend::softmax(own.row_data(t), own.cols);
    }
    return Status::success();
  }
  // out (num_logits) = row t of S R, positions ascending in one chain of fused multiply-adds. weights: scratch.
  Status mix(ConstRows x, const State& state, index_t t, float* weights, float* out) const noexcept {
    const index_t count = state.position_ + t + 1;
    const float* row = weights;
    if (kind_ == TokenGraph::Kind::attention) {
      row = state.attention.row_data(t);
      double sum = 0.0;
      bool negative = false;
      for (index_t s = 0; s < count; ++s) {
        sum += static_cast<double>(row[s]);
        negative = negative || row[s] < 0.0f;
      }
      if (negative || !(std::abs(sum - 1.0) <= 1e-3)) {
        Status status{ErrorCode::usage, "attention of a token is negative or does not add up to 1"};
        status.token = t;
        return status;
      }
    } else {
      for (index_t s = 0; s < count; ++s) {
        weights[s] = Backend::dot(x.row_data(t), state.keys_.data() + std::int64_t{s} * x.cols, x.cols) / temperature_;
      }
      if (!Backend::all_finite(weights, count)) return Status::not_finite("similarity is not finite", -1, t);
      Backend::softmax(weights, count);
    }
    std::fill_n(out, num_logits(), 0.0f);
    for (index_t s = 0; s < count; ++s) {
      Backend::axpy(row[s], state.scores_.data() + std::int64_t{s} * num_logits(), num_logits(), out);
    }
    return Status::success();
  }

  LinearGate<Backend> gate_;
  std::shared_ptr<const Panel16<F32>> similarity_;  // (hidden_size, hidden_size) or null
  Selection selection_;
  TokenGraph::Kind kind_;
  float temperature_;
};
static_assert(Router<GraphOfTokens<>>);

}  // namespace headgate::inline HEADGATE_ABI
