// MoE++ (Jin et al. 2024, arXiv 2410.07348, section 3.3, eq. 6-7): a router that remembers the path a token took.
//   z_l = W2 tanh(W1 x) + G z_{l-1}    or W x + G z_{l-1}; without G z_{l-1} in the first layer; z goes on as it is
//   s = softmax(z), or of z * norm_std / std(z) (moe_use_logits_norm; std of a sample, that is over E - 1)
//   A = the two best
// The last expert is the zero expert, which costs and gives nothing. Paper and code differ about its weight:
//   paper  w_e = s_e / sum_A s, the zero expert being one like others (in the code: moe_use_mixtral_gating)
//   code   the zero expert's s is set to 0 first, so that the other of a pair gets weight 1 (the released checkpoint)
// Follows the code, moe_plus_plus_layer.py, of which golden vectors come. Constant, copy and zero experts are the
// bank's (experts/zero_compute.hpp, in this order); so is the factor 2 that the code puts before its experts unless
// moe_feature_no_mul_topk or moe_use_mixtral_gating (experts/scaled_input.hpp).
#pragma once

#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"
#include "headgate/routing/carried_rows.hpp"
#include "headgate/routing/staged_selection.hpp"
#include "headgate/routing/stages/top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

enum class ZeroExpertWeight : std::uint8_t { paper, code };

struct MoePlusPlusOptions {
  ZeroExpertWeight zero_expert = ZeroExpertWeight::code;
  index_t k = 2;
  float norm_std = 0.0f;  // moe_gate_norm_std where logits are normalised; 0: they are not
};

// Softmax of logits brought to one standard deviation, 0 leaving them as they are.
struct NormalizedSoftmaxScore {
  float norm_std = 0.0f;

  static constexpr RowSum sum = RowSum::at_most_one;
  static constexpr bool never_negative = true;
  static constexpr bool takes_minus_inf = false;  // mean and deviation are over all experts
  template <class Backend>
  void apply(std::span<float> row) const noexcept {
    const auto n = static_cast<index_t>(row.size());
    if (norm_std > 0.0f && n > 1) {
      const float mean = Backend::sum(row.data(), n) / static_cast<float>(n);
      float squares = 0.0f;
      for (const float z : row) squares += (z - mean) * (z - mean);
      const float std = std::sqrt(squares / static_cast<float>(n - 1));
      if (std > 0.0f) {  // equal logits are equal scores
        for (float& z : row) z /= std / norm_std;
      }
    }
    Backend::softmax(row.data(), n);
  }
};

// Renormalize, with the score of one expert set to 0 first. It keeps its place in the row; alone there it weighs 0.
struct ZeroThenRenormalize {
  ExpertId zero_expert;  // -1: none

  static constexpr bool needs_nonnegative_scores = true;
  static constexpr bool never_negative(bool /*scores*/) noexcept { return true; }
  WeightSum sum(WeightSum /*scores*/) const noexcept { return {zero_expert < 0 ? RowSum::one : RowSum::zero_or_one}; }
  Status check() const noexcept { return Status::success(); }
  template <class Backend>
  index_t apply(std::span<ExpertId> experts, std::span<float> weights) const noexcept {
    float total = 0.0f;
    for (std::size_t i = 0; i < experts.size(); ++i) {
      if (experts[i] == zero_expert) weights[i] = 0.0f;
      total += weights[i];
    }
    for (float& w : weights) w = total > 0.0f ? w / total : 0.0f;
    return static_cast<index_t>(experts.size());
  }
};
static_assert(ScoreStage<NormalizedSoftmaxScore> && WeighStage<ZeroThenRenormalize>);

// The parameters of one layer's gate; a router keeps copies.
struct MoePlusPlusGate {
  ConstRows first;          // W1 (inner, hidden_size), wg.0; empty: one layer
  ConstRows last;           // W2 (num_experts, inner), wg.2; or W (num_experts, hidden_size), wg
  ConstRows residual = {};  // G (num_experts, num_experts), gate_map; empty: none
};

// Table of routers: MoePlusPlusRouter | logits of the layer before added to those of a two-layer gate |
//   Jin et al. 2024, 2410.07348
template <class Backend = NativeBackend>
class MoePlusPlusRouter {
  using Selection = StagedSelection<NormalizedSoftmaxScore, TopK, ZeroThenRenormalize, Backend>;

 public:
  using State = CarriedRows;

