// Plan transforms: plan -> plan, between a router and a bank. To compose them, keep this order: ablate,
// drop_below_ratio or keep_first, limit_capacity, split_by_rank, remap. Only remap makes columns that were not there.
// Input and output are different plans; rows keep their order of selection; on an error the output is of no use.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "headgate/core/exactly_equal.hpp"
#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

// What happens to the weights of a row that loses entries.
enum class WeightsAfterDrop : std::uint8_t {
  as_they_are,
  same_sum,  // multiplied, so that the row adds up to what it did; where what remains adds up to 0, as they are
};

// Who is served first where an expert takes only so many tokens. In both, all first choices come before all second
// ones.
enum class CapacityOrder : std::uint8_t {
  token,     // by position: Switch (Fedus 2021), GShard (Lepikhin 2020)
  priority,  // by the token's largest weight, ties to the earlier token: V-MoE (Riquelme 2021, section 4.1)
};

// Makes equal ids of a row one entry, at the place of the first, with the sum of their weights in their order. Returns
// how many entries there are then. table: ExpertPlaces::slots_for(entries) zeros, and left so.
inline index_t merge_row(std::span<ExpertId> experts, std::span<float> weights, std::span<index_t> table) noexcept {
  ExpertPlaces places(table, static_cast<index_t>(experts.size()));
  std::size_t merged = 0;
  for (std::size_t i = 0; i < experts.size(); ++i) {
    const index_t place = places.find_or_enter(experts.first(merged), experts[i]);
    if (place >= 0) {
      weights[as_size(place)] += weights[i];
      continue;
    }
    experts[merged] = experts[i];
    weights[merged++] = weights[i];
  }
  return static_cast<index_t>(merged);
}

// Appends rows whose ids may repeat.
class MergingAppender {
 public:
  explicit MergingAppender(RoutingPlan& plan) noexcept : plan_(plan) {}
  Status append_row(std::span<const ExpertId> experts, std::span<const float> weights) {
    if (experts.size() != weights.size()) return plan_.append_row(experts, weights);  // refuses
    experts_.assign(experts.begin(), experts.end());
    weights_.assign(weights.begin(), weights.end());
    const auto entries = static_cast<index_t>(experts.size());
    slots_.resize(std::max(slots_.size(), as_size(ExpertPlaces::slots_for(entries))));
    const std::size_t merged = as_size(merge_row(experts_, weights_, slots_));
    return plan_.append_row(std::span(experts_).first(merged), std::span(weights_).first(merged));
  }

 private:
  RoutingPlan& plan_;
  std::vector<ExpertId> experts_;
  std::vector<float> weights_;
  std::vector<index_t> slots_;  // zeros between calls
};

