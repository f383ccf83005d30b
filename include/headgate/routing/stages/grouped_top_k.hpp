// GroupedTopK: experts stand in num_groups equal groups; the topk_group best groups compete with all their experts, the
// others are out. A group is as good as the sum of its keys_per_group best keys:
//   1            DeepSeek-V2 (arXiv 2405.04434, section 2.1.2), group_limited_greedy
//   2            DeepSeek-V3 (arXiv 2412.19437, section 2.1.2), noaux_tc
//   all of them  by mean key: bi-level routing of experts, regions first, then experts (BiFormer's rule on a router's
//                gate, for the mean of a region's logits is the inner product with its mean row)
// Ties go to the lower index, among groups as among experts. Experts of other groups are out (-inf), as in DeepSeek's
// inference code and transformers 5; older transformers and DeepSeek's remote code gave them key 0, which beats
// negative keys. A masked expert does not count for its group; a group with fewer than keys_per_group others comes
// last. The last experts may stand in no group and compete always: zero-computation experts (routing/longcat.hpp).
#pragma once

#include <limits>

#include "headgate/core/best_k.hpp"
#include "headgate/core/exactly_equal.hpp"
#include "headgate/routing/stages/select.hpp"

namespace headgate::inline HEADGATE_ABI {

struct GroupedTopK {
  static constexpr index_t max_groups = 256;

  index_t k;
  index_t num_groups;
  index_t topk_group;
  index_t keys_per_group = 2;
  index_t ungrouped = 0;  // the last experts, in no group

  static constexpr bool needs_nonnegative_scores = false;  // it adds keys, of any sign
  Status check(index_t num_experts) const noexcept {
    if (num_groups < 1) return Status::mismatch("groups of experts, at least", num_groups, 1);
    if (num_groups > max_groups) return Status::mismatch("groups of experts", num_groups, max_groups);
    if (ungrouped < 0) return Status::mismatch("experts in no group, at least", ungrouped, 0);
    if (ungrouped > 0 && ungrouped > num_experts - num_groups) {
      return Status::mismatch("experts in no group against those left by groups of one", ungrouped,
                              num_experts - num_groups);
    }
    const index_t grouped = num_experts - ungrouped;
    if (grouped % num_groups != 0) return Status::mismatch("experts beyond whole groups", grouped % num_groups, 0);
    if (topk_group < 1) return Status::mismatch("topk_group, at least", topk_group, 1);
    if (topk_group > num_groups) return Status::mismatch("topk_group against groups", topk_group, num_groups);
    const index_t size = grouped / num_groups;
    if (keys_per_group < 1) return Status::mismatch("keys_per_group, at least", keys_per_group, 1);
    if (keys_per_group > size)
      return Status::mismatch("keys_per_group against experts of a group", keys_per_group, size);
    if (k < 1) return Status::mismatch("k of top-k, at least", k, 1);
    const index_t most = topk_group * size + ungrouped;
    if (k > most) return Status::mismatch("k of top-k against experts of topk_group groups", k, most);
    return Status::success();
  }
  index_t min_k(index_t /*num_experts*/) const noexcept { return 0; }  // the chosen groups may be masked
  index_t max_k(index_t num_experts) const noexcept { return k < num_experts ? k : num_experts; }
  // At most the experts of the chosen groups, whatever the call asks for.
  GroupedTopK with_k(index_t other) const noexcept {
    return {other, num_groups, topk_group, keys_per_group, ungrouped};
  }

  template <class Backend>
  index_t choose(std::span<const float> keys, std::span<const float> /*scores*/,
                 std::span<ExpertId> chosen) const noexcept {
    return choose_in_groups(keys, keys, chosen);
  }
  // The same where groups are chosen by keys of their own (MaskMeaning::zero_key).
  index_t choose_in_groups(std::span<const float> group_keys, std::span<const float> keys,
                           std::span<ExpertId> chosen) const noexcept {
    const auto num_experts = static_cast<index_t>(keys.size());
    const index_t size = (num_experts - ungrouped) / num_groups;
    float strengths[max_groups];
    for (index_t g = 0; g < num_groups; ++g)
      strengths[g] = strength(group_keys.subspan(as_size(g * size), as_size(size)));
    BestK<float> best(keys.data(), max_k(num_experts), chosen.data());
    for (index_t g = 0; g < num_groups; ++g) {
      if (groups_above(g, strengths) >= topk_group) continue;
      for (ExpertId e = g * size; e < (g + 1) * size; ++e) best.offer(e);
    }
    for (ExpertId e = num_experts - ungrouped; e < num_experts; ++e) best.offer(e);
    return best.size();
  }

 private:
  static constexpr float masked = -std::numeric_limits<float>::infinity();

  index_t groups_above(index_t g, const float* strengths) const noexcept {
    index_t above = 0;
    for (index_t other = 0; other < num_groups; ++other) {
      above += strengths[other] > strengths[g] || (exactly_equal(strengths[other], strengths[g]) && other < g) ? 1 : 0;
    }
    return above;
  }
  // The sum of the keys_per_group largest, largest first; where that is all, the mean of those not masked.
  float strength(std::span<const float> group) const noexcept {
    float sum = 0.0f;
    index_t taken = 0;
    if (as_size(keys_per_group) == group.size()) {
      for (const float key : group) {
        if (exactly_equal(key, masked)) continue;
        sum += key;
        ++taken;
      }
      return taken == 0 ? masked : sum / static_cast<float>(taken);
    }
    float last = std::numeric_limits<float>::infinity();
    while (taken < keys_per_group) {  // the next distinct key below the last, as often as it occurs
      float next = masked;
      index_t times = 0;
      for (const float key : group) {
        if (key >= last || key < next) continue;
        times = key > next ? 1 : times + 1;
        next = key;
      }
      if (exactly_equal(next, masked)) return masked;
      for (; times > 0 && taken < keys_per_group; --times, ++taken) sum += next;
      last = next;
    }
    return sum;
  }
};
static_assert(SelectStage<GroupedTopK>);

}  // namespace headgate::inline HEADGATE_ABI
