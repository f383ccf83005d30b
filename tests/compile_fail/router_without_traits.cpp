// A router says what it needs and promises.
// expect: traits
#include "headgate/routing/any_router.hpp"

using namespace headgate;

struct OneExpert {
  using State = NoState;
  index_t num_experts() const noexcept { return 1; }
  index_t hidden_size() const noexcept { return 26; }
#ifndef HEADGATE_COMPILE_FAIL
  RouterTraits traits() const noexcept { return {.k_max = 1}; }
#endif
  Status route(const RouterInput&, State&, RoutingPlan& plan, Context&) const {
    plan.clear(1);
    return Status::success();
  }
};

index_t erase() { return AnyRouter(OneExpert()).num_experts(); }
