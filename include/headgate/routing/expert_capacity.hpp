// Expert capacity: how many tokens an expert takes of a batch before it is full, as the code of each router counts it;
// limit_capacity of routing/plan_transform.hpp then drops the others. T tokens, E experts, k choices, factor f:
//   Switch   max(round(f T / E), 4)                  Fedus et al. 2021, arXiv 2101.03961; flaxformer, halves to even
//   GShard   max(ceil(2 f T / E), least)             Lepikhin et al. 2020, arXiv 2006.16668; DeepSpeed's top2gating
//   Tutel    f > 0: k floor(f ceil(T / E)); f = 0: the largest need; f < 0: of both, with -f, the smaller;
//            up to a multiple of alignment           Hwang et al. 2022, arXiv 2206.03382; extract_critical
//   OpenMoE  floor(k f T / E), one more if odd, at least 4; also where it only infers
//                                                    Xue et al. 2024, arXiv 2402.01739; ColossalAI's routers.py
// Preconditions of all: T >= 0, E >= 1, k >= 1, factors finite. All count the choices of one rank in token order, first
// choices before second ones, so it is the end of a sequence that goes without: count_dropped says how much of it.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace detail {
// A count that came out of floating-point arithmetic, brought into the range of counts.
inline index_t as_capacity(double count) noexcept {
  return static_cast<index_t>(std::clamp(count, 0.0, static_cast<double>(max_index)));
}
}  // namespace detail

inline index_t switch_capacity(index_t tokens, index_t num_experts, double factor, index_t at_least = 4) noexcept {
  const double exact = factor * static_cast<double>(tokens) / static_cast<double>(num_experts);
  const double below = std::floor(exact);
  const bool is_up = exact - below > 0.5 || (exact - below >= 0.5 && std::fmod(below, 2.0) > 0.0);
  return std::max(detail::as_capacity(below + (is_up ? 1.0 : 0.0)), at_least);
}

// In float, as DeepSpeed has it.
inline index_t gshard_capacity(index_t tokens, index_t num_experts, float factor, index_t at_least) noexcept {
  const auto share = static_cast<float>(static_cast<double>(tokens) / static_cast<double>(num_experts));
  return std::max(detail::as_capacity(static_cast<double>(std::ceil(share * (2.0f * factor)))), at_least);
}

// need: the most entries that an expert has in the plan; read where factor <= 0.
inline index_t tutel_capacity(index_t tokens, index_t num_experts, index_t k, double factor, index_t need,
                              index_t alignment = 1) noexcept {
  const double share = static_cast<double>(divide_up(tokens, num_experts));
  const auto of = [&](double f) { return detail::as_capacity(static_cast<double>(k) * std::trunc(f * share)); };
  const index_t capacity = factor > 0.0 ? of(factor) : factor < 0.0 ? std::min(need, of(-factor)) : need;
  const index_t beyond = capacity % alignment;
  return beyond == 0 || capacity > max_index - alignment ? capacity : capacity + alignment - beyond;
}

inline index_t openmoe_capacity(index_t tokens, index_t num_experts, index_t k, double factor,
                                index_t at_least = 4) noexcept {
  const double exact = static_cast<double>(k) * factor * static_cast<double>(tokens) / static_cast<double>(num_experts);
  const index_t capacity = detail::as_capacity(std::min(std::floor(exact), static_cast<double>(max_index - 1)));
  return std::max(capacity + capacity % 2, at_least);
}

// The most entries that an expert has: the need of tutel_capacity.
inline index_t largest_load(const RoutingPlan& plan, Workspace& workspace) {
  const Workspace::Mark mark(workspace);
  const std::span<index_t> loads = workspace.take<index_t>(plan.num_experts());
  std::fill(loads.begin(), loads.end(), 0);
  index_t largest = 0;
  for (const ExpertId e : plan.experts()) largest = std::max(largest, ++loads[as_size(e)]);
  return largest;
}

// How many entries of `before` are not in `after`, by place in the sequence: dropped[i] is of the i-th of
// dropped.size() nearly equal parts of each sequence of so many rows, all sequences added up ("drop towards the end" of
// OpenMoE). Plans have the same rows, after being what a transform left of before.
inline Status count_dropped(const RoutingPlan& before, const RoutingPlan& after, index_t sequence_length,
                            std::span<std::int64_t> dropped) {
  if (after.tokens() != before.tokens()) {
    return Status::mismatch("rows of a plan after dropping against before", after.tokens(), before.tokens());
  }
  if (sequence_length < 1) return Status::mismatch("rows of a sequence, at least", sequence_length, 1);
  if (dropped.empty()) return Status::mismatch("parts of a sequence, at least", 0, 1);
  std::fill(dropped.begin(), dropped.end(), 0);
  for (index_t t = 0; t < before.tokens(); ++t) {
    const std::int64_t lost = std::ssize(before.experts(t)) - std::ssize(after.experts(t));
    if (lost < 0) {
      Status status{ErrorCode::usage, "a row has more entries after dropping than before"};
      status.token = t;
      return status;
    }
    dropped[as_size(t % sequence_length) * dropped.size() / as_size(sequence_length)] += lost;
  }
  return Status::success();
}

}  // namespace headgate::inline HEADGATE_ABI
