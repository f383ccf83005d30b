// What staged_router_test.cpp cannot reach: selections over logits that do not come from a gate.
#include "headgate/routing/staged_selection.hpp"

#include "headgate/kernels/scalar.hpp"
#include "headgate/routing/stages/top_k.hpp"
#include "headgate/routing/stages/top_p.hpp"
#include "support/catch.hpp"

namespace {

using namespace headgate;
using Selection = StagedSelection<SoftmaxScore, TopK, Renormalize, Scalar>;

std::string error_of(const Expected<Selection>& created) { return created ? "none" : created.error().what(); }

}  // namespace

TEST_CASE("a selection routes any logits and turns them into scores") {
  const Selection selection = Selection::create(3, {}, {2}, {}).value();
  std::vector<float> logits = {0.0f, 1.0f, 2.0f, 5.0f, 5.0f, -5.0f};
  RoutingPlan plan;
  Context ctx;
  REQUIRE(selection.route({logits.data(), 2, 3}, 0, plan, ctx).ok());
  CHECK(plan.experts(0)[0] == 2);
  CHECK(plan.experts(0)[1] == 1);
  CHECK(plan.weights(1)[0] == 0.5f);
  CHECK(logits[0] + logits[1] + logits[2] == Catch::Approx(1.0));
}

TEST_CASE("a selection checks its settings and the edits of a call") {
  const std::vector<float> bias(2, 0.0f);
  const std::vector<std::uint8_t> mask(5, 1);
  CHECK(error_of(Selection::create(0, {}, {1}, {})) == "experts of a router, at least (got 0, allowed 1)");
  CHECK(error_of(Selection::create(4, {}, {5}, {})) == "k of top-k against experts (got 5, allowed 4)");
  CHECK(error_of(Selection::create(4, {}, {2}, {.add = -1.0f})) == "epsilon of Renormalize is negative or not finite");
  CHECK(error_of(Selection::create(4, {}, {2}, {}, bias)) ==
        "size of selection_bias against experts (got 2, allowed 4)");
  CHECK(error_of(Selection::create(4, {}, {2}, {}, {}, mask)) ==
        "size of a router's mask against experts (got 5, allowed 4)");

  const Selection selection = Selection::create(4, {}, {2}, {}).value();
  RouteEdits edits;
  CHECK(selection.check(edits).ok());
  edits.k = 5;
  CHECK(selection.check(edits).allowed == 4);
  edits.k = -1;
  CHECK(selection.check(edits).found == -1);
  edits.k = 4;
  edits.expert_mask = mask;
  CHECK(selection.check(edits).found == 5);
}

TEST_CASE("a selection tells how many experts a mask leaves") {
  const std::vector<std::uint8_t> mask = {1, 0, 0, 1, 0};
  const Selection selection = Selection::create(5, {}, {3}, {}, {}, mask).value();
  CHECK(selection.traits().k_min == 2);
  CHECK(selection.traits().k_max == 2);
  const std::vector<std::uint8_t> nobody(5, 0);
  const Selection none = Selection::create(5, {}, {3}, {}, {}, nobody).value();
  CHECK(none.traits().k_max == 0);
  std::vector<float> logits(5, 1.0f);
  RoutingPlan plan;
  Context ctx;
  REQUIRE(none.route({logits.data(), 1, 5}, 0, plan, ctx).ok());
  CHECK(plan.tokens() == 1);
  CHECK(plan.entries() == 0);
}

TEST_CASE("rows of 10,000 experts are chosen, and a plan that could not be counted is refused") {
  constexpr index_t experts = 10'000;
  std::vector<float> logits(experts);
  for (std::size_t e = 0; e < logits.size(); ++e) logits[e] = -static_cast<float>(e % 100);
  const Selection all = Selection::create(experts, {}, {experts}, {}).value();
  RoutingPlan plan;
  Context ctx;
  REQUIRE(all.route({logits.data(), 1, experts}, 0, plan, ctx).ok());
  REQUIRE(plan.entries() == experts);
  CHECK(plan.experts(0)[1] == 100);
  // 300,000 rows of 10,000 entries: refused before a logit is read.
  CHECK(all.route({logits.data(), 300'000, experts}, 0, plan, ctx).allowed == max_index);
}
