// Positive: every expert whose key is above 0, best first: no k, rows from empty to full. What routers with a ReLU gate
// select by (routing/relu_router.hpp, routing/block_ffn_router.hpp), and those with thresholds, which are selection
// biases below 0 (routing/dynmoe_router.hpp).
#pragma once

#include <limits>

#include "headgate/core/exactly_equal.hpp"
#include "headgate/routing/stages/select.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Positive {
  index_t k_max = 0;     // experts per token at most; 0: no limit
  bool or_best = false;  // where no key is positive, the unmasked expert with the largest score

  static constexpr bool needs_nonnegative_scores = false;
  Status check(index_t num_experts) const noexcept {
    if (k_max < 0) return Status::mismatch("k_max of positive scores, at least", k_max, 0);
    if (k_max > num_experts) return Status::mismatch("k_max of positive scores against experts", k_max, num_experts);
    return Status::success();
  }
  index_t min_k(index_t num_experts) const noexcept { return or_best && num_experts > 0 ? 1 : 0; }
  index_t max_k(index_t num_experts) const noexcept { return k_max == 0 || k_max > num_experts ? num_experts : k_max; }
  Positive with_k(index_t k) const noexcept { return {k, or_best}; }

  template <class Backend>
  index_t choose(std::span<const float> keys, std::span<const float> scores,
                 std::span<ExpertId> chosen) const noexcept {
    const auto num_experts = static_cast<index_t>(keys.size());
    index_t positive = 0;
    for (const float key : keys) positive += key > 0.0f ? 1 : 0;
    if (or_best && positive == 0) return choose_best(keys, scores, chosen);
    const index_t most = max_k(num_experts);
    return Backend::top_k(keys.data(), num_experts, positive < most ? positive : most, chosen.data());
  }

 private:
  static index_t choose_best(std::span<const float> keys, std::span<const float> scores,
                             std::span<ExpertId> chosen) noexcept {
    index_t found = 0;
    for (std::size_t e = 0; e < keys.size(); ++e) {
      if (exactly_equal(keys[e], -std::numeric_limits<float>::infinity())) continue;  // masked
      if (found == 1 && !(scores[e] > scores[as_size(chosen[0])])) continue;
      chosen[0] = static_cast<ExpertId>(e);
      found = 1;
    }
    return found;
  }
};
static_assert(SelectStage<Positive>);

}  // namespace headgate::inline HEADGATE_ABI
