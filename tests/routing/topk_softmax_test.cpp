#include "headgate/routing/topk_softmax.hpp"

#include "golden/routing/vectors.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/routing/any_router.hpp"
#include "headgate/routing/plan_transform.hpp"
#include "support/catch.hpp"

namespace {

using namespace headgate;

AnyRouter preset(std::string_view name, const GateWeights& weights, index_t k) {
  if (name == "switch") return switch_router(weights).value();
  if (name == "mixtral") return mixtral_router(weights, k).value();
  if (name == "olmoe") return olmoe_router(weights, k).value();
  if (name == "qwen2_moe") return qwen2_moe_router(weights, k).value();
  if (name == "qwen3_moe") return qwen3_moe_router(weights, k).value();
  if (name == "llama4") {
    return StagedRouter<IdentityScore, TopK, SigmoidOverSelected>(weights, TopK{k}, SigmoidOverSelected{});
  }
  if (name != "granite" && name != "gpt_oss") FAIL("no preset " << name);
  return granite_router(weights, k).value();
}

}  // namespace

TEST_CASE("presets route as the modules of transformers do: equal ids, weights to 1e-6") {
  REQUIRE(golden_routes.size() == 9);
  for (const GoldenRoutes& golden : golden_routes) {
    INFO(golden.name << ", " << golden.num_experts << " experts");
    constexpr index_t hidden_size = 26;
    const auto tokens = static_cast<index_t>(golden.hidden.size()) / hidden_size;
    const GateWeights weights{.gate = {golden.gate.data(), golden.num_experts, hidden_size}, .gate_bias = golden.bias};
    const AnyRouter router = preset(golden.name, weights, golden.k);
    Context ctx;
    AnyRouter::State state;
    RoutingPlan plan;
    throw_if_error(router.route({.hidden = {golden.hidden.data(), tokens, hidden_size}}, state, plan, ctx));
    if (std::string_view(golden.name) ==
        "switch") {  // whose module also drops what an expert of capacity 1 cannot take
      const RoutingPlan all = plan;
      throw_if_error(limit_capacity(all, 1, CapacityOrder::token, WeightsAfterDrop::as_they_are, plan));
      CHECK(plan.entries() < tokens);
    }
    REQUIRE(plan.tokens() == tokens);
    for (index_t t = 0; t < tokens; ++t) {
      std::vector<ExpertId> experts;
      std::vector<float> expected;
      for (index_t i = t * golden.k; i < (t + 1) * golden.k; ++i) {
        if (golden.experts[as_size(i)] < 0) continue;
        experts.push_back(golden.experts[as_size(i)]);
        expected.push_back(golden.weights[as_size(i)]);
      }
      REQUIRE(std::vector<ExpertId>(plan.experts(t).begin(), plan.experts(t).end()) == experts);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        CHECK(plan.weights(t)[i] == Catch::Approx(expected[i]).margin(1e-6));
      }
    }
  }
}

TEST_CASE("presets refuse a k that does not suit the gate, and say what is allowed") {
  const float gate[10] = {};
  const GateWeights weights{.gate = {gate, 5, 2}};
  const auto error_of = [](auto created) { return std::string(created.error().what()); };
  CHECK(error_of(mixtral_router(weights, 6)) == "k of top-k against experts (got 6, allowed 5)");
  CHECK(error_of(olmoe_router(weights, 0)) == "k of top-k, at least (got 0, allowed 1)");
  CHECK(error_of(qwen2_moe_router(weights, -1)) == "k of top-k, at least (got -1, allowed 1)");
  CHECK_FALSE(qwen3_moe_router(weights, 6).has_value());
  CHECK_FALSE(granite_router(weights, 6).has_value());
  CHECK_FALSE(switch_router({.gate = {gate, 0, 2}}).has_value());
  CHECK(granite_router(weights, 5).has_value());
}
