#include "headgate/routing/planned_router.hpp"

#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/status.hpp"

using namespace headgate;

TEST_CASE("a planned router gives the plan of its state, whatever the hidden state, layer after layer") {
  const PlannedRouter router = PlannedRouter::create(5, 3).value();
  RoutingPlan made;
  made.clear(5);
  const std::vector<ExpertId> ids = {4, 1};
  const std::vector<float> weights = {0.25f, -2.0f};
  throw_if_error(made.append_row(ids, weights));
  throw_if_error(made.append_row({}, {}));
  const std::vector<float> x = random_floats(6, 1.0f, 1);
  PlannedRouter::State state;
  state.plan = &made;
  RoutingPlan plan;
  Context ctx;
  for (index_t layer = 0; layer < 3; ++layer) {
    state.reset(2);
    throw_if_error(router.route({.hidden = {x.data(), 2, 3}, .layer = layer}, state, plan, ctx));
    CHECK(plan == made);
  }
  CHECK(router.traits().needs == 0);
  CHECK(plan_known(router) == PlanKnown::before_the_model());
}

TEST_CASE("a planned router refuses what its plan does not fit, and edits") {
  const PlannedRouter router = PlannedRouter::create(5, 3).value();
  const std::vector<float> x(6, 0.0f);
  RoutingPlan made;
  made.clear(5);
  throw_if_error(made.append_row({}, {}));
  PlannedRouter::State state;
  RoutingPlan plan;
  Context ctx;
  const auto outcome = [&](index_t rows, index_t cols, const RouteEdits& edits = {}) {
    const std::string text = said(router.route({.hidden = {x.data(), rows, cols}, .edits = edits}, state, plan, ctx));
    CHECK((text == "ok" || plan.tokens() == 0));
    return text;
  };
  CHECK(outcome(1, 3) == "usage: planned router without a plan in its state");
  state.plan = &made;
  CHECK(outcome(1, 3) == "ok");
  CHECK(outcome(2, 3) == "usage: rows of the plan against tokens (got 1, allowed 2)");
  CHECK(outcome(1, 2) == "usage: width of hidden against hidden_size of the router (got 2, allowed 3)");
  RouteEdits edits;
  edits.k = 1;
  CHECK(outcome(1, 3, edits) == "usage: planned router takes no edits");
  RoutingPlan other;
  other.clear(4);
  throw_if_error(other.append_row({}, {}));
  state.plan = &other;
  CHECK(outcome(1, 3) == "usage: experts of the plan against experts of the router (got 4, allowed 5)");
  state.plan = &plan;
  CHECK(outcome(1, 3) == "usage: planned router is to write the plan that it reads");
  CHECK(refused(PlannedRouter::create(0, 3)) == "experts of a router, at least (got 0, allowed 1)");
  CHECK(refused(PlannedRouter::create(1, 0)) == "hidden_size of a router, at least (got 0, allowed 1)");
}
