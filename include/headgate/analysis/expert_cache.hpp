// How many of a text's uses of experts find them in memory: in a cache of c experts of a layer, for every c at once,
// and in a prefetch of the experts that were predicted. One pass over a stack per policy (Mattson et al. 1970): a cache
// of c holds its first c, and of the token that comes next all experts are looked up before any of them is pushed.
//   lru     the one used longest ago leaves
//   belady  the one whose next use, beyond what will be prefetched, is farthest leaves (Belady 1966): the best there is
//           where uses come one by one; that a token's come together is not made use of
// No cache at all is c = 0: what is left then is the prefetch. So belady(c) >= lru(c) >= lru(0) for every text and c.
// Follows the cache curves of ljcleo/moe-lrc, with FirstUse::hits_while_room; its numbers on a small trace are in the
// tests.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "headgate/core/error.hpp"
#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

enum class Eviction : std::uint8_t { lru, belady };

// An expert that no token before used.
enum class FirstUse : std::uint8_t {
  misses,           // it has to be loaded
  hits_while_room,  // a cache that is not full yet had it from the start
};

// Experts that are there when their token comes, whatever the cache holds: the first `count` of its row.
struct Prefetch {
  const RoutingPlan* predicted = nullptr;  // of the same tokens and experts; null: none
  index_t count = 0;
};

// Of one layer and text; curves of several add up.
struct CacheCurve {
  std::vector<std::int64_t> hits;  // (experts + 1): with a cache of c experts
  std::int64_t uses = 0;

  double rate(index_t c) const noexcept {
    return uses == 0 ? std::numeric_limits<double>::quiet_NaN()
                     : static_cast<double>(hits[as_size(c)]) / static_cast<double>(uses);
  }
  CacheCurve& operator+=(const CacheCurve& other) {
    hits.resize(std::max(hits.size(), other.hits.size()));
    for (std::size_t c = 0; c < hits.size(); ++c) hits[c] += other.hits[std::min(c, other.hits.size() - 1)];
    uses += other.uses;
    return *this;
  }
};

// used: what one layer chose, a row a token in the order of the text. Throws usage where a prefetch is of other tokens
// or experts.
inline CacheCurve cache_curve(const RoutingPlan& used, Eviction eviction, FirstUse first_use,
                              const Prefetch& prefetch = {}) {
  const RoutingPlan* const predicted = prefetch.count == 0 ? nullptr : prefetch.predicted;
  if (prefetch.count < 0) throw_if_error(Status::mismatch("experts to prefetch, at least", prefetch.count, 0));
  if (predicted != nullptr && predicted->tokens() != used.tokens()) {
    throw_if_error(Status::mismatch("tokens of the prediction", predicted->tokens(), used.tokens()));
  }
  if (predicted != nullptr && predicted->num_experts() != used.num_experts()) {
    throw_if_error(Status::mismatch("experts of the prediction", predicted->num_experts(), used.num_experts()));
  }
  const auto experts = as_size(used.num_experts());
  const auto is_there = [&](index_t t, ExpertId e) {
    if (predicted == nullptr) return false;
    const std::span<const ExpertId> row = predicted->experts(t);
    const auto end = row.begin() + std::min<std::ptrdiff_t>(prefetch.count, std::ssize(row));
    return std::find(row.begin(), end, e) != end;
  };

  // For every use the token of the next one that is not prefetched; past the end no two are the same.
  std::vector<std::int64_t> next(as_size(used.entries()));
  std::vector<std::int64_t> after(experts, -1);
  for (index_t t = used.tokens() - 1; t >= 0; --t) {
    const auto first = as_size(used.offsets()[as_size(t)]);
    const std::span<const ExpertId> row = used.experts(t);
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::int64_t later = after[as_size(row[i])];
      next[first + i] = later >= 0 ? later : max_index + static_cast<std::int64_t>(first + i);
      if (!is_there(t, row[i])) after[as_size(row[i])] = t;
    }
  }

  std::vector<std::int64_t> hits_at(experts + 1);  // by the least c that has the expert
  std::vector<std::int64_t> next_use(experts);
  std::vector<ExpertId> stack;
  for (index_t t = 0; t < used.tokens(); ++t) {
    const std::span<const ExpertId> row = used.experts(t);
    std::size_t seen = stack.size();
    for (const ExpertId e : row) {
      const auto place = std::find(stack.begin(), stack.end(), e) - stack.begin();
      const bool is_new = place == std::ssize(stack);
      const std::size_t least = is_there(t, e) ? 0 : is_new ? seen + 1 : static_cast<std::size_t>(place) + 1;
      seen += is_new ? 1 : 0;
      if (least == 0 || !is_new || first_use == FirstUse::hits_while_room) ++hits_at[least];
    }
    for (std::size_t i = 0; i < row.size(); ++i) {
      const ExpertId e = row[i];
      const auto hole = std::find(stack.begin(), stack.end(), e);
      const auto depth = static_cast<std::size_t>(hole - stack.begin());
      if (hole == stack.end()) stack.push_back(e);
      next_use[as_size(e)] = next[as_size(used.offsets()[as_size(t)]) + i];
      // On top; what stood there goes down, and at every place that which leaves later stays.
      ExpertId carried = e;
      for (std::size_t d = 0; d < depth; ++d) {
        const bool stays =
            d > 0 && eviction == Eviction::belady && next_use[as_size(carried)] >= next_use[as_size(stack[d])];
        if (!stays) std::swap(stack[d], carried);
      }
      stack[depth] = carried;
    }
  }

  CacheCurve curve{{}, used.entries()};
  std::int64_t sum = 0;
  for (const std::int64_t hits : hits_at) curve.hits.push_back(sum += hits);
  return curve;
}

}  // namespace headgate::inline HEADGATE_ABI
