// TransitionCounts: how often a token of an expert of one layer used an expert of a later one, and so how many of the
// later layer's uses are among c experts that were fetched knowing the earlier expert. Of a recorded trace, or of
// counts that somebody published (the cross-layer counts of OLMoE's authors, Muennighoff et al. 2024, arXiv
// 2409.02060).
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "headgate/core/error.hpp"
#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

class TransitionCounts {
 public:
  // Throws where there are no experts.
  TransitionCounts(index_t from_experts, index_t to_experts) : from_(from_experts), to_(to_experts) {
    for (const index_t experts : {from_experts, to_experts}) {
      if (experts < 1) throw_if_error(Status::mismatch("experts of a layer, at least", experts, 1));
    }
    counts_.resize(as_size(from_) * as_size(to_));
  }

  void add(ExpertId from, ExpertId to, std::int64_t times = 1) {
    if (from < 0 || from >= from_) throw_if_error(Status::mismatch("expert id", from, from_ - 1));
    if (to < 0 || to >= to_) throw_if_error(Status::mismatch("expert id", to, to_ - 1));
    counts_[as_size(from) * as_size(to_) + as_size(to)] += times;
  }
  // Plans of the same tokens: every pair of an earlier and a later expert of a token counts.
  void add(const RoutingPlan& earlier, const RoutingPlan& later) {
    if (earlier.tokens() != later.tokens())
      throw_if_error(Status::mismatch("tokens of the later plan", later.tokens(), earlier.tokens()));
    for (index_t t = 0; t < earlier.tokens(); ++t) {
      for (const ExpertId from : earlier.experts(t)) {
        for (const ExpertId to : later.experts(t)) add(from, to);
      }
    }
  }

  std::int64_t pairs() const noexcept {
    std::int64_t sum = 0;
    for (const std::int64_t count : counts_) sum += count;
    return sum;
  }
  // The share of all pairs whose later expert is among the c that most often came with the earlier one. NaN: of no
  // pairs.
  double hit_rate(index_t c) const {
    std::int64_t hits = 0;
    for (index_t from = 0; from < from_; ++from) {
      const auto row = counts_.begin() + static_cast<std::ptrdiff_t>(from) * to_;
      hits += largest({row, row + to_}, c);
    }
    return share(hits);
  }
  // The same for the c most used of the later layer, whatever came before: never above hit_rate(c).
  double hit_rate_by_load(index_t c) const {
    std::vector<std::int64_t> loads(as_size(to_));
    for (std::size_t i = 0; i < counts_.size(); ++i) loads[i % as_size(to_)] += counts_[i];
    return share(largest(std::move(loads), c));
  }

 private:
  // The sum of the c largest.
  static std::int64_t largest(std::vector<std::int64_t> counts, index_t c) {
    std::sort(counts.rbegin(), counts.rend());
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < std::min<std::int64_t>(c, std::ssize(counts)); ++i) sum += counts[as_size(i)];
    return sum;
  }
  double share(std::int64_t hits) const noexcept {
    const std::int64_t all = pairs();
    return all == 0 ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(hits) / static_cast<double>(all);
  }

  index_t from_;
  index_t to_;
  std::vector<std::int64_t> counts_;  // (from, to)
};

}  // namespace headgate::inline HEADGATE_ABI
