// RouteEdits: what a caller changes about the routing of one layer in one call. They travel in the call's RouterInput,
// so they end with it. MoELayer keeps them whatever the router (layers/edited_routing.hpp); in this order:
//   1. The router routes, told of mask and k. Where a plan is forced, only a router with a state does, untold, so that
//      its state advances.
//   2. The rows of the forced plan take the place of what it chose.
//   3. A mask that means zero_output drops the entries of its experts; their weights go with them.
//   4. The finished plan is checked: a forced plan beats neither mask nor k, and a router that ignored them is an
//   error.
#pragma once

#include <cstdint>
#include <span>

#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

// What it means that an expert is masked. s are scores, u the keys they are selected by (s + bias).
enum class MaskMeaning : std::uint8_t {
  select,    // u_e = -inf after scoring: never chosen, and the others keep their weights of the full distribution
  prune,     // z_e = -inf before scoring: as if its row of the gate, its bias and its place in a group were not there
  zero_key,  // groups are chosen with all experts, then u_e = 0: as EASY-EP is coded; it can still be chosen
  zero_output,  // chosen and weighed as ever, then its output counts as 0 (an ablation)
};

struct RouteEdits {
  std::span<const std::uint8_t> expert_mask = {};  // (num_experts) 0: masked. Empty: none is
  MaskMeaning mask_meaning = MaskMeaning::select;
  index_t k = 0;                             // experts per token in place of the router's own; 0: unchanged
  const RoutingPlan* forced_plan = nullptr;  // (tokens rows) in place of routing; a router alone refuses it

  bool empty() const noexcept { return expert_mask.empty() && k == 0 && forced_plan == nullptr; }

  // Do they fit a layer of so many experts and a call of so many tokens?
  Status check(index_t num_experts, index_t tokens) const noexcept {
    const auto mask_size = static_cast<std::int64_t>(expert_mask.size());
    if (mask_size != 0 && mask_size != num_experts) {
      return Status::mismatch("size of expert_mask against experts", mask_size, num_experts);
    }
    if (mask_meaning > MaskMeaning::zero_output) return {ErrorCode::usage, "meaning of a mask is none that is known"};
    if (k < 0) return Status::mismatch("k of the call, at least", k, 0);
    if (forced_plan == nullptr) return Status::success();
    if (forced_plan->num_experts() != num_experts) {
      return Status::mismatch("experts of a forced plan against experts of the layer", forced_plan->num_experts(),
                              num_experts);
    }
    if (forced_plan->tokens() != tokens) {
      return Status::mismatch("rows of a forced plan against tokens", forced_plan->tokens(), tokens);
    }
    return Status::success();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
