// TopK: the k experts with the largest keys, or all that are not masked where these are fewer (Shazeer et al. 2017,
// "Outrageously Large Neural Networks", eq. 3-5; k = 1 is Switch's argmax).
#pragma once

#include "headgate/routing/stages/select.hpp"

namespace headgate::inline HEADGATE_ABI {

struct TopK {
  index_t k;

  static constexpr bool needs_nonnegative_scores = false;
  Status check(index_t num_experts) const noexcept {
    if (k < 1) return Status::mismatch("k of top-k, at least", k, 1);
    if (k > num_experts) return Status::mismatch("k of top-k against experts", k, num_experts);
    return Status::success();
  }
  index_t min_k(index_t num_experts) const noexcept { return max_k(num_experts); }
  index_t max_k(index_t num_experts) const noexcept { return k < num_experts ? k : num_experts; }
  TopK with_k(index_t other) const noexcept { return {other}; }

  template <class Backend>
  index_t choose(std::span<const float> keys, std::span<const float> /*scores*/,
                 std::span<ExpertId> chosen) const noexcept {
    return Backend::top_k(keys.data(), static_cast<index_t>(keys.size()), k, chosen.data());
  }
};
static_assert(SelectStage<TopK>);

}  // namespace headgate::inline HEADGATE_ABI
