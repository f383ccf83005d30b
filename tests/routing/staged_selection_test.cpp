// What staged_router_test.cpp cannot reach: selections over logits that do not come from a gate.
#include "headgate/routing/staged_selection.hpp"

#include "headgate/kernels/scalar.hpp"
#include "headgate/routing/stages/top_k.hpp"
#include "headgate/routing/stages/top_p.hpp"
#include "support/catch.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

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
  REQUIRE(selection.route({logits.data(), 2, 3}, {.layer = 0}, plan, ctx).ok());
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
  REQUIRE(none.route({logits.data(), 1, 5}, {.layer = 0}, plan, ctx).ok());
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
  REQUIRE(all.route({logits.data(), 1, experts}, {.layer = 0}, plan, ctx).ok());
  REQUIRE(plan.entries() == experts);
  CHECK(plan.experts(0)[1] == 100);
  // 300,000 rows of 10,000 entries: refused before a logit is read.
  CHECK(all.route({logits.data(), 300'000, experts}, {.layer = 0}, plan, ctx).allowed == max_index);
}

namespace {

struct Tokens {
  Tokens(index_t count, index_t experts)
      : tokens(count), width(experts), values(as_size(count) * as_size(experts), 0.0f) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>((i * 7919) % 101) / 64.0f;
  }
  Rows rows() { return {values.data(), tokens, width}; }
  index_t tokens;
  index_t width;
  std::vector<float> values;
};

}  // namespace

TEST_CASE("the first bad logit is named wherever its slice is, by token and expert") {
  const Selection selection = Selection::create(5, {}, {2}, {}).value();
  for (const index_t threads : {1, 2, 3, 8}) {
    ThreadExecutor executor(threads);
    for (const auto& [first, second] : {std::pair<index_t, index_t>{99, 99}, {63, 99}, {17, 40}, {0, 99}, {50, 51}}) {
      Context ctx(executor);
      Tokens logits(100, 5);
      logits.rows().row_data(second)[1] = std::numeric_limits<float>::infinity();
      logits.rows().row_data(first)[4] = std::numeric_limits<float>::quiet_NaN();
      const index_t expert = first == second ? 1 : 4;
      RoutingPlan plan;
      CHECK(said(selection.route(logits.rows(), {.layer = 3}, plan, ctx)) ==
            "numeric: router logit is not finite, layer 3, token " + std::to_string(first) + ", expert " +
                std::to_string(expert));
      CHECK(plan.tokens() == 0);
    }
  }
}

TEST_CASE("rows of more than 32 experts are written by every thread with scratch of its own") {
  const Selection selection = Selection::create(70, {}, {40}, {}).value();
  Context serial;
  Tokens logits(100, 70);
  RoutingPlan expected;
  REQUIRE(selection.route(logits.rows(), {.layer = 0}, expected, serial).ok());
  REQUIRE(expected.experts(99).size() == 40);
  for (const index_t threads : {2, 5}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    Tokens again(100, 70);
    RoutingPlan plan;
    REQUIRE(selection.route(again.rows(), {.layer = 0}, plan, ctx).ok());
    CHECK(plan == expected);
  }
}

TEST_CASE("other keys are taken up to their bounds, refused beyond, and never unmask") {
  const std::vector<std::uint8_t> mask = {1, 0, 1};
  Selection selection = Selection::create(3, {}, {1}, {}, {}, mask).value();
  const auto chosen = [&](std::vector<float> z) {
    RoutingPlan plan;
    Context ctx;
    throw_if_error(selection.route({z.data(), 1, 3}, {.layer = 0}, plan, ctx));
    return plan.experts(0)[0];
  };
  const auto bias = [&](std::vector<float> b) { return said(selection.set_selection_bias(b)); };
  const auto factor = [&](std::vector<float> f) { return said(selection.set_selection_factor(f)); };
  CHECK(chosen({2.0f, 9.0f, 1.0f}) == 0);
  CHECK(bias({0.0f, 1e30f, 1e30f}) == "ok");
  CHECK(chosen({2.0f, 9.0f, 1.0f}) == 2);
  CHECK(bias({}) == "usage: size of selection_bias against experts (got 0, allowed 3)");
  CHECK(bias({0.0f, 0.0f}) == "usage: size of selection_bias against experts (got 2, allowed 3)");
  CHECK(bias({0.0f, 0.0f, 1.1e30f}) == "numeric: selection_bias is not finite or beyond 1e30, expert 2");
  CHECK(bias({0.0f, -1.1e30f, 0.0f}) == "numeric: selection_bias is not finite or beyond 1e30, expert 1");
  CHECK(chosen({2.0f, 9.0f, 1.0f}) == 2);  // an error changes nothing
  CHECK(bias({-1e30f, -1e30f, 0.0f}) == "ok");
  CHECK(chosen({2.0f, 9.0f, 1.0f}) == 2);
  CHECK(bias({0.0f, 0.0f, 0.0f}) == "ok");
  CHECK(chosen({2.0f, 9.0f, 1.0f}) == 0);
  CHECK(factor({1.0f, 1e8f, 1e8f}) == "ok");
  CHECK(chosen({2.0f, 9.0f, 1.0f}) == 2);
  CHECK(factor({1.0f, 1.0f}) == "usage: size of selection_factor against experts (got 2, allowed 3)");
  CHECK(factor({0.0f, 1.0f, 1.0f}) == "numeric: selection_factor is not positive or beyond 1e8, expert 0");
  CHECK(factor({1.0f, 1.0f, 1.1e8f}) == "numeric: selection_factor is not positive or beyond 1e8, expert 2");
  CHECK(chosen({2.0f, 9.0f, 1.0f}) == 2);
  CHECK(factor({1.0f, 1.0f, 1.0f}) == "ok");
  CHECK(chosen({2.0f, 9.0f, 1.0f}) == 0);
  CHECK(selection.num_logits() == 3);
  CHECK(selection.num_experts() == 3);
}

TEST_CASE("a selection says of a call's edits what is allowed, and takes them up to the bounds") {
  const Selection selection = Selection::create(4, {}, {2}, {}).value();
  const std::vector<std::uint8_t> mask(4, 1);
  const auto outcome = [&](std::span<const std::uint8_t> of, index_t k) {
    RouteEdits edits;
    edits.expert_mask = of;
    edits.k = k;
    return said(selection.check(edits));
  };
  CHECK(outcome(mask, 4) == "ok");
  CHECK(outcome({}, 1) == "ok");
  CHECK(outcome(std::span(mask).first(3), 0) == "usage: size of expert_mask against experts (got 3, allowed 4)");
  CHECK(outcome({}, -1) == "usage: k of the call, at least (got -1, allowed 0)");
  CHECK(outcome({}, 5) == "usage: k of the call against experts (got 5, allowed 4)");
}

TEST_CASE("a selection over one logit chooses it with weight 1") {
  const Selection selection = Selection::create(1, {}, {1}, {}).value();
  float logit = -3.0f;
  RoutingPlan plan;
  Context ctx;
  REQUIRE(selection.route({&logit, 1, 1}, {}, plan, ctx).ok());
  REQUIRE(plan.entries() == 1);
  CHECK(plan.experts(0)[0] == 0);
  CHECK(plan.weights(0)[0] == 1.0f);
  CHECK(selection.traits().k_min == 1);
  CHECK(selection.traits().k_max == 1);
}

TEST_CASE("a selection takes a bias, also with a mask of its own and a mask of the call") {
  const std::vector<float> bias = {0.0f, 5.0f, 9.0f};
  const std::vector<std::uint8_t> own = {1, 1, 0};
  const auto chosen = [](const Selection& selection) {
    std::vector<float> z = {1.0f, 0.5f, 0.0f};
    RoutingPlan plan;
    Context ctx;
    throw_if_error(selection.route({z.data(), 1, 3}, {}, plan, ctx));
    return std::vector<ExpertId>(plan.experts(0).begin(), plan.experts(0).end());
  };
  CHECK(chosen(Selection::create(3, {}, {2}, {}).value()) == std::vector<ExpertId>{0, 1});
  CHECK(chosen(Selection::create(3, {}, {2}, {}, bias).value()) == std::vector<ExpertId>{2, 1});
  CHECK(chosen(Selection::create(3, {}, {2}, {}, bias, own).value()) == std::vector<ExpertId>{1, 0});
  CHECK(chosen(Selection::create(3, {}, {2}, {}, {}, own).value()) == std::vector<ExpertId>{0, 1});
  Selection later = Selection::create(3, {}, {2}, {}).value();
  throw_if_error(later.set_selection_bias(bias));
  CHECK(chosen(later) == std::vector<ExpertId>{2, 1});
}
