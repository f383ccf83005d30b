// StagedRouter: linear logits and a staged selection, which most published policies are.
//   z = W x + gate_bias       float32, summed in an order that does not depend on the batch
//   then Score, Select, Weigh of routing/staged_selection.hpp
// A policy of this kind is a name, a formula, a citation and an alias: routing/topk_softmax.hpp.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"
#include "headgate/routing/staged_selection.hpp"

namespace headgate::inline HEADGATE_ABI {

// The parameters of a linear gate; a router keeps copies. Spans may be empty: no bias, nothing masked.
struct GateWeights {
  ConstRows gate;                              // (num_experts, hidden_size)
  std::span<const float> gate_bias = {};       // (num_experts), part of the logits (gpt-oss)
  std::span<const float> selection_bias = {};  // (num_experts), part of the keys only (e_score_correction_bias)
  std::span<const std::uint8_t> mask = {};     // (num_experts), 0: never selected
};

template <ScoreStage Score, SelectStage Select, WeighStage Weigh, class Backend = NativeBackend>
  requires FitsScore<Select, Score> && FitsScore<Weigh, Score>
class StagedRouter {
  using Selection = StagedSelection<Score, Select, Weigh, Backend>;

 public:
  using State = NoState;

  static Expected<StagedRouter> create(const GateWeights& weights, Select select, Weigh weigh, Score score = {}) {
    const ConstRows gate = weights.gate;
    if (gate.rows < 1) return Status::mismatch("rows of a router's gate (experts), at least", gate.rows, 1);
    if (gate.cols < 1) return Status::mismatch("columns of a router's gate (hidden_size), at least", gate.cols, 1);
    if (Status status = check_view(gate); !status.ok()) return status;
    const auto bias_size = static_cast<std::int64_t>(weights.gate_bias.size());
    if (bias_size != 0 && bias_size != gate.rows) {
      return Status::mismatch("size of gate_bias against experts", bias_size, gate.rows);
    }
    for (ExpertId e = 0; e < bias_size; ++e) {
      if (!std::isfinite(weights.gate_bias[as_size(e)]))
        return Status::not_finite("gate_bias is not finite", -1, -1, e);
    }
    Expected<Selection> selection =
        Selection::create(gate.rows, score, select, weigh, weights.selection_bias, weights.mask);
    if (!selection) return selection.error();
    return StagedRouter(weights, std::move(selection).value());
  }
  // Throws the same error.
  StagedRouter(const GateWeights& weights, Select select, Weigh weigh, Score score = {})
    requires has_exceptions
      : StagedRouter(create(weights, select, weigh, score).value()) {}

  index_t num_experts() const noexcept { return selection_.num_experts(); }
  index_t hidden_size() const noexcept { return gate_->cols(); }
  RouterTraits traits() const noexcept { return selection_.traits(); }
  // What a balancer writes between batches; on an error nothing changes.
  Status set_selection_bias(std::span<const float> bias) { return selection_.set_selection_bias(bias); }
  Status set_selection_factor(std::span<const float> factor)
    requires Score::never_negative
  {
    return selection_.set_selection_factor(factor);
  }

  // On an error the plan has no rows.
  Status route(const RouterInput& in, State& /*state*/, RoutingPlan& plan, Context& ctx) const {
    plan.clear(num_experts());
    const ConstRows x = in.hidden;
    if (Status status = check_hidden(x, hidden_size()); !status.ok()) return status;
    if (Status status = selection_.check(in.edits); !status.ok()) return status;

    const Workspace::Mark mark(ctx.workspace);
    const Rows logits = ctx.workspace.take_rows(x.rows, gate_->rows());
    product<Backend>(gate_->view(), x, logits, ctx);
    if (!gate_bias_.empty()) {
      const index_t n = ctx.slices(x.rows);
      ctx.parallel(n, [&](index_t i) {
        const Slice slice = Slice::of(x.rows, n, i);
        for (index_t t = slice.first; t < slice.last; ++t) {
          Backend::axpy(1.0f, gate_bias_.data(), gate_->rows(), logits.row_data(t));
        }
      });
    }
    return selection_.route(logits, in, plan, ctx);
  }

 private:
  StagedRouter(const GateWeights& weights, Selection selection)
      : gate_(std::make_shared<const Panel16<F32>>(weights.gate)),
        gate_bias_(weights.gate_bias.begin(), weights.gate_bias.end()),
        selection_(std::move(selection)) {}

  std::shared_ptr<const Panel16<F32>> gate_;  // (num_experts, hidden_size), which copies share
  std::vector<float> gate_bias_;              // (num_experts) or empty
  Selection selection_;
};

}  // namespace headgate::inline HEADGATE_ABI
