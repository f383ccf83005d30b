#include "headgate/routing/promoe_router.hpp"

#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/any_router.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

namespace {
using namespace headgate;

template <class R>
RoutingPlan routed_with(const R& router, ConstRows x, std::vector<std::int32_t> labels, const RouteEdits& edits = {},
                        ExecutorRef threads = {}) {
  TokenLabels state{std::move(labels)};
  state.reset(x.rows);  // a pass begins: labels stay
  Context ctx(threads);
  RoutingPlan plan;
  throw_if_error(router.route({.hidden = x, .edits = edits}, state, plan, ctx));
  return plan;
}

// Against official rows of k ids, in which an unconditional row names its expert k times.
template <ScoreStage Score>
void check_case(const nlohmann::json& c) {
  const std::vector<float> prototypes = values(c["prototypes"]);
  const std::vector<float> x = values(c["hidden"]);
  const auto labels = values<std::int32_t>(c["labels"]);
  const auto ids = values<ExpertId>(c["ids"]);
  const std::vector<float> weights = values(c["weights"]);
  const auto k = c["k"].get<index_t>();
  const auto null_expert = c["null_expert"].get<bool>();
  const ConstRows rows{prototypes.data(), static_cast<index_t>(prototypes.size()) / 10, 10};
  const auto router = ProMoeRouter<Score>::create(rows, {.k = k, .null_expert = null_expert}).value();
  REQUIRE(router.num_experts() == rows.rows + (null_expert ? 1 : 0));
  const RoutingPlan plan = routed_with(router, {x.data(), 8, 10}, labels);
  for (index_t t = 0; t < 8; ++t) {
    INFO("token " << t << ", margin " << c["margin"]);
    const bool is_null = null_expert && labels[as_size(t)] == 1000;
    REQUIRE(plan.experts(t).size() == as_size(is_null ? 1 : k));
    for (std::size_t i = 0; i < plan.experts(t).size(); ++i) {
      CHECK(plan.experts(t)[i] == ids[as_size(t * k) + i]);
      CHECK(plan.weights(t)[i] == Catch::Approx(weights[as_size(t * k) + i]).margin(1e-6));
    }
  }
}

struct Example {
  std::vector<float> axes = identity_gate(3);
  std::vector<float> x = {3.0f, 0.0f, -4.0f, 0.0f, 2.0f, 0.0f};
  ProMoeRouter<> router(index_t k) const { return ProMoeRouter<>::create({axes.data(), 3, 3}, {.k = k}).value(); }
  ConstRows rows() const { return {x.data(), 2, 3}; }
};
}  // namespace

TEST_CASE("ProMoE's router in its three modes: ids equal and weights to 1e-6, conditional and not") {
  const auto cases = golden("promoe");
  REQUIRE(cases.size() == 6);
  for (const auto& c : cases) {
    INFO("k " << c["k"] << ", " << c["mode"]);
    if (c["mode"] == "identity") check_case<IdentityScore>(c);
    if (c["mode"] == "softmax") check_case<SoftmaxScore>(c);
    if (c["mode"] == "sigmoid") check_case<SigmoidScore>(c);
  }
}

TEST_CASE("ProMoE weighs by raw cosines, and sends a token with the null label to the last expert alone") {
  const Example e;
  const RoutingPlan plan = routed_with(e.router(3), e.rows(), {5, 1000});
  CHECK(experts_of(plan, 0) == std::vector<ExpertId>{0, 1, 2});
  CHECK(weights_of(plan, 0)[0] == Catch::Approx(0.6f));
  CHECK(weights_of(plan, 0)[2] == Catch::Approx(-0.8f));
  CHECK(experts_of(plan, 1) == std::vector<ExpertId>{3});
  CHECK(weights_of(plan, 1) == std::vector<float>{1.0f});
  // Without labels every token is conditional.
  const RoutingPlan without = routed_with(e.router(1), e.rows(), {});
  CHECK(experts_of(without, 0) == std::vector<ExpertId>{0});
  CHECK(experts_of(without, 1) == std::vector<ExpertId>{1});
  CHECK(without == routed(e.router(1), e.rows()));
}

