// ProMoE's two-step router (Wei et al. 2025, "Routing Matters in MoE", arXiv 2510.24711), for diffusion transformers:
//   1. a token whose label is the null label (the unconditional half of guidance) goes to the last expert, weight 1
//   2. every other one by prototypes: s = Score(cos(x, c_e)) over the other experts; A = top k of s; w_e = s_e
// Released models have the identity for Score, so that weights are cosines and may be negative, k = 1, and a shared
// expert beside them. Labels are a side input in the State, which the caller owns; without labels every token is
// conditional. Follows compute_router of models_ProMoE_TC.py, of which golden vectors come, router_weight_mode being
// Score. It names the last expert k times in an unconditional row, with weight 0 but once; here it stands there once.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/cosine_gate.hpp"
#include "headgate/routing/plan_writer.hpp"
#include "headgate/routing/router.hpp"
#include "headgate/routing/stages/score.hpp"
#include "headgate/routing/stages/top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

// The label of each token of the next calls; empty: none has one. Stays when a pass begins: it is the caller's.
struct TokenLabels {
  std::vector<std::int32_t> labels;  // (tokens) or empty
  void reset(index_t /*tokens*/) noexcept {}
};

struct ProMoeOptions {
  index_t k = 1;
  std::int32_t null_label = 1000;  // ImageNet's 1000 classes come before it
  bool null_expert = true;         // false: there is none, and labels mean nothing (use_uncond_expert)
};

// Table of routers: ProMoeRouter | the null label to the last expert, others by cosines to prototypes |
//   Wei et al. 2025, 2510.24711
template <ScoreStage Score = IdentityScore, class Backend = NativeBackend>
class ProMoeRouter {
 public:
  using State = TokenLabels;

  // prototypes: cluster_centers (num_experts - 1, hidden_size), or (num_experts, hidden_size) without a null expert.
  static Expected<ProMoeRouter> create(ConstRows prototypes, const ProMoeOptions& options, Score score = {}) {
    Expected<CosineGate<Backend>> gate = CosineGate<Backend>::create({.prototypes = prototypes});
    if (!gate) return gate.error();
    if (prototypes.rows == max_index)
      return Status::mismatch("number of experts", std::int64_t{max_index} + 1, max_index);
    if (Status status = TopK{options.k}.check(prototypes.rows); !status.ok()) return status;
    return ProMoeRouter(std::move(gate).value(), options, score);
  }

  index_t num_experts() const noexcept { return gate_.num_experts() + (options_.null_expert ? 1 : 0); }
  index_t hidden_size() const noexcept { return gate_.hidden_size(); }
  RouterTraits traits() const noexcept {
    return {.takes = takes_k | takes_mask, .k_min = 1, .k_max = options_.k, .row_sum = RowSum::free};
  }

  // k of the call counts prototypes. On an error the plan has no rows.
  Status route(const RouterInput& in, State& state, RoutingPlan& plan, Context& ctx) const {
    plan.clear(num_experts());
    const ConstRows x = in.hidden;
    if (Status status = check_hidden(x, hidden_size()); !status.ok()) return status;
    const auto labels = static_cast<std::int64_t>(state.labels.size());
    if (labels != 0 && labels != x.rows) return Status::mismatch("labels of a router against tokens", labels, x.rows);
    const RouteEdits& edits = in.edits;
    if (Status status = check_layer_edits(edits); !status.ok()) return status;
    if (Status status = edits.check(num_experts(), x.rows); !status.ok()) return status;
    if (!edits.expert_mask.empty() && edits.mask_meaning != MaskMeaning::select) {
      return {ErrorCode::usage, "expert_mask of ProMoE's router has no meaning but select"};
    }
    if (edits.k > gate_.num_experts()) {
      return Status::mismatch("k of the call against prototypes", edits.k, gate_.num_experts());
    }
    const index_t k = edits.k == 0 ? options_.k : edits.k;

    PlanWriter writer(plan);
    if (Status status = writer.open(num_experts(), x.rows, k); !status.ok()) return status;
    const Workspace::Mark mark(ctx.workspace);
    const Rows logits = ctx.workspace.take_rows(x.rows, gate_.num_experts());
    gate_.logits(x, logits, ctx);
    const index_t n = ctx.slices(divide_up(x.rows, min_slice));
    const std::int64_t size = writer.scratch_size();
    const std::span<index_t> scratch = ctx.workspace.take<index_t>(n * size);
    for (index_t& seen : scratch) seen = 0;
    Status failure = ctx.try_parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(x.rows, n, i);
      Status status;
      for (index_t t = slice.first; t < slice.last && status.ok(); ++t) {
        const bool is_null = options_.null_expert && labels != 0 && state.labels[as_size(t)] == options_.null_label;
        const std::span<index_t> own = scratch.subspan(as_size(i * size), as_size(size));
        status = route_row(logits.row(t), t, is_null, k, edits.expert_mask, own, writer);
      }
      return status;
    });
    if (failure.ok()) {
      writer.finish();
    } else {
      failure.layer = in.layer;
    }
    return failure;
  }

 private:
  static constexpr index_t min_slice = 16;  // tokens that are worth waking a thread for

  ProMoeRouter(CosineGate<Backend> gate, const ProMoeOptions& options, Score score)
      : gate_(std::move(gate)), options_(options), score_(score) {}

  // row: cosines, which become scores, -inf where masked. mask: (num_experts) or empty.
  Status route_row(std::span<float> row, index_t token, bool is_null, index_t k, std::span<const std::uint8_t> mask,
                   std::span<index_t> scratch, PlanWriter& writer) const noexcept {
    for (std::size_t e = 0; e < row.size(); ++e) {
      if (std::isfinite(row[e])) continue;
      return Status::not_finite("router logit is not finite", -1, token, static_cast<ExpertId>(e));
    }
    const std::span<ExpertId> experts = writer.experts(token);
    const std::span<float> weights = writer.weights(token);
    if (is_null) {
      if (!mask.empty() && mask.back() == 0) return writer.close_row(token, 0, scratch);
      experts[0] = static_cast<ExpertId>(row.size());
      weights[0] = 1.0f;
      return writer.close_row(token, 1, scratch);
    }
    score_.template apply<Backend>(row);
    for (std::size_t e = 0; e < row.size() && !mask.empty(); ++e) {
      if (mask[e] == 0) row[e] = -std::numeric_limits<float>::infinity();
    }
    const index_t chosen = Backend::top_k(row.data(), static_cast<index_t>(row.size()), k, experts.data());
    for (index_t i = 0; i < chosen; ++i) weights[as_size(i)] = row[as_size(experts[as_size(i)])];
    return writer.close_row(token, chosen, scratch);
  }

  CosineGate<Backend> gate_;
  ProMoeOptions options_;
  Score score_;
};
static_assert(Router<ProMoeRouter<>>);

}  // namespace headgate::inline HEADGATE_ABI
