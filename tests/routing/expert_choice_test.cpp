#include "headgate/routing/expert_choice.hpp"

#include <algorithm>
#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

namespace {
using namespace headgate;

struct Example {
  explicit Example(index_t experts = 11)
      : n(experts), gate(random_floats(as_size(n) * 24, 0.5f, 1)), x(random_floats(40 * 24, 1.0f, 2)) {}
  ExpertChoiceRouter<> router(const ExpertChoiceOptions& options) const {
    return ExpertChoiceRouter<>::create({gate.data(), n, 24}, options).value();
  }
  ConstRows rows(index_t tokens = 40) const { return {x.data(), tokens, 24}; }
  index_t n;
  std::vector<float> gate, x;
};
std::vector<index_t> loads_of(const RoutingPlan& plan) {
  std::vector<index_t> loads(as_size(plan.num_experts()));
  for (const ExpertId e : plan.experts()) ++loads[as_size(e)];
  return loads;
}
}  // namespace

TEST_CASE("experts choose the tokens that EC-DiT's choose, sequence by sequence, weights to 1e-6") {
  const auto cases = golden("expert_choice");
  REQUIRE(cases.size() == 5);
  for (const auto& c : cases) {
    const std::vector<float> gate = values(c["gate"]);
    const std::vector<float> x = values(c["hidden"]);
    const std::vector<float> weights = values(c["weights"]);
    const auto n = static_cast<index_t>(gate.size()) / 12;
    const auto tokens = static_cast<index_t>(x.size()) / 12;
    INFO(n << " experts, " << tokens << " tokens, margin " << c["margin"]);
    const ExpertChoiceOptions options{.capacity_factor = c["capacity_factor"], .group_size = c["group_size"]};
    const auto router = ExpertChoiceRouter<>::create({gate.data(), n, 12}, options).value();
    CHECK(router.capacity(c["group_size"]) == c["capacity"].get<index_t>());
    const RoutingPlan plan = routed(router, {x.data(), tokens, 12});
    CHECK(plan.entries() == tokens / options.group_size * n * c["capacity"].get<index_t>());
    for (index_t t = 0; t < tokens; ++t) {
      const std::vector<float> row = dense_weights(plan, t);
      for (std::size_t e = 0; e < row.size(); ++e) {
        CHECK(row[e] == Catch::Approx(weights[as_size(t * n) + e]).margin(1e-6));
      }
      CHECK(std::is_sorted(plan.weights(t).rbegin(), plan.weights(t).rend()));
    }
  }
}

TEST_CASE("every expert is full, and takes who comes first where all tokens are alike") {
  const Example e;
  const auto router = e.router({.capacity_factor = 2.0});
  CHECK(router.capacity(40) == 7);  // 40 / 11 * 2 = 7.27
  CHECK(loads_of(routed(router, e.rows())) == std::vector<index_t>(11, 7));
  const std::vector<float> same(8 * 24, 0.25f);
  const RoutingPlan alike = routed(e.router({.capacity_factor = 3.0}), {same.data(), 8, 24});
  for (index_t t = 0; t < 8; ++t) CHECK(alike.experts(t).size() == (t < 2 ? 11 : 0));
  // As many as there are experts on the average: every token, the dense mixture.
  const RoutingPlan dense = routed(e.router({.capacity_factor = 11.0}), e.rows());
  for (index_t t = 0; t < 40; ++t) {
    double sum = 0.0;
    for (const float w : dense.weights(t)) sum += static_cast<double>(w);
    CHECK(dense.experts(t).size() == 11);
    CHECK(sum == Catch::Approx(1.0).epsilon(1e-5));
  }
}

TEST_CASE("the capacity of expert choice: rounded down, between min_capacity and all tokens") {
  const Example e(5);
  CHECK(e.router({.capacity_factor = 2.0}).capacity(8) == 3);
  CHECK(e.router({.capacity_factor = 0.0}).capacity(8) == 1);
  CHECK(e.router({.capacity_factor = 0.0, .min_capacity = 0}).capacity(8) == 0);
  CHECK(e.router({.capacity_factor = 1.0, .min_capacity = 4}).capacity(8) == 4);
  CHECK(e.router({.capacity_factor = 1.0, .min_capacity = 4}).capacity(3) == 3);
  CHECK(e.router({.capacity_factor = 1e9}).capacity(8) == 8);
  CHECK(e.router({.capacity_factor = 2.0}).capacity(0) == 0);
  CHECK(routed(e.router({.capacity_factor = 0.0, .min_capacity = 0}), e.rows()).entries() == 0);
  CHECK(routed(e.router({.capacity_factor = 2.0}), e.rows(0)).tokens() == 0);
  CHECK(routed(e.router({.capacity_factor = 2.0}), e.rows(1)).entries() == 5);
}

