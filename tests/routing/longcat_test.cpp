#include "headgate/routing/longcat.hpp"

#include <algorithm>

#include "headgate/experts/glu_experts.hpp"
#include "headgate/experts/zero_compute.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"

namespace {
using namespace headgate;
using Bank = WithZeroComputeExperts<SwiGluExperts<>>;

// Parameters of n + m experts for 24 channels.
struct Example {
  Example(index_t experts, unsigned seed)
      : n(experts),
        gate(random_floats(as_size(experts) * 24, 0.5f, seed)),
        bias(random_floats(as_size(experts), 0.3f, seed + 1)),
        x(random_floats(37 * 24, 1.0f, seed + 2)) {}
  GateWeights weights() const { return {.gate = {gate.data(), n, 24}, .selection_bias = bias}; }
  ConstRows rows() const { return {x.data(), 37, 24}; }
  index_t n;
  std::vector<float> gate, bias, x;
};
}  // namespace

TEST_CASE("LongCat-Flash's layer with zero experts: the same experts, weights and outputs to 1e-5") {
  const auto cases = golden("longcat");
  REQUIRE(cases.size() == 3);
  for (const auto& c : cases) {
    const auto n = c["experts"].get<index_t>();
    const auto m = c["zeros"].get<index_t>();
    const auto k = c["k"].get<index_t>();
    INFO(n << " experts and " << m << ", margin " << c["margin"]);
    const std::vector<float> gate = values(c["gate"]);
    const std::vector<float> bias = values(c["bias"]);
    const std::vector<float> x = values(c["hidden"]);
    const GoldenExperts experts(c["ffn"], 10, 3);
    const std::vector<ZeroComputeExpert> zeros(as_size(m), {ZeroComputeKind::identity});
    const GateWeights weights{.gate = {gate.data(), n + m, 10}, .selection_bias = bias};
    const MoELayer<LongCatRouter<>, Bank> layer(longcat_router(weights, k, c["scale"]).value(),
                                                Bank(SwiGluExperts<>(experts.shape(), experts.matrices()), zeros));
    std::vector<float> y(70);
    MoELayer<LongCatRouter<>, Bank>::State state;
    Context ctx;
    throw_if_error(layer.forward({.hidden = {x.data(), 7, 10}}, state, {y.data(), 7, 10}, ctx));
    const auto ids = values<ExpertId>(c["ids"]);
    const std::vector<float> w = values(c["weights"]);
    for (index_t t = 0; t < 7; ++t) {
      const std::vector<float> row = dense_weights(state.plan, t);
      REQUIRE(state.plan.experts(t).size() == as_size(k));
      for (std::size_t i = as_size(t * k); i < as_size((t + 1) * k); ++i) {
        CHECK(row[as_size(ids[i])] == Catch::Approx(w[i]).epsilon(1e-5));
      }
    }
    const std::vector<float> expected = values(c["y"]);
    for (std::size_t i = 0; i < y.size(); ++i) CHECK(y[i] == Catch::Approx(expected[i]).epsilon(1e-5).margin(1e-5));
    CHECK(std::any_of(ids.begin(), ids.end(), [&](ExpertId e) { return e >= n; }));
  }
}

TEST_CASE("paper_ zero experts behind a grouped gate stand in no group: by hand") {
  // Groups {0, 1}, {2, 3}, {4, 5}, of which one competes, and the zero experts 6 and 7.
  const std::vector<float> gate = identity_gate(8);
  const GateWeights weights{.gate = {gate.data(), 8, 8}};
  const auto router = grouped_zero_expert_router(weights, 2, 3, 2.5f, {3, 1}).value();
  const std::vector<float> x = {1.0f, 1.0f, 3.0f, -2.0f, 0.0f, 0.0f, 0.5f, 4.0f,  // group 0: the sum of its two best
                                9.0f, 8.0f, 7.0f, 6.0f,  5.0f, 4.0f, 0.0f, 0.0f};
  const RoutingPlan plan = routed(router, {x.data(), 2, 8});
  CHECK(experts_of(plan, 0) == std::vector<ExpertId>{7, 0, 1});
  CHECK(experts_of(plan, 1) == std::vector<ExpertId>{0, 1, 6});
  double sum = 0.0;
  for (const float w : plan.weights(1)) sum += static_cast<double>(w);
  CHECK(sum == Catch::Approx(2.5));
  CHECK(plan.weights(1)[2] == Catch::Approx(2.5 * 0.5 / (0.5 + 0.99987661 + 0.99966465)));
}

TEST_CASE(
    "no zero experts behind a grouped gate is DeepSeek-V3's router, and one group is LongCat's with its own scores") {
  const Example e(40, 5);
  CHECK(routed(grouped_zero_expert_router(e.weights(), 0, 6, 2.5f, {8, 3}).value(), e.rows()) ==
        routed(deepseek_v3_router(e.weights(), 6, 2.5f, {8, 3}).value(), e.rows()));
  // All groups chosen: what stands in none makes no difference.
  CHECK(routed(grouped_zero_expert_router(e.weights(), 4, 6, 2.5f, {6, 6}).value(), e.rows()) ==
        routed(deepseek_v3_router(e.weights(), 6, 2.5f, {1, 1}).value(), e.rows()));
}

TEST_CASE("LongCat's router without a selection bias is DeepSeek-V2's greedy one, in bits") {
  const Example e(11, 13);
  const GateWeights plain{.gate = {e.gate.data(), 11, 24}};
  CHECK(routed(longcat_router(plain, 3, 16.0f).value(), e.rows()) ==
        routed(deepseek_v2_router(plain, 3, Scale{16.0f}).value(), e.rows()));
}

TEST_CASE("LongCat's plans: row sums, zero experts counted, edits") {
  const Example e(11, 9);
  const auto router = longcat_router(e.weights(), 3, 6.0f).value();
  const RouterTraits traits = router.traits();
  CHECK(traits.k_min == 3);
  CHECK(traits.takes == (takes_k | takes_mask | takes_prune | takes_zero_key));
  const RoutingPlan plan = routed(router, e.rows());
  for (index_t t = 0; t < plan.tokens(); ++t) {
    float sum = 0.0f;
    for (const float w : plan.weights(t)) sum += w;
    CHECK(sum <= 6.0f);
  }
  CHECK(experts_of(routed(router, e.rows(), {.k = 2}), 5).size() == 2);
}

TEST_CASE("a grouped gate with zero experts refuses numbers that do not fit") {
  const Example e(11, 1);
  const auto said_of = [&](index_t zeros, index_t k, DeepseekGroups groups) {
    return std::string(grouped_zero_expert_router(e.weights(), zeros, k, 1.0f, groups).error().what());
  };
  CHECK(said_of(2, 3, {4, 2}) == "experts beyond whole groups (got 1, allowed 0)");
  CHECK(said_of(-1, 3, {4, 2}) == "experts in no group, at least (got -1, allowed 0)");
  CHECK(said_of(8, 3, {4, 2}) == "experts in no group against those left by groups of one (got 8, allowed 7)");
  CHECK(said_of(3, 8, {4, 2}) == "k of top-k against experts of topk_group groups (got 8, allowed 7)");
  CHECK(grouped_zero_expert_router(e.weights(), 3, 7, 1.0f, {4, 2}).has_value());
}
