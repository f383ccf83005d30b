// StagedSelection: from the logits of a batch to a plan, in three stages. Of one token, with logits z:
//   s = Score(z)
//   experts = Select(keys)    keys_e = s_e + bias_e, -inf where masked; without bias and mask the scores themselves
//   w = Weigh(s of the experts), or of all s, where a stage reads them
// Keys select, scores weigh: a bias can never reach a weight. The router's own mask takes effect after scoring, so the
// weights are those of the unmasked distribution; a call's mask means what MaskMeaning says. Every router that makes
// logits ends in it.
#pragma once

#include <cmath>
#include <vector>

#include "headgate/core/context.hpp"
#include "headgate/core/exactly_equal.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/core/matrix_view.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/routing/plan_writer.hpp"
#include "headgate/routing/router.hpp"
#include "headgate/routing/stages/score.hpp"
#include "headgate/routing/stages/select.hpp"
#include "headgate/routing/stages/weigh.hpp"

namespace headgate::inline HEADGATE_ABI {

// A stage that adds scores up takes only scores that cannot be negative: logits may add up to anything, 0 included.
template <class Stage, class Score>
concept FitsScore = !Stage::needs_nonnegative_scores || Score::never_negative;

// How many experts a plan knows: as many as there are logits, unless the weigh stage keeps only the first of them.
template <WeighStage Weigh>
constexpr index_t experts_of_logits(const Weigh& weigh, index_t num_logits) noexcept {
  if constexpr (requires { weigh.num_experts(num_logits); }) return weigh.num_experts(num_logits);
  return num_logits;
}

template <ScoreStage Score, SelectStage Select, WeighStage Weigh, class Backend = NativeBackend>
  requires FitsScore<Select, Score> && FitsScore<Weigh, Score>
class StagedSelection {
 public:
  // bias: (num_logits) or empty; part of the keys only. mask: (num_logits) or empty; 0: never selected.
  static Expected<StagedSelection> create(index_t num_logits, Score score, Select select, Weigh weigh,
                                          std::span<const float> bias = {}, std::span<const std::uint8_t> mask = {}) {
    if (num_logits < 1) return Status::mismatch("experts of a router, at least", num_logits, 1);
    if (Status status = check_bias(bias, num_logits); !status.ok()) return status;
    const auto mask_size = static_cast<std::int64_t>(mask.size());
    if (mask_size != 0 && mask_size != num_logits) {
      return Status::mismatch("size of a router's mask against experts", mask_size, num_logits);
    }
    if (Status status = select.check(num_logits); !status.ok()) return status;
    if (Status status = weigh.check(); !status.ok()) return status;
    const index_t num_experts = experts_of_logits(weigh, num_logits);
    if (num_experts < 1 || num_experts > num_logits) {
      return Status::mismatch("true experts against rows of the gate", num_experts, num_logits);
    }
    return StagedSelection(num_logits, score, select, weigh, bias, mask);
  }

  // The size of a plan's bank, and of the row that route takes.
  index_t num_experts() const noexcept { return experts_of_logits(weigh_, num_logits_); }
  index_t num_logits() const noexcept { return num_logits_; }
  RouterTraits traits() const noexcept {
    const WeightSum sum = weigh_.sum({Score::sum});
    const index_t least = select_.min_k(num_allowed_) - (num_logits_ - num_experts());  // null experts may take these
    const index_t most = select_.max_k(num_allowed_);
    return {.takes = takes_k | takes_mask | takes_zero_key | (Score::takes_minus_inf ? takes_prune : 0u),
            .k_min = least > 0 ? least : 0,
            .k_max = most < num_experts() ? most : num_experts(),
            .row_sum = sum.kind,
            .row_sum_value = sum.value};
  }

  // Other keys from the next call on; what is masked stays so. bias: (num_logits); factor: (num_logits), positive, for
  // scores that are never negative. On an error nothing changes.
  Status set_selection_bias(std::span<const float> bias) {
    if (bias.empty()) return Status::mismatch("size of selection_bias against experts", 0, num_logits_);
    if (Status status = check_bias(bias, num_logits_); !status.ok()) return status;
    key_offset_.resize(bias.size(), 0.0f);
    for (std::size_t e = 0; e < bias.size(); ++e) {
      if (!exactly_equal(key_offset_[e], masked)) key_offset_[e] = bias[e];
    }
    return Status::success();
  }
  Status set_selection_factor(std::span<const float> factor)
    requires Score::never_negative
  {
    const auto size = static_cast<std::int64_t>(factor.size());
    if (size != num_logits_) return Status::mismatch("size of selection_factor against experts", size, num_logits_);
    for (ExpertId e = 0; e < num_logits_; ++e) {
      if (!(factor[as_size(e)] > 0.0f && factor[as_size(e)] <= max_factor)) {
        return Status::not_finite("selection_factor is not positive or beyond 1e8", -1, -1, e);
      }
    }
    key_factor_.assign(factor.begin(), factor.end());
    key_offset_.resize(factor.size(), 0.0f);
    return Status::success();
  }

