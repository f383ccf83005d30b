// StagedSelection: from the logits of a batch to a plan, in three stages. Of one token, with logits z:
//   s = Score(z)
//   experts = Select(keys)    keys_e = s_e + bias_e, -inf where masked; without bias and mask the scores themselves
//   w = Weigh(s of the experts)
// Keys select, scores weigh: a bias can never reach a weight. A mask takes effect after scoring, so the weights are
// those of the unmasked distribution. Every router that makes logits ends in it.
#pragma once

#include <vector>

#include "headgate/core/context.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/core/matrix_view.hpp"
#include "headgate/routing/plan_writer.hpp"
#include "headgate/routing/router.hpp"
#include "headgate/routing/stages/score.hpp"
#include "headgate/routing/stages/select.hpp"
#include "headgate/routing/stages/weigh.hpp"

namespace headgate::inline HEADGATE_ABI {

// A stage that adds scores up takes only scores that cannot be negative: logits may add up to anything, 0 included.
template <class Stage, class Score>
concept FitsScore = !Stage::adds_scores || Score::never_negative;

template <ScoreStage Score, SelectStage Select, WeighStage Weigh, class Backend = NativeBackend>
requires FitsScore<Select, Score> && FitsScore<Weigh, Score>
class StagedSelection {
 public:
  // bias: (num_experts) or empty; part of the keys only. mask: (num_experts) or empty; 0: never selected.
  static Expected<StagedSelection> create(index_t num_experts, Score score, Select select, Weigh weigh,
                                          std::span<const float> bias = {}, std::span<const std::uint8_t> mask = {}) {
    if (num_experts < 1) return Status::mismatch("experts of a router, at least", num_experts, 1);
    const auto bias_size = static_cast<std::int64_t>(bias.size());
    if (bias_size != 0 && bias_size != num_experts) {
      return Status::mismatch("size of selection_bias against experts", bias_size, num_experts);
    }
    for (ExpertId e = 0; e < bias_size; ++e) {
      if (!(bias[at(e)] >= -max_bias && bias[at(e)] <= max_bias)) {
        return Status::not_finite("selection_bias is not finite or beyond 1e30", -1, -1, e);
      }
    }
    const auto mask_size = static_cast<std::int64_t>(mask.size());
    if (mask_size != 0 && mask_size != num_experts) {
      return Status::mismatch("size of a router's mask against experts", mask_size, num_experts);
    }
    if (Status status = select.check(num_experts); !status.ok()) return status;
    if (Status status = weigh.check(); !status.ok()) return status;
    return StagedSelection(num_experts, score, select, weigh, bias, mask);
  }

  index_t num_experts() const noexcept { return num_experts_; }
  RouterTraits traits() const noexcept {
    const WeightSum sum = weigh_.sum({Score::sum});
    return {.k_min = select_.min_k(num_allowed_),
            .k_max = select_.max_k(num_allowed_),
            .row_sum = sum.kind,
            .row_sum_value = sum.value};
  }

  // What a call may edit; to be asked before the logits are computed.
  Status check(const RouteEdits& edits) const noexcept {
    const auto mask_size = static_cast<std::int64_t>(edits.expert_mask.size());
    if (mask_size != 0 && mask_size != num_experts_) {
      return Status::mismatch("size of expert_mask against experts", mask_size, num_experts_);
    }
    if (edits.k < 0) return Status::mismatch("k of the call, at least", edits.k, 0);
    if (edits.k > num_experts_) return Status::mismatch("k of the call against experts", edits.k, num_experts_);
    return Status::success();
  }

