// Weigh: the combine weights of the chosen experts, from their scores s. One step each; Then joins two.
//   Keep                  w_i = s_i                               Switch, OLMoE, Qwen2-MoE, DeepSeek-V1
//   Renormalize           w_i = s_i / max(sum s + add, at_least)  Mixtral, Qwen3-MoE; and with an epsilon:
//     add 1e-20 DeepSeek-V3, Megatron; add 1e-6 LFM2, Glider; at_least 1e-12 ERNIE 4.5; at_least 2^-23 Tutel, NLLB
//   SoftmaxOverSelected   w_i = exp(s_i) / sum_j exp(s_j)         Shazeer 2017, Granite, gpt-oss, JetMoE: over logits
//   SigmoidOverSelected   w_i = 1 / (1 + exp(-s_i))               Llama 4; then Renormalize: SmallThinker
//   EqualShares           w_i = 1 / how many are chosen           DynMoE
//   EqualWeights          w_i = value                             FactorLLM (E / k rounded down), SPT (1)
//   Scale                 w_i = factor s_i                        DeepSeek-V2, V3, LongCat: routed_scaling_factor
// A stage may read the scores of all experts (routing/sparse_mixer.hpp).
#pragma once

#include <cmath>
#include <concepts>
#include <span>

#include "headgate/core/exactly_equal.hpp"
#include "headgate/kernels/kernel_backend.hpp"
#include "headgate/routing/router.hpp"

namespace headgate::inline HEADGATE_ABI {

// What the weights of a row add up to, as RouterTraits says it.
struct WeightSum {
  RowSum kind;
  float value = 1.0f;  // of RowSum::constant
};

// Weighs the chosen experts by the scores of all, scores (num_logits): apply<Backend>(experts, weights, scores).
template <class W>
concept ReadsAllScores =
    requires(const W& weigh, std::span<ExpertId> experts, std::span<float> weights, std::span<const float> scores) {
      { weigh.template apply<NativeBackend>(experts, weights, scores) } noexcept -> std::same_as<index_t>;
    };

// apply<Backend>(experts, weights) gets the chosen experts, best first, and their scores in weights; it leaves weights
// there and returns how many experts at the front of both remain (a step may drop some). Rows may be empty.
template <class W>
concept WeighStage =
    std::is_copy_constructible_v<W> && std::is_copy_assignable_v<W> && requires(const W& weigh, WeightSum sum) {
      { W::needs_nonnegative_scores } -> std::convertible_to<bool>;  // it does, so they must never be negative
      { W::never_negative(true) } noexcept -> std::same_as<bool>;    // of the weights, given that of the scores
      { weigh.sum(sum) } noexcept -> std::same_as<WeightSum>;        // of the weights, given that of the scores
      { weigh.check() } noexcept -> std::same_as<Status>;
    } && (ReadsAllScores<W> || requires(const W& weigh, std::span<ExpertId> experts, std::span<float> weights) {
      { weigh.template apply<NativeBackend>(experts, weights) } noexcept -> std::same_as<index_t>;
    });

struct Keep {
  static constexpr bool needs_nonnegative_scores = false;
  static constexpr bool never_negative(bool scores) noexcept { return scores; }
  WeightSum sum(WeightSum scores) const noexcept { return scores; }
  Status check() const noexcept { return Status::success(); }
  template <class Backend>
  index_t apply(std::span<ExpertId> experts, std::span<float> /*weights*/) const noexcept {
    return static_cast<index_t>(experts.size());
  }
};

// A denominator of 0 (all scores 0, no epsilon) gives equal weights.
struct Renormalize {
  float add = 0.0f;
  float at_least = 0.0f;
  bool keep_single = false;  // a row of one keeps its score, as Tutel and Megatron do for k = 1