namespace detail {
inline Status start_transform(const RoutingPlan& plan, index_t num_experts, RoutingPlan& out) {
  if (&plan == &out) return {ErrorCode::usage, "output of a plan transform is its input"};
  out.clear(num_experts);
  return out.reserve(plan.tokens(), plan.entries());
}

// The entries for which keep(token, position in the row) is true.
template <class Keep>
Status filter(const RoutingPlan& plan, WeightsAfterDrop after, Keep keep, RoutingPlan& out) {
  if (Status status = start_transform(plan, plan.num_experts(), out); !status.ok()) return status;
  std::vector<ExpertId> experts;
  std::vector<float> weights;
  for (index_t t = 0; t < plan.tokens(); ++t) {
    experts.clear();
    weights.clear();
    float before = 0.0f;
    float left = 0.0f;
    for (std::size_t i = 0; i < plan.experts(t).size(); ++i) {
      const float weight = plan.weights(t)[i];
      before += weight;
      if (!keep(t, i)) continue;
      left += weight;
      experts.push_back(plan.experts(t)[i]);
      weights.push_back(weight);
    }
    if (after == WeightsAfterDrop::same_sum && !exactly_equal(left, 0.0f) && experts.size() < plan.experts(t).size()) {
      for (float& w : weights) w *= before / left;
    }
    if (Status status = out.append_row(experts, weights); !status.ok()) return status;
  }
  return Status::success();
}

// The tokens in the order in which they are served.
inline std::vector<index_t> tokens_by(std::span<const float> priorities) {
  std::vector<index_t> tokens(priorities.size());
  for (std::size_t t = 0; t < tokens.size(); ++t) tokens[t] = static_cast<index_t>(t);
  std::stable_sort(tokens.begin(), tokens.end(),
                   [&](index_t a, index_t b) { return priorities[as_size(a)] > priorities[as_size(b)]; });
  return tokens;
}
inline std::vector<index_t> tokens_by(CapacityOrder order, const RoutingPlan& plan) {
  std::vector<float> priorities(as_size(plan.tokens()), -std::numeric_limits<float>::infinity());  // of an empty row
  for (index_t t = 0; t < plan.tokens(); ++t) {
    float& largest = priorities[as_size(t)];
    for (const float w : plan.weights(t)) largest = w > largest ? w : largest;
    if (order == CapacityOrder::token) largest = 0.0f;
  }
  return tokens_by(priorities);
}

// waiting: the tokens with an entry of the current rank, in the order of service; at first all.
inline Status limit_capacity(const RoutingPlan& plan, index_t capacity, std::vector<index_t> waiting,
                             WeightsAfterDrop after, RoutingPlan& out) {
  if (capacity < 0) return Status::mismatch("capacity of an expert, at least", capacity, 0);
  std::vector<std::uint8_t> kept(as_size(plan.entries()));
  std::vector<index_t> load(as_size(plan.num_experts()));
  for (std::size_t rank = 0; !waiting.empty(); ++rank) {
    std::size_t still = 0;
    for (const index_t t : waiting) {
      if (rank >= plan.experts(t).size()) continue;
      index_t& taken = load[as_size(plan.experts(t)[rank])];
      if (taken < capacity) {
        ++taken;
        kept[as_size(plan.offsets()[as_size(t)]) + rank] = 1;
      }
      waiting[still++] = t;
    }
    waiting.resize(still);
  }
  return filter(
      plan, after, [&](index_t t, std::size_t i) { return kept[as_size(plan.offsets()[as_size(t)]) + i] != 0; }, out);
}
}  // namespace detail

// Without the experts whose mask is 0. mask: (num_experts).
inline Status ablate(const RoutingPlan& plan, std::span<const std::uint8_t> mask, WeightsAfterDrop after,
                     RoutingPlan& out) {
  if (mask.size() != as_size(plan.num_experts())) {
    return Status::mismatch("size of an ablation mask against experts", static_cast<std::int64_t>(mask.size()),
                            plan.num_experts());
  }
  return detail::filter(
      plan, after, [&](index_t t, std::size_t i) { return mask[as_size(plan.experts(t)[i])] != 0; }, out);
}

// Table of structures: drop_below_ratio | a plan without entries that weigh little beside the first of their row |
//   Huang et al. 2024, 2410.06270
// Without the entries whose weight is less than ratio times the largest of the row, in magnitude. ratio in [0, 1]; 0
// drops nothing. exempt: (tokens) not 0: all of its row stays; or empty. The rule of MC-MoE (Huang et al. 2024, arXiv
// 2410.06270, online dynamic pruning): of two experts the second is skipped if w_2 < ratio w_1, but for the tokens that
// others attend to; what is left of a row then takes all of its weight (same_sum).
inline Status drop_below_ratio(const RoutingPlan& plan, float ratio, WeightsAfterDrop after, RoutingPlan& out,
                               std::span<const std::uint8_t> exempt = {}) {
  if (!(ratio >= 0.0f && ratio <= 1.0f)) return {ErrorCode::usage, "ratio of drop_below_ratio is not in [0, 1]"};
  if (!exempt.empty() && exempt.size() != as_size(plan.tokens())) {
    return Status::mismatch("size of exempt against tokens", static_cast<std::int64_t>(exempt.size()), plan.tokens());
  }
  const auto magnitude = [](float w) { return w < 0.0f ? -w : w; };
  index_t of_token = -1;
  float largest = 0.0f;
  const auto keep = [&](index_t t, std::size_t i) {
    if (!exempt.empty() && exempt[as_size(t)] != 0) return true;
    if (t != of_token) {
      of_token = t;
      largest = 0.0f;
      for (const float w : plan.weights(t)) largest = magnitude(w) > largest ? magnitude(w) : largest;
    }
    return magnitude(plan.weights(t)[i]) >= ratio * largest;
  };
  return detail::filter(plan, after, keep, out);
}