  static Expected<MoePlusPlusRouter> create(const MoePlusPlusGate& gate, const MoePlusPlusOptions& options) {
    const index_t num_experts = gate.last.rows;
    for (const ConstRows& matrix : {gate.first, gate.last, gate.residual}) {
      if (Status status = check_view(matrix); !status.ok()) return status;
    }
    if (num_experts < 1) return Status::mismatch("rows of a router's gate (experts), at least", num_experts, 1);
    if (gate.last.cols < 1) return Status::mismatch("columns of a router's gate, at least", gate.last.cols, 1);
    if (gate.first.rows != 0) {
      if (gate.first.cols < 1) return Status::mismatch("columns of wg.0 (hidden_size), at least", gate.first.cols, 1);
      if (gate.last.cols != gate.first.rows) {
        return Status::mismatch("columns of wg.2 against rows of wg.0", gate.last.cols, gate.first.rows);
      }
    }
    if (gate.residual.rows != 0) {
      if (gate.residual.rows != num_experts) {
        return Status::mismatch("rows of gate_map against experts", gate.residual.rows, num_experts);
      }
      if (gate.residual.cols != num_experts) {
        return Status::mismatch("columns of gate_map against experts", gate.residual.cols, num_experts);
      }
    }
    if (!(options.norm_std >= 0.0f && std::isfinite(options.norm_std))) {
      return Status{ErrorCode::usage, "moe_gate_norm_std is negative or not finite"};
    }
    const ExpertId zero_expert = options.zero_expert == ZeroExpertWeight::code ? num_experts - 1 : -1;
    Expected<Selection> selection =
        Selection::create(num_experts, {options.norm_std}, TopK{options.k}, ZeroThenRenormalize{zero_expert});
    if (!selection) return selection.error();
    return MoePlusPlusRouter(gate, std::move(selection).value());
  }

  index_t num_experts() const noexcept { return selection_.num_experts(); }
  index_t hidden_size() const noexcept { return first_.rows() != 0 ? first_.cols() : last_.cols(); }
  RouterTraits traits() const noexcept {
    RouterTraits traits = selection_.traits();
    traits.state = StateScope::across_layers;
    return traits;
  }

  // Leaves this layer's logits in the state. On an error the plan has no rows and the state is to be reset.
  Status route(const RouterInput& in, State& state, RoutingPlan& plan, Context& ctx) const {
    plan.clear(num_experts());
    const ConstRows x = in.hidden;
    if (Status status = check_hidden(x, hidden_size()); !status.ok()) return status;
    if (Status status = selection_.check(in.edits); !status.ok()) return status;
    if (Status status = state.enter(x, in.layer, num_experts()); !status.ok()) return status;

    const Workspace::Mark mark(ctx.workspace);
    const Rows logits = ctx.workspace.take_rows(x.rows, num_experts());
    const Rows inner = ctx.workspace.take_rows(x.rows, first_.rows());
    if (first_.rows() != 0) product<Backend>(first_.view(), x, inner, ctx);
    const index_t n = ctx.slices(x.rows);
    ctx.parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(x.rows, n, i);
      for (index_t t = slice.first; t < slice.last; ++t) tanh(inner.row(t));
    });
    product<Backend>(last_.view(), first_.rows() != 0 ? ConstRows(inner) : x, logits, ctx);

    const bool has_residual = residual_.rows() != 0 && !state.empty();
    const Rows carried = state.rows(num_experts());
    if (has_residual) {
      const Rows before = ctx.workspace.take_rows(x.rows, num_experts());
      product<Backend>(residual_.view(), ConstRows(carried), before, ctx);
      for (index_t t = 0; t < x.rows; ++t) Backend::axpy(1.0f, before.row_data(t), num_experts(), logits.row_data(t));
    }
    for (index_t t = 0; t < x.rows; ++t) {
      for (index_t e = 0; e < num_experts(); ++e) carried.row_data(t)[e] = logits.row_data(t)[e];
    }
    return selection_.route(logits, in, plan, ctx);
  }

 private:
  MoePlusPlusRouter(const MoePlusPlusGate& gate, Selection selection)
      : first_(gate.first), last_(gate.last), residual_(gate.residual), selection_(std::move(selection)) {}

  // tanh x = 2 sigmoid(2 x) - 1. It would hide what is not finite; so that stays, for the logits to tell.
  static void tanh(std::span<float> row) noexcept {
    if (!Backend::all_finite(row.data(), static_cast<index_t>(row.size()))) return;
    for (float& v : row) v *= 2.0f;
    Backend::sigmoid(row.data(), static_cast<index_t>(row.size()));
    for (float& v : row) v = 2.0f * v - 1.0f;
  }

  Panel16<F32> first_;     // (inner, hidden_size) or empty
  Panel16<F32> last_;      // (num_experts, inner or hidden_size)
  Panel16<F32> residual_;  // (num_experts, num_experts) or empty
  Selection selection_;
};
static_assert(Router<MoePlusPlusRouter<>>);

}  // namespace headgate::inline HEADGATE_ABI
