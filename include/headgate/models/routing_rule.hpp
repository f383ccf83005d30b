// RoutingRule: edits of a text's routing, for a forward of a session: which layer, which positions, what. What two
// rules say of different things adds up; where both say it, the rule of one layer stands above that of all layers, and
// two of the same rank are an error. Rules belong to the call that they are given to.
#pragma once

#include <algorithm>
#include <span>

#include "headgate/routing/route_edits.hpp"

namespace headgate::inline HEADGATE_ABI {

struct RoutingRule {
  static constexpr index_t every_layer = -1;  // that routes

  index_t layer = every_layer;
  // Of the text. A forced plan is for the positions from first_position on, one a row, and ends with its rows at the
  // latest.
  index_t first_position = 0;
  index_t end_position = static_cast<index_t>(max_index);  // the first after the last
  RouteEdits edits = {};

  index_t end() const noexcept {
    if (edits.forced_plan == nullptr) return end_position;
    const std::int64_t last_row = std::int64_t{first_position} + edits.forced_plan->tokens();
    return static_cast<index_t>(std::min<std::int64_t>(end_position, last_row));
  }
  bool applies(index_t of_layer, index_t position) const noexcept {
    return (layer == every_layer || layer == of_layer) && first_position <= position && position < end();
  }

  // The first position after this one where other rules may hold.
  static index_t next_change(std::span<const RoutingRule> rules, index_t position) noexcept {
    index_t next = static_cast<index_t>(max_index);
    for (const RoutingRule& rule : rules) {
      for (const index_t bound : {rule.first_position, rule.end()}) {
        if (bound > position) next = std::min(next, bound);
      }
    }
    return next;
  }

  // What they come to for a layer, at a position and up to the next change; and the row of the forced plan that is for
  // that position.
  static Status resolve(std::span<const RoutingRule> rules, index_t layer, index_t position, RouteEdits& merged,
                        index_t& forced_row) {
    merged = {};
    struct {
      int mask = 0, k = 0, plan = 0;  // 0: unsaid, 1: by a rule of every layer, 2: of this one
    } rank;
    for (const RoutingRule& rule : rules) {
      if (!rule.applies(layer, position)) continue;
      const int own = rule.layer == every_layer ? 1 : 2;
      // Does the rule decide? Two of one rank contradict each other.
      bool clash = false;
      const auto decides = [&](int& said, bool says) {
        clash |= says && said == own;
        if (!says || said >= own) return false;
        said = own;
        return true;
      };
      if (decides(rank.mask, !rule.edits.expert_mask.empty())) {
        merged.expert_mask = rule.edits.expert_mask;
        merged.mask_meaning = rule.edits.mask_meaning;
      }
      if (decides(rank.k, rule.edits.k != 0)) merged.k = rule.edits.k;
      if (decides(rank.plan, rule.edits.forced_plan != nullptr)) {
        merged.forced_plan = rule.edits.forced_plan;
        forced_row = position - rule.first_position;
      }
      if (clash) {
        return {ErrorCode::usage, "two rules of one rank edit the same thing of a layer", 0, 0, layer};
      }
    }
    return Status::success();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
