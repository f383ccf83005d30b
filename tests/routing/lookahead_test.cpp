#include "headgate/routing/lookahead.hpp"

#include "headgate/routing/any_router.hpp"
#include "headgate/routing/gru_router.hpp"
#include "headgate/routing/hash_router.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"

namespace {

using namespace headgate;

constexpr index_t width = 14;

std::vector<AnyRouter> routers(unsigned count) {
  std::vector<AnyRouter> all;
  for (unsigned l = 0; l < count; ++l) {
    const std::vector<float> gate = random_floats(5 * as_size(width), 1.0f, 10 + l);
    all.emplace_back(mixtral_router({.gate = {gate.data(), 5, width}}, 2).value());
  }
  return all;
}

}  // namespace

TEST_CASE("plans are known when routed, layers ahead, or before the model runs, in this order") {
  CHECK(PlanKnown::when_routed() == PlanKnown::layers_ahead(0));
  CHECK(PlanKnown::when_routed() < PlanKnown::layers_ahead(1));
  CHECK(PlanKnown::layers_ahead(1) < PlanKnown::layers_ahead(2));
  CHECK(PlanKnown::layers_ahead(1000) < PlanKnown::before_the_model());
  CHECK(PlanKnown::when_routed().since(7) == 7);
  CHECK(PlanKnown::layers_ahead(2).since(7) == 5);
  CHECK(PlanKnown::layers_ahead(2).since(1) == 0);
  CHECK(PlanKnown::before_the_model().since(7) == -1);
  CHECK(plan_known(routers(1)[0]) == PlanKnown::when_routed());
  CHECK(plan_known(AnyRouter(HashRouter::create({0, 1}, 1, 2, 3).value())) == PlanKnown::before_the_model());
}

TEST_CASE("a look of n layers ahead is what the later layer's router makes of the rows of the earlier one") {
  const std::vector<float> x = random_floats(9 * as_size(width), 1.0f, 1);
  const ConstRows rows(x.data(), 9, width);
  Context ctx;
  for (const index_t distance : {0, 1, 3}) {
    const auto gates = LookaheadGates<AnyRouter>::create(routers(4), distance).value();
    CHECK(plan_known(gates) == PlanKnown::layers_ahead(distance));
    for (index_t layer = 0; layer < 4; ++layer) {
      RoutingPlan plan;
      const Status status = gates.guess({.hidden = rows, .layer = layer}, plan, ctx);
      CHECK(gates.reaches(layer) == (layer + distance < 4));
      if (!gates.reaches(layer)) {
        CHECK(said(status).starts_with("usage: layer to look ahead from"));
        CHECK(plan.tokens() == 0);
        continue;
      }
      REQUIRE(status.ok());
      CHECK(plan == routed(routers(4)[as_size(layer + distance)], rows));
    }
  }
}

TEST_CASE("errors of a look ahead name the layer that it looks at; edits are that layer's") {
  const auto gates = LookaheadGates<AnyRouter>::create(routers(3), 1).value();
  std::vector<float> x(2 * as_size(width), 0.5f);
  Context ctx;
  RoutingPlan plan;
  RouterInput in{.hidden = {x.data(), 2, width}, .layer = 1};
  in.edits.k = 1;
  throw_if_error(gates.guess(in, plan, ctx));
  CHECK(plan.entries() == 2);
  x[as_size(width)] = std::numeric_limits<float>::infinity();
  const Status status = gates.guess(in, plan, ctx);
  CHECK(status.layer == 2);
  CHECK(status.token == 1);
  in.layer = -1;
  CHECK_FALSE(gates.guess(in, plan, ctx).ok());
}

TEST_CASE("routers to look ahead with are checked") {
  const auto outcome = [](std::vector<AnyRouter> of, index_t distance) {
    return refused(LookaheadGates<AnyRouter>::create(std::move(of), distance));
  };
  CHECK(outcome(routers(1), 0) == "made");
  CHECK(outcome({}, 0) == "routers to look ahead with, at least (got 0, allowed 1)");
  CHECK(outcome(routers(2), -1) == "layers to look ahead, at least (got -1, allowed 0)");
  std::vector<AnyRouter> mixed = routers(1);
  mixed.emplace_back(HashRouter::create({0}, 1, 5, 3).value());
  CHECK(outcome(mixed, 0) == "hidden_size of a router to look ahead with (got 3, allowed 14)");
  const std::vector<float> m(as_size(3 * width), 0.1f);
  const RecurrentWeights<float> weights{RecurrentKind::rnn, std::span(m).first(1), std::span(m).first(1),
                                        std::span(m).first(1), std::span(m).first(1)};
  const RecurrentCell cell = RecurrentCell::create(weights, 1, 1).value();
  CHECK(outcome({GruRouter<>::create(cell, {m.data(), 1, width}, {m.data(), 2, 1}, TopK{1}, Renormalize{}).value()},
                0) == "router to look ahead with keeps a state across layers");
}