  static constexpr bool needs_nonnegative_scores = true;
  static constexpr bool never_negative(bool /*scores*/) noexcept { return true; }
  WeightSum sum(WeightSum scores) const noexcept {
    if (keep_single && scores.kind != RowSum::one && scores.kind != RowSum::at_most_one) return {RowSum::free};
    const bool is_exact = exactly_equal(add, 0.0f) && exactly_equal(at_least, 0.0f) && !keep_single;
    return {is_exact ? RowSum::one : RowSum::at_most_one};
  }
  Status check() const noexcept {
    if (!(add >= 0.0f && at_least >= 0.0f && std::isfinite(add) && std::isfinite(at_least))) {
      return {ErrorCode::usage, "epsilon of Renormalize is negative or not finite"};
    }
    return Status::success();
  }
  template <class Backend>
  index_t apply(std::span<ExpertId> experts, std::span<float> weights) const noexcept {
    if (keep_single && weights.size() == 1) return 1;
    float total = 0.0f;
    for (const float w : weights) total += w;
    total += add;
    if (total < at_least) total = at_least;
    for (float& w : weights) w = total > 0.0f ? w / total : 1.0f / static_cast<float>(weights.size());
    return static_cast<index_t>(experts.size());
  }
};

struct SoftmaxOverSelected {
  static constexpr bool needs_nonnegative_scores = false;
  static constexpr bool never_negative(bool /*scores*/) noexcept { return true; }
  WeightSum sum(WeightSum /*scores*/) const noexcept { return {RowSum::one}; }
  Status check() const noexcept { return Status::success(); }
  template <class Backend>
  index_t apply(std::span<ExpertId> experts, std::span<float> weights) const noexcept {
    Backend::softmax(weights.data(), static_cast<index_t>(weights.size()));
    return static_cast<index_t>(experts.size());
  }
};

struct SigmoidOverSelected {
  static constexpr bool needs_nonnegative_scores = false;
  static constexpr bool never_negative(bool /*scores*/) noexcept { return true; }
  WeightSum sum(WeightSum /*scores*/) const noexcept { return {RowSum::free}; }
  Status check() const noexcept { return Status::success(); }
  template <class Backend>
  index_t apply(std::span<ExpertId> experts, std::span<float> weights) const noexcept {
    Backend::sigmoid(weights.data(), static_cast<index_t>(weights.size()));
    return static_cast<index_t>(experts.size());
  }
};

struct EqualWeights {
  float value;

  static constexpr bool needs_nonnegative_scores = false;
  static constexpr bool never_negative(bool /*scores*/) noexcept { return false; }
  WeightSum sum(WeightSum /*scores*/) const noexcept { return {RowSum::free}; }
  Status check() const noexcept {
    if (!std::isfinite(value)) return {ErrorCode::usage, "value of EqualWeights is not finite"};
    return Status::success();
  }
  template <class Backend>
  index_t apply(std::span<ExpertId> experts, std::span<float> weights) const noexcept {
    for (float& w : weights) w = value;
    return static_cast<index_t>(experts.size());
  }
};

struct EqualShares {
  static constexpr bool needs_nonnegative_scores = false;
  static constexpr bool never_negative(bool /*scores*/) noexcept { return true; }
  WeightSum sum(WeightSum /*scores*/) const noexcept { return {RowSum::one}; }
  Status check() const noexcept { return Status::success(); }
  template <class Backend>
  index_t apply(std::span<ExpertId> experts, std::span<float> weights) const noexcept {
    for (float& w : weights) w = 1.0f / static_cast<float>(weights.size());
    return static_cast<index_t>(experts.size());
  }
};

struct Scale {
  float factor;

  static constexpr bool needs_nonnegative_scores = false;
  static constexpr bool never_negative(bool /*scores*/) noexcept { return false; }
  WeightSum sum(WeightSum scores) const noexcept {
    if (scores.kind == RowSum::one) return {RowSum::constant, factor};
    if (scores.kind == RowSum::constant) return {RowSum::constant, factor * scores.value};
    return {RowSum::free};
  }
  Status check() const noexcept {
    if (!std::isfinite(factor)) return {ErrorCode::usage, "factor of Scale is not finite"};
    return Status::success();
  }
  template <class Backend>
  index_t apply(std::span<ExpertId> experts, std::span<float> weights) const noexcept {
    for (float& w : weights) w *= factor;
    return static_cast<index_t>(experts.size());
  }
};

// First, and Second on its weights: Then<Renormalize, Scale>{{.add = 1e-20f}, {2.5f}} is DeepSeek-V3's.
template <WeighStage First, WeighStage Second>
  requires(!ReadsAllScores<First> && !ReadsAllScores<Second>)
struct Then {
  First first;
  Second second;

  static constexpr bool needs_nonnegative_scores =
      First::needs_nonnegative_scores || (Second::needs_nonnegative_scores && !First::never_negative(false));
  static constexpr bool never_negative(bool scores) noexcept {
    return Second::never_negative(First::never_negative(scores));
  }
  WeightSum sum(WeightSum scores) const noexcept { return second.sum(first.sum(scores)); }
  Status check() const noexcept {
    const Status status = first.check();
    return status.ok() ? second.check() : status;
  }
  template <class Backend>
  index_t apply(std::span<ExpertId> experts, std::span<float> weights) const noexcept {
    const std::size_t n = as_size(first.template apply<Backend>(experts, weights));
    return second.template apply<Backend>(experts.first(n), weights.first(n));
  }
};
static_assert(WeighStage<Keep> && WeighStage<Renormalize> && WeighStage<SoftmaxOverSelected>);
static_assert(WeighStage<SigmoidOverSelected> && WeighStage<EqualWeights> && WeighStage<EqualShares>);
static_assert(WeighStage<Then<Renormalize, Scale>>);

}  // namespace headgate::inline HEADGATE_ABI
