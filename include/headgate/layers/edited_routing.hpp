// edited_routing: a router and the edits of a call, the same for every router and every layer (routing/route_edits.hpp
// says what holds). Either the plan is what was asked for, or the Status says what was not obeyed, and by whom.
#pragma once

#include <algorithm>
#include <utility>

#include "headgate/routing/router.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace detail {
// What the router must take from a call to obey these edits.
constexpr unsigned asked_of_router(const RouteEdits& edits) noexcept {
  unsigned asked = edits.k != 0 ? takes_k : 0u;
  if (edits.expert_mask.empty()) return asked;
  if (edits.mask_meaning == MaskMeaning::select) asked |= takes_mask;
  if (edits.mask_meaning == MaskMeaning::prune) asked |= takes_prune;
  if (edits.mask_meaning == MaskMeaning::zero_key) asked |= takes_zero_key;
  return asked;
}
inline Status check_taken(unsigned asked, unsigned taken) noexcept {
  constexpr std::pair<unsigned, const char*> edits[] = {
      {takes_k, "the layer's router takes no k of a call"},
      {takes_mask, "the layer's router takes no expert_mask of a call"},
      {takes_prune, "the layer's router takes no expert_mask that prunes"},
      {takes_zero_key, "the layer's router takes no expert_mask that zeroes keys"},
  };
  for (const auto& [edit, what] : edits) {
    if ((asked & ~taken & edit) != 0) return {ErrorCode::usage, what};
  }
  return Status::success();
}
// Does a finished plan keep to mask and k?
inline Status check_obeyed(const RoutingPlan& plan, const RouteEdits& edits) noexcept {
  const bool forced = edits.forced_plan != nullptr;
  const bool never_chosen = !edits.expert_mask.empty() &&
                            (edits.mask_meaning == MaskMeaning::select || edits.mask_meaning == MaskMeaning::prune);
  for (index_t t = 0; t < plan.tokens(); ++t) {
    Status status;
    if (const auto chosen = std::ssize(plan.experts(t)); edits.k != 0 && chosen > edits.k) {
      status = Status::mismatch(forced ? "entries of a forced plan's row against k of the call"
                                       : "k of the call ignored by the layer's router: entries of a row",
                                chosen, edits.k);
    }
    for (const ExpertId e : plan.experts(t)) {
      if (!status.ok() || !never_chosen || edits.expert_mask[as_size(e)] != 0) continue;
      status = {ErrorCode::usage, forced ? "masked expert in a forced plan"
                                         : "expert_mask of the call ignored by the layer's router: a masked expert"};
      status.expert = e;
    }
    if (status.ok()) continue;
    status.token = t;
    return status;
  }
  return Status::success();
}
// The rows of a plan without the entries of masked experts.
inline Status drop_masked(const RoutingPlan& plan, std::span<const std::uint8_t> mask, RoutingPlan& out,
                          Workspace& workspace) {
  const Workspace::Mark mark(workspace);
  std::size_t longest = 0;
  for (index_t t = 0; t < plan.tokens(); ++t) longest = std::max(longest, plan.experts(t).size());
  const std::span<ExpertId> experts = workspace.take<ExpertId>(static_cast<std::int64_t>(longest));
  const std::span<float> weights = workspace.take<float>(static_cast<std::int64_t>(longest));
  out.clear(plan.num_experts());
  for (index_t t = 0; t < plan.tokens(); ++t) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < plan.experts(t).size(); ++i) {
      const ExpertId e = plan.experts(t)[i];
      if (mask[as_size(e)] == 0) continue;
      experts[kept] = e;
      weights[kept++] = plan.weights(t)[i];
    }
    if (Status status = out.append_row(experts.first(kept), weights.first(kept)); !status.ok()) return status;
  }
  return Status::success();
}
}  // namespace detail

// Routes as in.edits ask. scratch: a plan that the caller keeps; its content is lost. On an error the plan is of no
// use.
template <Router R>
Status edited_routing(const R& router, const RouterInput& in, typename R::State& state, RoutingPlan& plan,
                      RoutingPlan& scratch, Context& ctx) {
  const RouteEdits& edits = in.edits;
  if (edits.empty()) return router.route(in, state, plan, ctx);
  if (Status status = edits.check(router.num_experts(), in.hidden.rows); !status.ok()) return status;

  const bool drops = !edits.expert_mask.empty() && edits.mask_meaning == MaskMeaning::zero_output;
  RouterInput told = in;  // what the router hears of it
  if (edits.forced_plan != nullptr) {
    told.edits = {};
    if (edits.forced_plan != &plan) plan = *edits.forced_plan;
    if (router.traits().state != StateScope::none) {
      if (Status status = router.route(told, state, scratch, ctx); !status.ok()) return status;
    }
  } else {
    const unsigned asked = detail::asked_of_router(edits);
    if (Status status = detail::check_taken(asked, router.traits().takes); !status.ok()) return status;
    if (drops) told.edits.expert_mask = {};
    if (Status status = router.route(told, state, plan, ctx); !status.ok()) return status;
  }
  if (drops) {
    if (Status status = detail::drop_masked(plan, edits.expert_mask, scratch, ctx.workspace); !status.ok())
      return status;
    std::swap(plan, scratch);
  }
  return detail::check_obeyed(plan, edits);
}

}  // namespace headgate::inline HEADGATE_ABI
