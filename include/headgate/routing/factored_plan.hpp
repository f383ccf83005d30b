// FactoredPlan: which experts where an expert is a pair (i, j), and its weight a sum over heads of products:
//   y_t = sum over h, i, j of g1_hi g2_hj E_(i J + j)(x_t)
// (Monet, Park et al. 2024, arXiv 2412.04139). Each side is a plan whose row t * heads + h belongs to head h of token
// t. Written out it would have heads * k1 * k2 entries a token; a layer of such experts never does that
// (layers/monet_experts.hpp).
#pragma once

#include <algorithm>
#include <vector>

#include "headgate/routing/plan_transform.hpp"
#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

struct FactoredPlan {
  index_t heads = 1;
  RoutingPlan side[2] = {};            // g1 over I, g2 over J; rows: (tokens, heads)
  std::vector<ExpertId> removed = {};  // ascending: experts i J + j that count as 0, though their weights stay

  index_t tokens() const noexcept { return side[0].tokens() / heads; }
  std::int64_t num_experts() const noexcept { return std::int64_t{side[0].num_experts()} * side[1].num_experts(); }
  bool is_removed(index_t i, index_t j) const noexcept {
    return !removed.empty() && std::binary_search(removed.begin(), removed.end(), i * side[1].num_experts() + j);
  }
  friend bool operator==(const FactoredPlan&, const FactoredPlan&) = default;

  // What those who read a plan ask of it.
  Status check() const noexcept {
    if (heads < 1) return Status::mismatch("heads of a factored plan, at least", heads, 1);
    if (side[0].tokens() % heads != 0) {
      return Status::mismatch("rows of a factored plan, which are a multiple of the heads,", side[0].tokens(), heads);
    }
    if (side[1].tokens() != side[0].tokens()) {
      return Status::mismatch("rows of the second side of a factored plan", side[1].tokens(), side[0].tokens());
    }
    if (num_experts() > max_index) return Status::mismatch("number of experts", num_experts(), max_index);
    for (std::size_t i = 0; i < removed.size(); ++i) {
      if (removed[i] < 0 || removed[i] >= num_experts()) {
        return Status::mismatch("removed expert", removed[i], num_experts() - 1);
      }
      if (i > 0 && removed[i] <= removed[i - 1]) return {ErrorCode::usage, "removed experts do not ascend"};
    }
    return Status::success();
  }
};

// What a call of a layer takes away: experts are chosen and weighed as ever, then their output counts as 0.
struct FactoredEdits {
  std::span<const std::uint8_t> mask[2] = {};  // (I) and (J), 0: every expert with that i, or j. Empty: none
  std::span<const ExpertId> removed = {};      // ascending: single experts i J + j

  bool empty() const noexcept { return mask[0].empty() && mask[1].empty() && removed.empty(); }
};

// The plan with its edits. On an error the output is of no use.
inline Status edit(const FactoredPlan& plan, const FactoredEdits& edits, FactoredPlan& out) {
  if (&plan == &out) return {ErrorCode::usage, "output of a plan transform is its input"};
  out.heads = plan.heads;
  for (const index_t s : {0, 1}) {
    if (edits.mask[s].empty()) {
      out.side[s] = plan.side[s];
    } else if (Status status = ablate(plan.side[s], edits.mask[s], WeightsAfterDrop::as_they_are, out.side[s]);
               !status.ok()) {
      return status;
    }
  }
  out.removed.clear();
  std::set_union(plan.removed.begin(), plan.removed.end(), edits.removed.begin(), edits.removed.end(),
                 std::back_inserter(out.removed));
  return out.check();
}

// One entry per expert, written out: for small sides, tests and traces. Heads that choose the same expert are one
// entry, with the sum of their weights.
inline Status flatten(const FactoredPlan& plan, RoutingPlan& out) {
  if (Status status = plan.check(); !status.ok()) return status;
  if (&out == &plan.side[0] || &out == &plan.side[1]) return {ErrorCode::usage, "output of flatten is its input"};
  out.clear(static_cast<index_t>(plan.num_experts()));
  MergingAppender merging(out);
  std::vector<ExpertId> experts;
  std::vector<float> weights;
  for (index_t t = 0; t < plan.tokens(); ++t) {
    experts.clear();
    weights.clear();
    for (index_t row = t * plan.heads; row < (t + 1) * plan.heads; ++row) {
      for (std::size_t a = 0; a < plan.side[0].experts(row).size(); ++a) {
        for (std::size_t b = 0; b < plan.side[1].experts(row).size(); ++b) {
          const index_t i = plan.side[0].experts(row)[a];
          const index_t j = plan.side[1].experts(row)[b];
          if (plan.is_removed(i, j)) continue;
          experts.push_back(i * plan.side[1].num_experts() + j);
          weights.push_back(plan.side[0].weights(row)[a] * plan.side[1].weights(row)[b]);
        }
      }
    }
    if (Status status = merging.append_row(experts, weights); !status.ok()) return status;
  }
  return Status::success();
}

}  // namespace headgate::inline HEADGATE_ABI