TEST_CASE("ProMoE's labels reach it behind AnyRouter, and stay when a pass begins") {
  const Example e;
  const AnyRouter any = e.router(2);
  AnyRouter::State state;
  state.reset(2);
  state.get<TokenLabels>().labels = {1000, 4};
  state.reset(2);
  AnyRouter::State copy = state;
  state.get<TokenLabels>().labels.clear();
  Context ctx;
  RoutingPlan plan;
  throw_if_error(any.route({.hidden = e.rows()}, copy, plan, ctx));
  CHECK(plan == routed_with(e.router(2), e.rows(), {1000, 4}));
  throw_if_error(any.route({.hidden = e.rows()}, state, plan, ctx));
  CHECK(plan == routed_with(e.router(2), e.rows(), {}));
}

TEST_CASE("ProMoE's plan does not change when hidden states are scaled, or with the number of threads") {
  const std::vector<float> prototypes = random_floats(11 * 24, 1.0f, 1);
  std::vector<float> x = random_floats(40 * 24, 1.0f, 2);
  std::vector<std::int32_t> labels(40, 1);
  for (std::size_t t = 0; t < labels.size(); t += 3) labels[t] = -1;
  const auto router = ProMoeRouter<>::create({prototypes.data(), 11, 24}, {.k = 2, .null_label = -1}).value();
  const RoutingPlan plan = routed_with(router, {x.data(), 40, 24}, labels);
  CHECK(plan.entries() == 14 + 26 * 2);
  ThreadExecutor threads(3);
  CHECK(routed_with(router, {x.data(), 40, 24}, labels, {}, threads) == plan);
  for (float& v : x) v *= 8.0f;
  CHECK(routed_with(router, {x.data(), 40, 24}, labels) == plan);
  CHECK(routed_with(router, {x.data(), 0, 24}, {}).tokens() == 0);
}

TEST_CASE("ProMoE obeys a call's k and mask, of the last expert, too") {
  const Example e;
  CHECK(experts_of(routed_with(e.router(3), e.rows(), {}, {.k = 1}), 0) == std::vector<ExpertId>{0});
  const std::vector<std::uint8_t> mask = {0, 1, 1, 0};
  const RoutingPlan plan = routed_with(e.router(3), e.rows(), {1, 1000}, {.expert_mask = mask});
  CHECK(experts_of(plan, 0) == std::vector<ExpertId>{1, 2});
  CHECK(experts_of(plan, 1).empty());
}

TEST_CASE("ProMoE refuses labels of another number than tokens, edits it does not take, and names a bad token") {
  const Example e;
  const auto outcome = [&](std::vector<std::int32_t> labels, const RouteEdits& edits, index_t width = 3) {
    TokenLabels state{std::move(labels)};
    Context ctx;
    RoutingPlan plan;
    return said(e.router(1).route({.hidden = {e.x.data(), 2, width}, .edits = edits}, state, plan, ctx));
  };
  CHECK(outcome({}, {}) == "ok");
  CHECK(outcome({1}, {}) == "usage: labels of a router against tokens (got 1, allowed 2)");
  CHECK(outcome({}, {}, 2) == "usage: width of hidden against hidden_size of the router (got 2, allowed 3)");
  CHECK(outcome({}, {.k = 4}) == "usage: k of the call against prototypes (got 4, allowed 3)");
  const std::vector<std::uint8_t> mask(4, 1);
  CHECK(outcome({}, {.expert_mask = mask, .mask_meaning = MaskMeaning::prune}) ==
        "usage: expert_mask of ProMoE's router has no meaning but select");
  std::vector<float> bad = e.x;
  bad[4] = std::nanf("");
  TokenLabels state;
  Context ctx;
  RoutingPlan plan;
  const Status status = e.router(1).route({.hidden = {bad.data(), 2, 3}, .layer = 6}, state, plan, ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.layer == 6);
  CHECK(status.token == 1);
  CHECK(plan.tokens() == 0);
  CHECK(std::string(ProMoeRouter<>::create({e.axes.data(), 3, 3}, {.k = 4}).error().what()) ==
        "k of top-k against experts (got 4, allowed 3)");
  CHECK(std::string(ProMoeRouter<>::create({}, {}).error().what()) ==
        "prototypes of a gate (experts), at least (got 0, allowed 1)");
}
