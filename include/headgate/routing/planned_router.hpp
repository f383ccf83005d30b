// PlannedRouter: the router of layers whose plan somebody else made, before they are reached: a pre-gate
// (layers/pre_gate.hpp), a trace that is played again, a schedule. The plan is the caller's, in the router's State; the
// same one may serve every layer.
#pragma once

#include "headgate/core/expected.hpp"
#include "headgate/routing/lookahead.hpp"
#include "headgate/routing/router.hpp"

namespace headgate::inline HEADGATE_ABI {

class PlannedRouter {
 public:
  struct State {
    const RoutingPlan* plan = nullptr;  // one row per token of the pass; outlives the call
    void reset(index_t /*tokens*/) noexcept {}
  };

  static Expected<PlannedRouter> create(index_t num_experts, index_t hidden_size) {
    if (num_experts < 1) return Status::mismatch("experts of a router, at least", num_experts, 1);
    if (hidden_size < 1) return Status::mismatch("hidden_size of a router, at least", hidden_size, 1);
    return PlannedRouter(num_experts, hidden_size);
  }

  index_t num_experts() const noexcept { return num_experts_; }
  index_t hidden_size() const noexcept { return hidden_size_; }
  RouterTraits traits() const noexcept { return {.needs = 0, .k_min = 0, .k_max = num_experts_}; }

  // usage: no plan, or one of other experts or tokens; a mask or k of the call, which the plan's maker would have to
  // have known.
  Status route(const RouterInput& in, State& state, RoutingPlan& plan, Context& /*ctx*/) const {
    if (state.plan == &plan) return {ErrorCode::usage, "planned router is to write the plan that it reads"};
    plan.clear(num_experts_);
    if (in.hidden.cols != hidden_size_) {
      return Status::mismatch("width of hidden against hidden_size of the router", in.hidden.cols, hidden_size_);
    }
    if (!in.edits.empty()) return {ErrorCode::usage, "planned router takes no edits"};
    if (state.plan == nullptr) return {ErrorCode::usage, "planned router without a plan in its state"};
    if (state.plan->num_experts() != num_experts_)
      return Status::mismatch("experts of the plan against experts of the router", state.plan->num_experts(),
                              num_experts_);
    if (state.plan->tokens() != in.hidden.rows)
      return Status::mismatch("rows of the plan against tokens", state.plan->tokens(), in.hidden.rows);
    plan = *state.plan;
    return Status::success();
  }

 private:
  PlannedRouter(index_t num_experts, index_t hidden_size) : num_experts_(num_experts), hidden_size_(hidden_size) {}

  index_t num_experts_;
  index_t hidden_size_;
};
static_assert(Router<PlannedRouter>);

}  // namespace headgate::inline HEADGATE_ABI