  // What a call may edit; to be asked before the logits are computed.
  Status check(const RouteEdits& edits) const noexcept {
    if (Status status = check_layer_edits(edits); !status.ok()) return status;
    if (Status status = edits.check(num_experts(), 0); !status.ok()) return status;
    if (!edits.expert_mask.empty() && edits.mask_meaning == MaskMeaning::prune && !Score::takes_minus_inf) {
      return {ErrorCode::usage, "scores of this router depend on all experts, so that none can be pruned"};
    }
    if (edits.k > num_logits_) return Status::mismatch("k of the call against experts", edits.k, num_logits_);
    return Status::success();
  }

  // Replaces the plan by one row per row of logits (tokens, num_logits), which become scores. On an error the plan has
  // no rows and the status names the first token at fault. in: layer and edits. Precondition: check(in.edits) is a
  // success.
  Status route(Rows logits, const RouterInput& in, RoutingPlan& plan, Context& ctx) const {
    const RouteEdits& edits = in.edits;
    const Select select = edits.k == 0 ? select_ : select_.with_k(edits.k);
    PlanWriter writer(plan);
    if (Status status = writer.open(num_experts(), logits.rows, select.max_k(num_logits_)); !status.ok()) return status;

    const Workspace::Mark mark(ctx.workspace);
    const auto mask_of = [&](MaskMeaning meaning) {
      return edits.mask_meaning == meaning ? edits.expert_mask : std::span<const std::uint8_t>();
    };
    const Edited edited{select, masked_key_offset(edits, ctx), mask_of(MaskMeaning::prune),
                        mask_of(MaskMeaning::zero_key)};
    const index_t n = ctx.slices(divide_up(logits.rows, min_slice));
    // Keys where they are not the scores; and once more where groups have keys of their own.
    const std::int64_t keys_size = !edited.zeroed.empty()      ? std::int64_t{2} * num_logits_
                                   : edited.key_offset.empty() ? 0
                                                               : num_logits_;
    const std::span<float> keys = ctx.workspace.take<float>(n * keys_size);
    const std::span<index_t> scratch = ctx.workspace.take<index_t>(n * writer.scratch_size());
    for (index_t& seen : scratch) seen = 0;

    Status failure = ctx.try_parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(logits.rows, n, i);
      const auto part = [i](auto span, std::int64_t size) { return span.subspan(as_size(i * size), as_size(size)); };
      Status status;
      for (index_t t = slice.first; t < slice.last && status.ok(); ++t) {
        status =
            route_row(logits.row(t), t, edited, part(keys, keys_size), part(scratch, writer.scratch_size()), writer);
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
  static constexpr float max_bias = 1e30f;  // added to any finite float it gives no infinity
  static constexpr float max_factor = 1e8f;
  static constexpr float masked = -std::numeric_limits<float>::infinity();

  // What the edits of a call come to.
  struct Edited {
    Select select;
    std::span<const float> key_offset;     // (num_logits) or empty
    std::span<const std::uint8_t> pruned;  // (num_experts) 0: no logit; or empty
    std::span<const std::uint8_t> zeroed;  // (num_experts) 0: key 0; or empty
  };

  static Status check_bias(std::span<const float> bias, index_t num_logits) noexcept {
    const auto size = static_cast<std::int64_t>(bias.size());
    if (size != 0 && size != num_logits) {
      return Status::mismatch("size of selection_bias against experts", size, num_logits);
    }
    for (ExpertId e = 0; e < size; ++e) {
      if (!(bias[as_size(e)] >= -max_bias && bias[as_size(e)] <= max_bias)) {
        return Status::not_finite("selection_bias is not finite or beyond 1e30", -1, -1, e);
      }
    }
    return Status::success();
  }

  StagedSelection(index_t num_logits, Score score, Select select, Weigh weigh, std::span<const float> bias,
                  std::span<const std::uint8_t> mask)
      : num_logits_(num_logits),
        num_allowed_(num_logits),
        score_(score),
        select_(select),
        weigh_(weigh),
        key_offset_(bias.begin(), bias.end()) {
    if (mask.empty()) return;
    key_offset_.resize(mask.size(), 0.0f);
    for (std::size_t e = 0; e < mask.size(); ++e) {
      if (mask[e] != 0) continue;
      key_offset_[e] = masked;
      --num_allowed_;
    }
  }

  // What is added to scores to make keys, the call's mask included; empty: nothing.
  std::span<const float> masked_key_offset(const RouteEdits& edits, Context& ctx) const {
    const std::span<const std::uint8_t> mask = edits.expert_mask;
    const bool is_out = edits.mask_meaning == MaskMeaning::select || edits.mask_meaning == MaskMeaning::prune;
    if (mask.empty() || !is_out) return key_offset_;
    const std::span<float> offset = ctx.workspace.take<float>(num_logits_);
    for (std::size_t e = 0; e < offset.size(); ++e) {
      const float own = key_offset_.empty() ? 0.0f : key_offset_[e];
      offset[e] = e >= mask.size() || mask[e] != 0 ? own : masked;  // null experts are not the caller's to mask
    }
    return offset;
  }

  Status route_row(std::span<float> row, index_t token, const Edited& edited, std::span<float> keys,
                   std::span<index_t> scratch, PlanWriter& writer) const noexcept {
    if (!Backend::all_finite(row.data(), num_logits_)) {
      ExpertId e = 0;
      while (std::isfinite(row[as_size(e)])) ++e;
      return Status::not_finite("router logit is not finite", -1, token, e);
    }
    for (std::size_t e = 0; e < edited.pruned.size(); ++e) {
      if (edited.pruned[e] == 0) row[e] = masked;
    }
    score_.template apply<Backend>(row);
    const std::span<const float> key_offset = edited.key_offset;
    if (key_factor_.empty()) {
      for (std::size_t e = 0; e < key_offset.size(); ++e) keys[e] = row[e] + key_offset[e];
    } else {
      for (std::size_t e = 0; e < key_offset.size(); ++e) keys[e] = row[e] * key_factor_[e] + key_offset[e];
    }

    const std::span<ExpertId> experts = writer.experts(token);
    const std::span<const float> chosen_by = key_offset.empty() ? row : keys.first(row.size());
    const std::size_t chosen =
        as_size(edited.zeroed.empty() ? edited.select.template choose<Backend>(chosen_by, row, experts)
                                      : choose_zeroed(edited, chosen_by, keys.last(row.size()), row, experts));
    const std::span<float> weights = writer.weights(token).first(chosen);
    for (std::size_t i = 0; i < chosen; ++i) weights[i] = row[as_size(experts[i])];
    const index_t kept = [&] {
      if constexpr (ReadsAllScores<Weigh>) {
        return weigh_.template apply<Backend>(experts.first(chosen), weights, row);
      } else {
        return weigh_.template apply<Backend>(experts.first(chosen), weights);
      }
    }();
    return writer.close_row(token, kept, scratch);
  }

  // MaskMeaning::zero_key; zeroed_keys: (num_logits) scratch. What the router itself masks stays out.
  static index_t choose_zeroed(const Edited& edited, std::span<const float> keys, std::span<float> zeroed_keys,
                               std::span<const float> scores, std::span<ExpertId> experts) noexcept {
    for (std::size_t e = 0; e < keys.size(); ++e) {
      const bool is_zeroed = e < edited.zeroed.size() && edited.zeroed[e] == 0 && keys[e] > masked;
      zeroed_keys[e] = is_zeroed ? 0.0f : keys[e];
    }
    if constexpr (requires { edited.select.choose_in_groups(keys, keys, experts); }) {
      return edited.select.choose_in_groups(keys, zeroed_keys, experts);
    } else {
      return edited.select.template choose<Backend>(zeroed_keys, scores, experts);
    }
  }

  index_t num_logits_;
  index_t num_allowed_;  // experts not masked
  Score score_;
  Select select_;
  Weigh weigh_;
  std::vector<float> key_offset_;  // (num_logits) selection bias, -inf where masked; or empty
  std::vector<float> key_factor_;  // (num_logits), or empty; then key_offset_ is there too
};

}  // namespace headgate::inline HEADGATE_ABI