// The first k[t] choices of token t, all where there are no more. k: (tokens), not negative (Ada-K: who says how many
// is routing/k_allocator.hpp).
inline Status keep_first(const RoutingPlan& plan, std::span<const index_t> k, WeightsAfterDrop after,
                         RoutingPlan& out) {
  if (k.size() != as_size(plan.tokens())) {
    return Status::mismatch("numbers of choices to keep against tokens", static_cast<std::int64_t>(k.size()),
                            plan.tokens());
  }
  for (index_t t = 0; t < plan.tokens(); ++t) {
    if (k[as_size(t)] >= 0) continue;
    Status status = Status::mismatch("choices of a token to keep, at least", k[as_size(t)], 0);
    status.token = t;
    return status;
  }
  return detail::filter(plan, after, [&](index_t t, std::size_t i) { return i < as_size(k[as_size(t)]); }, out);
}

// No expert takes more than `capacity` tokens; who comes too late loses that entry. Couples the rows of a batch. What
// the routers' code has for a capacity: routing/expert_capacity.hpp.
inline Status limit_capacity(const RoutingPlan& plan, index_t capacity, CapacityOrder order, WeightsAfterDrop after,
                             RoutingPlan& out) {
  return detail::limit_capacity(plan, capacity, detail::tokens_by(order, plan), after, out);
}
// In the order of priorities (tokens) of one's own, largest first, ties to the earlier token: Tutel takes the largest
// score of a token, which its weights no longer are where they were divided by their sum.
inline Status limit_capacity(const RoutingPlan& plan, index_t capacity, std::span<const float> priorities,
                             WeightsAfterDrop after, RoutingPlan& out) {
  if (priorities.size() != as_size(plan.tokens())) {
    return Status::mismatch("priorities against tokens", static_cast<std::int64_t>(priorities.size()), plan.tokens());
  }
  for (index_t t = 0; t < plan.tokens(); ++t) {
    if (std::isnan(priorities[as_size(t)])) return Status::not_finite("priority of a token is not a number", -1, t, -1);
  }
  return detail::limit_capacity(plan, capacity, detail::tokens_by(priorities), after, out);
}

// The first `rank` choices of every token, and the rest.
inline Status split_by_rank(const RoutingPlan& plan, index_t rank, RoutingPlan& first, RoutingPlan& rest) {
  if (rank < 0) return Status::mismatch("rank to split a plan at, at least", rank, 0);
  if (&first == &rest) return {ErrorCode::usage, "both outputs of split_by_rank are one plan"};
  constexpr auto as_is = WeightsAfterDrop::as_they_are;
  const Status status = detail::filter(plan, as_is, [&](index_t, std::size_t i) { return i < as_size(rank); }, first);
  if (!status.ok()) return status;
  return detail::filter(plan, as_is, [&](index_t, std::size_t i) { return i >= as_size(rank); }, rest);
}

// Expert e becomes table[e], one of num_experts new ones; entries that meet are merged (merged experts, placement). The
// table may lie in the output.
inline Status remap(const RoutingPlan& plan, std::span<const ExpertId> table, index_t num_experts, RoutingPlan& out) {
  if (table.size() != as_size(plan.num_experts())) {
    return Status::mismatch("size of a remap table against experts", static_cast<std::int64_t>(table.size()),
                            plan.num_experts());
  }
  if (num_experts < 0) return Status::mismatch("experts after remap, at least", num_experts, 0);
  for (std::size_t e = 0; e < table.size(); ++e) {
    if (table[e] >= 0 && table[e] < num_experts) continue;
    Status status = Status::mismatch("id in a remap table", table[e], num_experts - 1);
    status.expert = static_cast<ExpertId>(e);
    return status;
  }
  const std::vector<ExpertId> new_ids(table.begin(), table.end());
  if (Status status = detail::start_transform(plan, num_experts, out); !status.ok()) return status;
  MergingAppender merging(out);
  std::vector<ExpertId> experts;
  for (index_t t = 0; t < plan.tokens(); ++t) {
    experts.clear();
    for (const ExpertId e : plan.experts(t)) experts.push_back(new_ids[as_size(e)]);
    if (Status status = merging.append_row(experts, plan.weights(t)); !status.ok()) return status;
  }
  return Status::success();
}

}  // namespace headgate::inline HEADGATE_ABI
