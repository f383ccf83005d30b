#include "headgate/routing/topk_sigmoid.hpp"

#include <algorithm>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/any_router.hpp"
#include "headgate/routing/deepseek.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/routing.hpp"

namespace {

using namespace headgate;

AnyRouter router_of(const nlohmann::json& c, const GateWeights& weights) {
  const auto name = c["name"].get<std::string>();
  const auto& options = c["options"];
  const auto k = c["k"].get<index_t>();
  if (name == "ernie4_5_moe") return ernie_router(weights, k, options["moe_norm_min"].get<float>()).value();
  const auto scale = options["routed_scaling_factor"].get<float>();
  const bool is_normalized = options["norm_topk_prob"].get<bool>();
  if (name == "lfm2_moe") {
    if (is_normalized) return lfm2_moe_router(weights, k, scale).value();
    return scaled_sigmoid_router(weights, k, scale).value();
  }
  const DeepseekGroups groups{options.value("n_group", 1), options.value("topk_group", 1)};
  if (is_normalized) return deepseek_v3_router(weights, k, scale, groups).value();
  return deepseek_v3_router(weights, k, Scale{scale}, groups).value();
}

}  // namespace

TEST_CASE("routers that choose with a bias route as transformers' do: the same experts, weights to 1e-6") {
  const auto cases = golden("biased_routing");
  REQUIRE(cases.size() == 7);
  for (const auto& c : cases) {
    INFO(c["name"] << " " << c["options"]);
    const std::vector<float> gate = values(c["gate"]);
    const std::vector<float> bias = values(c["bias"]);
    const std::vector<float> hidden = values(c["hidden"]);
    const auto k = c["k"].get<index_t>();
    const GateWeights weights{.gate = {gate.data(), c["experts"].get<index_t>(), 10}, .selection_bias = bias};
    const RoutingPlan plan = routed(router_of(c, weights), {hidden.data(), 8, 10});
    for (index_t t = 0; t < 8; ++t) {
      const std::vector<float> dense = dense_weights(plan, t);
      REQUIRE(plan.experts(t).size() == as_size(k));
      for (index_t i = t * k; i < (t + 1) * k; ++i) {
        const auto expert = c["ids"][as_size(i)].get<ExpertId>();
        CHECK(std::count(plan.experts(t).begin(), plan.experts(t).end(), expert) == 1);
        CHECK(static_cast<double>(dense[as_size(expert)]) ==
              Catch::Approx(c["weights"][as_size(i)].get<double>()).epsilon(1e-6));
      }
    }
  }
}

TEST_CASE("golden vector A by presets with a bias") {
  const std::vector<float> logits = {1.0f, 2.0f, -1.0f, 0.5f, 1.98f, 0.0f, -0.5f, 1.5f};
  const std::vector<float> bias = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.6f, -0.3f};
  const std::vector<float> gate = identity_gate(8);
  const GateWeights weights{.gate = {gate.data(), 8, 8}, .selection_bias = bias};
  const auto check = [&](const AnyRouter& router, std::vector<double> expected) {
    const RoutingPlan plan = routed(router, {logits.data(), 1, 8});
    CHECK(experts_of(plan, 0) == std::vector<ExpertId>{6, 1});
    for (std::size_t i = 0; i < 2; ++i) {
      CHECK(static_cast<double>(plan.weights(0)[i]) == Catch::Approx(expected[i]).margin(1e-6));
    }
  };
  check(lfm2_moe_router(weights, 2).value(), {0.300031, 0.699968});
  check(lfm2_moe_router(weights, 2, 2.0f).value(), {0.600062, 1.399936});
  check(minimax_m2_router(weights, 2).value(), {0.300031, 0.699969});
  check(scaled_sigmoid_router(weights, 2, 1.0f).value(), {0.377541, 0.880797});
  check(deepseek_v3_router(weights, 2, Scale{2.0f}, {1, 1}).value(), {0.755081, 1.761594});
  check(ernie_router(weights, 2).value(), {0.075858, 0.924142});
}
