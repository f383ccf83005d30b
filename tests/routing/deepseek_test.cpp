#include "headgate/routing/deepseek.hpp"

#include <algorithm>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/any_router.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"

namespace {

using namespace headgate;

// Plan of one token with given logits.
template <class Make>
RoutingPlan of_logits(const std::vector<float>& logits, const std::vector<float>& bias, Make make) {
  const auto n = static_cast<index_t>(logits.size());
  const std::vector<float> gate = identity_gate(n);
  const GateWeights weights{.gate = {gate.data(), n, n}, .selection_bias = bias};
  return routed(make(weights).value(), {logits.data(), 1, n});
}
void check_row(const RoutingPlan& plan, const std::vector<ExpertId>& experts, const std::vector<double>& weights) {
  CHECK(experts_of(plan, 0) == experts);
  REQUIRE(plan.weights(0).size() == weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    CHECK(static_cast<double>(plan.weights(0)[i]) == Catch::Approx(weights[i]).margin(1e-6));
  }
}
auto v3(index_t k, float scale, DeepseekGroups groups) {
  return [=](const GateWeights& weights) { return deepseek_v3_router(weights, k, scale, groups); };
}
auto v2(index_t k, float scale, DeepseekGroups groups) {
  return [=](const GateWeights& weights) { return deepseek_v2_router(weights, k, Scale{scale}, groups); };
}

}  // namespace

TEST_CASE("DeepSeek's and transformers' gates choose the same experts, weights to 1e-6") {
  const auto cases = golden("deepseek");
  REQUIRE(cases.size() == 7);
  for (const auto& c : cases) {
    const auto name = c["name"].get<std::string>();
    const auto k = c["k"].get<index_t>();
    const DeepseekGroups groups{c["groups"], c["topk_group"]};
    INFO(name << ", " << c["experts"] << " experts, margin " << c["margin"]);
    const std::vector<float> gate = values(c["gate"]);
    const std::vector<float> bias = values(c["bias"]);
    const std::vector<float> hidden = values(c["hidden"]);
    const GateWeights weights{.gate = {gate.data(), c["experts"], 10}, .selection_bias = bias};
    const auto make = [&]() -> AnyRouter {
      if (name.find("v3") != std::string::npos) return deepseek_v3_router(weights, k, c["scale"], groups).value();
      const Scale scale{c["scale"]};
      if (groups.num_groups == 1) return deepseek_v2_router(weights, k, scale).value();
      return deepseek_v2_router(weights, k, scale, groups).value();
    };
    const RoutingPlan plan = routed(make(), {hidden.data(), 8, 10});
    for (index_t t = 0; t < 8; ++t) {
      const std::vector<float> dense = dense_weights(plan, t);
      REQUIRE(plan.experts(t).size() == as_size(k));
      for (index_t i = t * k; i < (t + 1) * k; ++i) {
        const auto expert = c["ids"][as_size(i)].get<std::size_t>();
        CHECK(std::count(plan.experts(t).begin(), plan.experts(t).end(), static_cast<ExpertId>(expert)) == 1);
        CHECK(static_cast<double>(dense[expert]) ==
              Catch::Approx(c["weights"][as_size(i)].get<double>()).epsilon(1e-6));
      }
    }
  }
}

TEST_CASE("golden vector A: eight logits by the rules of V3 and V2") {
  const std::vector<float> logits = {1.0f, 2.0f, -1.0f, 0.5f, 1.98f, 0.0f, -0.5f, 1.5f};
  const std::vector<float> bias = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.6f, -0.3f};
  check_row(of_logits(logits, bias, v3(2, 2.5f, {1, 1})), {6, 1}, {0.750078, 1.749922});
  check_row(of_logits(logits, bias, v3(2, 2.5f, {4, 2})), {6, 1}, {0.750078, 1.749922});
  check_row(of_logits(logits, {}, v2(2, 16.0f, {4, 2})), {1, 4}, {4.644485, 4.552518});
  check_row(of_logits(logits, {}, [](const GateWeights& w) { return deepseek_v2_router(w, 2, Scale{1.0f}); }), {1, 4},
            {0.290280, 0.284532});
  check_row(of_logits(logits, {}, [](const GateWeights& w) { return deepseek_v2_router(w, 2, deepseek_normalized); }),
            {1, 4}, {0.505, 0.495});
}

TEST_CASE("golden vector B: experts of other groups are out even where all keys are negative") {
  // With 0 in their place, experts 0 and 1 of group 0 would win: (0.692890, 0.307110).
  const std::vector<float> logits = {-1.0f, -2.0f, -3.0f, -1.5f, -0.5f, -2.5f, -4.0f, -3.5f};
  const std::vector<float> bias(8, -0.6f);
  check_row(of_logits(logits, bias, v3(2, 1.0f, {4, 1})), {4, 5}, {0.832690, 0.167310});
}

