// TokenExpertCounts: how often each token id was sent to each expert of a layer, and the hash tables
// (routing/hash_router.hpp) that this teaches, of a model whose routing is near a function of the token (Xue et al.
// 2024, "OpenMoE", arXiv 2402.01739):
//   most_frequent(k)  the k experts that saw the token most often; for ids that never came, those most used of all
//   balanced(k)       ids by falling frequency, each to the k experts with the least load so far, of equal ones those
//                     that saw it most often: the balanced hash of Roller et al. 2021 (arXiv 2106.04426), which has no
//                     counts. No two loads differ by more than the most frequent id weighs.
// Ties go to the lower expert, and to the lower id. Rows of a table are best first.
#pragma once

#include <algorithm>
#include <map>
#include <numeric>
#include <span>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

class TokenExpertCounts {
 public:
  // Throws where a size is below 1.
  TokenExpertCounts(index_t vocabulary, index_t num_experts) : num_experts_(num_experts) {
    for (const index_t size : {vocabulary, num_experts}) {
      if (size < 1) throw_if_error(Status::mismatch("token ids or experts to count, at least", size, 1));
    }
    seen_.resize(as_size(vocabulary));
    times_.resize(as_size(vocabulary));
    loads_.resize(as_size(num_experts));
  }

  // The plan of the tokens with these ids. Throws where they do not fit; then nothing is counted.
  void add(std::span<const std::int32_t> token_ids, const RoutingPlan& plan) {
    const auto ids = static_cast<std::int64_t>(token_ids.size());
    if (ids != plan.tokens()) throw_if_error(Status::mismatch("token ids against tokens", ids, plan.tokens()));
    if (plan.num_experts() != num_experts_)
      throw_if_error(Status::mismatch("experts of the plan against experts counted", plan.num_experts(), num_experts_));
    for (const std::int32_t id : token_ids) {
      if (id < 0 || id >= vocabulary()) throw_if_error(Status::mismatch("token id", id, vocabulary() - 1));
    }
    for (index_t t = 0; t < plan.tokens(); ++t) {
      const std::size_t id = as_size(token_ids[as_size(t)]);
      ++times_[id];
      for (const ExpertId e : plan.experts(t)) {
        ++seen_[id][e];
        ++loads_[as_size(e)];
      }
    }
  }

  index_t vocabulary() const noexcept { return static_cast<index_t>(seen_.size()); }
  index_t num_experts() const noexcept { return num_experts_; }
  std::int64_t times(std::int32_t id) const noexcept { return times_[as_size(id)]; }
  std::int64_t count(std::int32_t id, ExpertId expert) const noexcept {
    const auto found = seen_[as_size(id)].find(expert);
    return found == seen_[as_size(id)].end() ? 0 : found->second;
  }

  // (vocabulary, k), for HashRouter::create. Throws where k is not from 1 to num_experts.
  std::vector<ExpertId> most_frequent(index_t k) const {
    check(k);
    std::vector<ExpertId> table;
    for (std::int32_t id = 0; id < vocabulary(); ++id) {
      append_best(k, table, [&](ExpertId e) { return std::pair(-count(id, e), -loads_[as_size(e)]); });
    }
    return table;
  }
  std::vector<ExpertId> balanced(index_t k) const {
    check(k);
    std::vector<std::int32_t> order(as_size(vocabulary()));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) { return times(a) > times(b); });
    std::vector<ExpertId> table(order.size() * as_size(k));
    std::vector<std::int64_t> load(as_size(num_experts_), 0);
    std::vector<ExpertId> row;
    for (const std::int32_t id : order) {
      row.clear();
      append_best(k, row, [&](ExpertId e) { return std::pair(load[as_size(e)], -count(id, e)); });
      for (const ExpertId e : row) load[as_size(e)] += times(id);
      std::copy(row.begin(), row.end(), table.begin() + std::ptrdiff_t{id} * k);
    }
    return table;
  }

 private:
  void check(index_t k) const {
    if (k < 1 || k > num_experts_) throw_if_error(Status::mismatch("k of a hash table", k, num_experts_));
  }
  // The k experts with the least keys, ties to the lower id.
  template <class Key>
  void append_best(index_t k, std::vector<ExpertId>& out, Key key) const {
    std::vector<ExpertId> order(as_size(num_experts_));
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](ExpertId a, ExpertId b) {
      const auto of_a = key(a);
      const auto of_b = key(b);
      return of_a != of_b ? of_a < of_b : a < b;
    });
    out.insert(out.end(), order.begin(), order.begin() + k);
  }

  index_t num_experts_;
  std::vector<std::map<ExpertId, std::int64_t>> seen_;  // (vocabulary)
  std::vector<std::int64_t> times_;                     // (vocabulary)
  std::vector<std::int64_t> loads_;                     // (num_experts)
};

}  // namespace headgate::inline HEADGATE_ABI
