// TopP: the best experts until their scores add up to p, the one that reaches it included (Huang et al. 2024, "Harder
// Tasks Need More Experts", section 3.2; 2403.07652, p = 0.4). Where rounding or a mask keeps the sum below p, all
// unmasked experts are chosen. Differs: limits that the paper does not have, k_max and k_min (min_experts_to_keep of
// Glider, which has top-p as an option).
#pragma once

#include "headgate/routing/stages/select.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of routers: SoftmaxScore, TopP | the fewest that reach probability p | Huang et al. 2024, 2403.07652
struct TopP {
  float p;            // in (0, 1]
  index_t k_max = 0;  // experts per token at most; 0: no limit
  index_t k_min = 1;  // and at least, p or not

  static constexpr bool needs_nonnegative_scores = true;
  Status check(index_t num_experts) const noexcept {
    if (!(p > 0.0f && p <= 1.0f)) return {ErrorCode::usage, "p of top-p is not in (0, 1]"};
    if (k_max < 0) return Status::mismatch("k_max of top-p, at least", k_max, 0);
    if (k_max > num_experts) return Status::mismatch("k_max of top-p against experts", k_max, num_experts);
    if (k_min < 1) return Status::mismatch("k_min of top-p, at least", k_min, 1);
    if (k_min > max_k(num_experts)) return Status::mismatch("k_min of top-p against k_max", k_min, max_k(num_experts));
    return Status::success();
  }
  index_t min_k(index_t num_experts) const noexcept { return k_min < num_experts ? k_min : num_experts; }
  index_t max_k(index_t num_experts) const noexcept { return k_max == 0 || k_max > num_experts ? num_experts : k_max; }
  TopP with_k(index_t k) const noexcept { return {p, k, k < k_min ? k : k_min}; }

  template <class Backend>
  index_t choose(std::span<const float> keys, std::span<const float> scores,
                 std::span<ExpertId> chosen) const noexcept {
    const auto num_experts = static_cast<index_t>(keys.size());
    const index_t most = max_k(num_experts);
    float sum = 0.0f;
    index_t taken = 0;
    // Few experts mostly suffice, and top_k gets dearer with k: so ask for 8, then for four times as many.
    for (index_t k = most < 8 ? most : 8;; k = k > most / 4 ? most : 4 * k) {
      const index_t found = Backend::top_k(keys.data(), num_experts, k, chosen.data());
      while (taken < found) {
        sum += scores[as_size(chosen[as_size(taken++)])];
        if (sum >= p && taken >= k_min) return taken;
      }
      if (k == most || found < k) return taken;
    }
  }
};
static_assert(SelectStage<TopP>);

}  // namespace headgate::inline HEADGATE_ABI
