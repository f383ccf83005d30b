// Null experts (AdaMoE, Zeng et al. 2024, arXiv 2406.13233, section 3.2): behind its n true experts a router has m null
// ones that compute nothing, so that a token takes as many true experts as it needs, at most k:
//   s = Score(z) over n + m logits; A = the chosen that are true; w_e = Weigh(s_e, e in A); A empty: the row is empty
//   and the layer's output exactly 0
// AdaMoE's own: softmax, top k, w_e = s_e / sum_A s. Follows its exp_2 code: nulls are the last ids and take no weight
// with them. Identity experts, which do, are experts of the bank: experts/zero_compute.hpp. m = 0 is the router without
// nulls.
#pragma once

#include "headgate/kernels/native.hpp"
#include "headgate/routing/staged_router.hpp"
#include "headgate/routing/stages/top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

// A weigh stage that drops the chosen ids from num_true up and weighs the others. Outermost, for plans know only these.
template <WeighStage Weigh>
struct DropNull {
  index_t num_true;
  Weigh weigh;

  static constexpr bool needs_nonnegative_scores = Weigh::needs_nonnegative_scores;
  static constexpr bool never_negative(bool scores) noexcept { return Weigh::never_negative(scores); }
  constexpr index_t num_experts(index_t /*num_logits*/) const noexcept { return num_true; }
  WeightSum sum(WeightSum scores) const noexcept {
    const WeightSum kept = weigh.sum(scores);
    if (kept.kind == RowSum::one) return {RowSum::zero_or_one};
    return kept.kind == RowSum::constant ? WeightSum{RowSum::free} : kept;
  }
  Status check() const noexcept { return weigh.check(); }
  template <class Backend>
  index_t apply(std::span<ExpertId> experts, std::span<float> weights) const noexcept {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < experts.size(); ++i) {
      if (experts[i] >= num_true) continue;
      experts[kept] = experts[i];
      weights[kept++] = weights[i];
    }
    return weigh.template apply<Backend>(experts.first(kept), weights.first(kept));
  }
};
static_assert(WeighStage<DropNull<Renormalize>>);

// Any staged router with null experts.
template <ScoreStage Score, SelectStage Select, WeighStage Weigh, class Backend = NativeBackend>
using NullExpertRouter = StagedRouter<Score, Select, DropNull<Weigh>, Backend>;

// The gate has n + m rows, and so have bias and mask where there are any; of other stages the same way.
template <class Backend = NativeBackend, ScoreStage Score = SoftmaxScore, SelectStage Select, WeighStage Weigh>
Expected<NullExpertRouter<Score, Select, Weigh, Backend>> with_null_experts(const GateWeights& weights,
                                                                            index_t null_experts, Select select,
                                                                            Weigh weigh, Score score = {}) {
  if (null_experts < 0) return Status::mismatch("null experts, at least", null_experts, 0);
  const DropNull<Weigh> drop{weights.gate.rows - null_experts, weigh};
  return NullExpertRouter<Score, Select, Weigh, Backend>::create(weights, select, drop, score);
}
// Table of routers: adamoe_router, with_null_experts | null experts, so that k adapts | Zeng et al. 2024, 2406.13233
// AdaMoE: k counts true and null.
template <class Backend = NativeBackend>
Expected<NullExpertRouter<SoftmaxScore, TopK, Renormalize, Backend>> adamoe_router(const GateWeights& weights,
                                                                                   index_t null_experts, index_t k) {
  return with_null_experts<Backend>(weights, null_experts, TopK{k}, Renormalize{});
}

// What null experts save, counted from plans of a router that chooses k a token.
class NullExpertCount {
 public:
  explicit constexpr NullExpertCount(index_t k) noexcept : k_(k) {}

  void add(const RoutingPlan& plan) noexcept {
    tokens_ += plan.tokens();
    true_experts_ += plan.entries();
  }
  constexpr std::int64_t tokens() const noexcept { return tokens_; }
  // Rows that a feed-forward network computes, and those that it would have computed without nulls.
  constexpr std::int64_t ffn_rows() const noexcept { return true_experts_; }
  constexpr std::int64_t ffn_rows_saved() const noexcept { return tokens_ * k_ - true_experts_; }
  // 0 where no token was counted.
  constexpr double true_experts_per_token() const noexcept {
    return tokens_ == 0 ? 0.0 : static_cast<double>(true_experts_) / static_cast<double>(tokens_);
  }

 private:
  index_t k_;
  std::int64_t tokens_ = 0;
  std::int64_t true_experts_ = 0;
};

}  // namespace headgate::inline HEADGATE_ABI