  // Replaces the plan by one row per row of logits (tokens, num_experts), which become scores. On an error the plan has
  // no rows and the status names the first token at fault. Precondition: check(ctx.edits) is a success.
  Status route(Rows logits, index_t layer, RoutingPlan& plan, Context& ctx) const {
    const Select select = ctx.edits.k == 0 ? select_ : select_.with_k(ctx.edits.k);
    PlanWriter writer(plan);
    if (Status status = writer.open(num_experts_, logits.rows, select.max_k(num_experts_)); !status.ok()) return status;

    const Workspace::Mark mark(ctx.workspace);
    const std::span<const float> key_offset = masked_key_offset(ctx);
    const index_t n = ctx.slices(divide_up(logits.rows, min_slice));
    const std::int64_t keys_size = key_offset.empty() ? 0 : num_experts_;
    const std::span<float> keys = ctx.workspace.take<float>(n * keys_size);
    const std::span<std::uint8_t> scratch = ctx.workspace.take<std::uint8_t>(n * writer.scratch_size());
    for (std::uint8_t& byte : scratch) byte = 0;
    const std::span<Status> failures = ctx.workspace.take<Status>(n);  // the first of each slice

    ctx.parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(logits.rows, n, i);
      const auto part = [i](auto span, std::int64_t size) { return span.subspan(at(i * size), at(size)); };
      Status status;
      for (index_t t = slice.first; t < slice.last && status.ok(); ++t) {
        status = route_row(logits.row(t), t, select, key_offset, part(keys, keys_size),
                           part(scratch, writer.scratch_size()), writer);
      }
      failures[at(i)] = status;
    });
    for (Status& failure : failures) {
      if (failure.ok()) continue;
      failure.layer = layer;
      return failure;
    }
    writer.finish();
    return Status::success();
  }

 private:
  static constexpr index_t min_slice = 16;  // tokens that are worth waking a thread for
  static constexpr float max_bias = 1e30f;  // added to any finite float it gives no infinity
  static constexpr float masked = -std::numeric_limits<float>::infinity();

  StagedSelection(index_t num_experts, Score score, Select select, Weigh weigh, std::span<const float> bias,
                  std::span<const std::uint8_t> mask)
      : num_experts_(num_experts),
        num_allowed_(num_experts),
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
  std::span<const float> masked_key_offset(Context& ctx) const {
    const std::span<const std::uint8_t> mask = ctx.edits.expert_mask;
    if (mask.empty()) return key_offset_;
    const std::span<float> offset = ctx.workspace.take<float>(num_experts_);
    for (std::size_t e = 0; e < offset.size(); ++e) {
      const float own = key_offset_.empty() ? 0.0f : key_offset_[e];
      offset[e] = mask[e] != 0 ? own : masked;
    }
    return offset;
  }

  Status route_row(std::span<float> row, index_t token, const Select& select, std::span<const float> key_offset,
                   std::span<float> keys, std::span<std::uint8_t> scratch, PlanWriter& writer) const noexcept {
    if (!Backend::all_finite(row.data(), num_experts_)) {
      ExpertId e = 0;
      while (is_finite(row[at(e)])) ++e;
      return Status::not_finite("router logit is not finite", -1, token, e);
    }
    score_.template apply<Backend>(row);
    for (std::size_t e = 0; e < key_offset.size(); ++e) keys[e] = row[e] + key_offset[e];

    const std::span<ExpertId> experts = writer.experts(token);
    const std::span<const float> chosen_by = key_offset.empty() ? row : keys;
    const std::size_t chosen = at(select.template choose<Backend>(chosen_by, row, experts));
    const std::span<float> weights = writer.weights(token).first(chosen);
    for (std::size_t i = 0; i < chosen; ++i) weights[i] = row[at(experts[i])];
    const index_t kept = weigh_.template apply<Backend>(experts.first(chosen), weights);
    return writer.close_row(token, kept, scratch);
  }

  index_t num_experts_;
  index_t num_allowed_;  // experts not masked
  Score score_;
  Select select_;
  Weigh weigh_;
  std::vector<float> key_offset_;  // (num_experts) selection bias, -inf where masked; or empty
};

}  // namespace headgate::inline HEADGATE_ABI