TEST_CASE("golden vector C: V3 and V2 keep different groups of the same logits") {
  const std::vector<float> logits = {2.0f, -3.0f, 1.0f, 0.9f, 1.9f, -3.0f, 0.2f, 0.1f};
  check_row(of_logits(logits, std::vector<float>(8, 0.0f), v3(2, 1.0f, {4, 1})), {2, 3}, {0.506973, 0.493027});
  check_row(of_logits(logits, {}, v3(2, 1.0f, {1, 1})), {0, 4}, {0.503115, 0.496885});
  check_row(of_logits(logits, {}, v2(2, 1.0f, {4, 1})), {0, 1}, {0.340840, 0.002297});
}

TEST_CASE("P8: one group, or all groups kept, is the router without groups, in bits") {
  const std::vector<float> gate = random_floats(12 * 9, 0.5f, 1);
  const std::vector<float> bias = random_floats(12, 0.3f, 2);
  const std::vector<float> x = random_floats(20 * 9, 1.0f, 3);
  const GateWeights plain{.gate = {gate.data(), 12, 9}};
  const GateWeights biased{.gate = {gate.data(), 12, 9}, .selection_bias = bias};
  const ConstRows rows(x.data(), 20, 9);
  const RoutingPlan greedy = routed(deepseek_v2_router(plain, 5, Scale{4.0f}).value(), rows);
  for (const DeepseekGroups groups : {DeepseekGroups{1, 1}, DeepseekGroups{4, 4}, DeepseekGroups{6, 6}}) {
    CHECK(routed(deepseek_v2_router(plain, 5, Scale{4.0f}, groups).value(), rows) == greedy);
    const StagedRouter<SigmoidScore, TopK, Then<Renormalize, Scale>> v3_plain(biased, {5}, {{.add = 1e-20f}, {2.5f}});
    CHECK(routed(deepseek_v3_router(biased, 5, 2.5f, groups).value(), rows) == routed(v3_plain, rows));
  }
  CHECK(routed(deepseek_v2_router(plain, 5, Scale{1.0f}).value(), rows) ==
        routed(olmoe_router(plain, 5).value(), rows));
}

TEST_CASE("V3: at most topk_group groups, sums of scale, and a shift of all biases changes nothing") {
  const std::vector<float> gate = random_floats(20 * 9, 0.5f, 4);
  const std::vector<float> x = random_floats(40 * 9, 1.0f, 5);
  // Multiples of 1/8: shifting by a power of two is then exact in the bias, and near enough in the keys.
  std::vector<float> bias = random_floats(20, 8.0f, 6);
  for (float& b : bias) b = static_cast<float>(static_cast<int>(b)) / 8.0f;
  std::vector<float> lower = bias;
  for (float& b : lower) b -= 2.0f;
  const auto router = [&](const std::vector<float>& of_bias) {
    return deepseek_v3_router({.gate = {gate.data(), 20, 9}, .selection_bias = of_bias}, 4, 2.5f, {5, 2}).value();
  };
  const ConstRows rows(x.data(), 40, 9);
  const RoutingPlan plan = routed(router(bias), rows);
  for (index_t t = 0; t < 40; ++t) {
    std::vector<ExpertId> groups;
    double sum = 0.0;
    for (std::size_t i = 0; i < 4; ++i) {
      groups.push_back(plan.experts(t)[i] / 4);
      sum += static_cast<double>(plan.weights(t)[i]);
    }
    std::sort(groups.begin(), groups.end());
    CHECK(std::unique(groups.begin(), groups.end()) - groups.begin() <= 2);
    CHECK(sum == Catch::Approx(2.5).epsilon(1e-6));
  }
  CHECK(routed(router(lower), rows) == plan);
}

TEST_CASE("DeepSeek's routers refuse settings that do not fit, and say what is allowed") {
  const std::vector<float> gate(12 * 2, 0.0f);
  const GateWeights weights{.gate = {gate.data(), 12, 2}};
  const auto error_of = [](auto created) { return std::string(created.error().what()); };
  CHECK(error_of(deepseek_v3_router(weights, 4, 1.0f, {5, 2})) == "experts beyond whole groups (got 2, allowed 0)");
  CHECK(error_of(deepseek_v3_router(weights, 4, 1.0f, {0, 1})) == "groups of experts, at least (got 0, allowed 1)");
  CHECK(error_of(deepseek_v3_router(weights, 4, 1.0f, {4, 5})) == "topk_group against groups (got 5, allowed 4)");
  CHECK(error_of(deepseek_v3_router(weights, 4, 1.0f, {12, 4})) ==
        "keys_per_group against experts of a group (got 2, allowed 1)");
  CHECK(error_of(deepseek_v2_router(weights, 4, Scale{1.0f}, {4, 1})) ==
        "k of top-k against experts of topk_group groups (got 4, allowed 3)");
  CHECK(error_of(deepseek_v2_router(weights, 1, deepseek_normalized)) ==
        "k of normalized weights, at least (got 1, allowed 2)");
  CHECK_FALSE(deepseek_v2_router(weights, 1, deepseek_normalized, {4, 1}).has_value());
}