TEST_CASE("expert choice is coupled to its batch and says so; groups choose alone; permuted tokens permute rows") {
  const Example e;
  const RouterTraits traits = e.router({.capacity_factor = 2.0}).traits();
  CHECK(traits.batch_coupled);
  CHECK_FALSE(traits.causal);
  const auto grouped = e.router({.capacity_factor = 2.0, .group_size = 8});
  const RoutingPlan plan = routed(grouped, e.rows());
  for (index_t g = 0; g < 5; ++g) {
    const RoutingPlan alone = routed(grouped, e.rows().middle_rows(8 * g, 8));
    for (index_t t = 0; t < 8; ++t) {
      CHECK(experts_of(alone, t) == experts_of(plan, 8 * g + t));
      CHECK(weights_of(alone, t) == weights_of(plan, 8 * g + t));
    }
  }
  const std::vector<std::int32_t> order = random_order(40, 3);
  std::vector<float> shuffled;
  for (const std::int32_t t : order) {
    for (index_t j = 0; j < 24; ++j) shuffled.push_back(e.rows().row_data(t)[j]);
  }
  const auto router = e.router({.capacity_factor = 2.0});
  const RoutingPlan before = routed(router, e.rows());
  const RoutingPlan after = routed(router, {shuffled.data(), 40, 24});
  for (std::size_t t = 0; t < order.size(); ++t) {
    CHECK(experts_of(after, static_cast<index_t>(t)) == experts_of(before, order[t]));
  }
}

TEST_CASE(
    "expert choice: the same bits for any number of threads; a masked expert chooses nobody, and the others as ever") {
  const Example e;
  const auto router = e.router({.capacity_factor = 3.0});
  const RoutingPlan plan = routed(router, e.rows());
  for (const index_t threads : {index_t{2}, index_t{3}, index_t{8}}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    CHECK(routed(router, e.rows(), ctx) == plan);
  }
  std::vector<std::uint8_t> mask(11, 1);
  mask[4] = 0;
  const RoutingPlan masked = routed(router, e.rows(), {.expert_mask = mask});
  std::vector<index_t> loads(11, 10);
  loads[4] = 0;
  CHECK(loads_of(masked) == loads);
  for (index_t t = 0; t < 40; ++t) {
    std::vector<float> expected = dense_weights(plan, t);
    expected[4] = 0.0f;
    CHECK(dense_weights(masked, t) == expected);
  }
}

TEST_CASE("expert choice refuses what does not fit, by name") {
  const Example e;
  const auto refused = [&](ConstRows gate, const ExpertChoiceOptions& options, std::span<const float> bias = {}) {
    return std::string(ExpertChoiceRouter<>::create(gate, options, bias).error().what());
  };
  const ConstRows gate{e.gate.data(), 11, 24};
  CHECK(refused({}, {.capacity_factor = 1.0}) == "rows of a router's gate (experts), at least (got 0, allowed 1)");
  CHECK(refused(gate, {.capacity_factor = -1.0}) == "capacity factor of expert choice is negative or not finite");
  CHECK(refused(gate, {.capacity_factor = std::nan("")}) ==
        "capacity factor of expert choice is negative or not finite");
  CHECK(refused(gate, {.capacity_factor = 1.0, .min_capacity = -1}) == "min_capacity, at least (got -1, allowed 0)");
  CHECK(refused(gate, {.capacity_factor = 1.0, .group_size = -1}) == "group_size, at least (got -1, allowed 0)");
  CHECK(refused(gate, {.capacity_factor = 1.0}, std::vector<float>(3)) ==
        "size of gate_bias against experts (got 3, allowed 11)");
  const auto outcome = [&](ConstRows x, const RouteEdits& edits) {
    Context ctx;
    NoState state;
    RoutingPlan plan;
    return said(e.router({.capacity_factor = 1.0, .group_size = 8})
                    .route({.hidden = x, .layer = 3, .edits = edits}, state, plan, ctx));
  };
  CHECK(outcome(e.rows(12), {}) == "usage: tokens beyond whole groups (got 4, allowed 0)");
  CHECK(outcome(e.rows(), {.k = 2}) == "usage: experts choose tokens: there is no k for a call to set");
  std::vector<float> bad = e.x;
  bad[3 * 24 + 1] = std::nanf("");
  bad[2 * 24 + 1] = HUGE_VALF;
  CHECK(outcome({bad.data(), 40, 24}, {}).find("router logit is not finite, layer 3, token 2") != std::string::npos);
}
