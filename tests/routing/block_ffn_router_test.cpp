#include "headgate/routing/block_ffn_router.hpp"

#include "headgate/experts/glu_experts.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"

using namespace headgate;

TEST_CASE("BlockFFN's module scores the same and gives the same output, to 1e-6, gains negative or not") {
  const auto cases = golden("block_ffn");
  REQUIRE(cases.size() == 2);
  for (const auto& c : cases) {
    INFO("margin " << c["margin"]);
    const std::vector<float> gate = values(c["gate"]);
    const std::vector<float> gain = values(c["gain"]);
    const std::vector<float> x = values(c["hidden"]);
    auto experts_json = nlohmann::json::array();
    for (std::size_t e = 0; e < 7; ++e) experts_json.push_back({{"up", c["up"][e]}, {"down", c["down"][e]}});
    const GoldenExperts experts(experts_json, 8, 3);
    using Layer = MoELayer<BlockFfnRouter<>, GluExperts<>>;
    const Layer layer(block_ffn_router({.gate = {gate.data(), 7, 8}}, gain, c["eps"].get<float>()).value(),
                      GluExperts<>(experts.shape(), experts.matrices()));
    Layer::State state;
    Context ctx;
    std::vector<float> y(6 * 8);
    throw_if_error(layer.forward({.hidden = {x.data(), 6, 8}}, state, {y.data(), 6, 8}, ctx));
    CHECK(state.plan.experts(0).empty());
    for (index_t t = 0; t < 6; ++t) {
      const std::vector<float> dense = dense_weights(state.plan, t);
      for (std::size_t e = 0; e < 7; ++e) {
        const double expected = c["scores"][as_size(t) * 7 + e].get<double>();
        CHECK(static_cast<double>(dense[e]) == Catch::Approx(expected).margin(1e-6));
      }
    }
    for (std::size_t i = 0; i < y.size(); ++i) {
      CHECK(static_cast<double>(y[i]) == Catch::Approx(c["y"][i].get<double>()).margin(2e-6));
    }
  }
}

TEST_CASE("P10: scaling x changes neither experts nor, up to epsilon, weights") {
  const std::vector<float> gate = random_floats(7 * 6, 0.6f, 1);
  const std::vector<float> gain = random_floats(7, 2.0f, 2);
  const std::vector<float> x = random_floats(20 * 6, 1.0f, 3);
  std::vector<float> larger = x;
  for (float& v : larger) v *= 8.0f;
  const auto router = [&](float eps) { return block_ffn_router({.gate = {gate.data(), 7, 6}}, gain, eps).value(); };
  const RoutingPlan plan = routed(router(1e-6f), {x.data(), 20, 6});
  const RoutingPlan after = routed(router(1e-6f), {larger.data(), 20, 6});
  CHECK(std::equal(plan.experts().begin(), plan.experts().end(), after.experts().begin(), after.experts().end()));
  for (std::size_t i = 0; i < plan.weights().size(); ++i) {
    CHECK(after.weights()[i] == Catch::Approx(plan.weights()[i]).epsilon(1e-3).margin(1e-6));
  }
}

TEST_CASE(
    "P8: BlockFFN chooses ReMoE's experts, and its weights are ReMoE's over their root mean square, times the gain") {
  const std::vector<float> gate = random_floats(7 * 6, 0.6f, 4);
  const std::vector<float> gain(7, 3.0f);
  const std::vector<float> x = random_floats(20 * 6, 1.0f, 5);
  const RoutingPlan relu = routed(relu_router({.gate = {gate.data(), 7, 6}}).value(), {x.data(), 20, 6});
  const RoutingPlan plan =
      routed(block_ffn_router({.gate = {gate.data(), 7, 6}}, gain, 0.0f).value(), {x.data(), 20, 6});
  for (index_t t = 0; t < 20; ++t) {
    CHECK(experts_of(plan, t) == experts_of(relu, t));
    double squares = 0.0;
    for (const float w : relu.weights(t)) squares += static_cast<double>(w) * static_cast<double>(w);
    for (std::size_t i = 0; i < relu.weights(t).size(); ++i) {
      const double expected = 3.0 * static_cast<double>(relu.weights(t)[i]) / std::sqrt(squares / 7.0);
      CHECK(static_cast<double>(plan.weights(t)[i]) == Catch::Approx(expected).epsilon(1e-6));
    }
  }
}

TEST_CASE("a call's mask leaves the weights of the other experts as they are") {
  const std::vector<float> gate = identity_gate(3);
  const std::vector<float> gain = {1.0f, 2.0f, -1.0f};
  const std::vector<float> x = {2.0f, 1.0f, 3.0f};
  const auto router = block_ffn_router({.gate = {gate.data(), 3, 3}}, gain, 0.0f).value();
  const std::vector<float> all = dense_weights(routed(router, {x.data(), 1, 3}), 0);
  CHECK(all[2] < 0.0f);
  const std::vector<std::uint8_t> mask = {1, 1, 0};
  CHECK(dense_weights(routed(router, {x.data(), 1, 3}, RouteEdits{.expert_mask = mask}), 0) ==
        std::vector<float>{all[0], all[1], 0.0f});
}

TEST_CASE("eps 0 and nobody active is an empty row, not NaN") {
  const std::vector<float> gate = identity_gate(3);
  const std::vector<float> gain(3, 1.0f);
  const std::vector<float> x = {-2.0f, -1.0f, 0.0f};
  CHECK(routed(block_ffn_router({.gate = {gate.data(), 3, 3}}, gain, 0.0f).value(), {x.data(), 1, 3}).entries() == 0);
}

TEST_CASE("BlockFFN's router refuses a gain and an epsilon that do not fit") {
  const std::vector<float> gate = identity_gate(3);
  const GateWeights weights{.gate = {gate.data(), 3, 3}};
  const std::vector<float> two(2, 1.0f);
  std::vector<float> bad(3, 1.0f);
  CHECK(block_ffn_router(weights, two, 0.0f).error().what() ==
        std::string("size of router_norm against experts (got 2, allowed 3)"));
  CHECK_FALSE(block_ffn_router(weights, bad, -1.0f).has_value());
  bad[1] = std::nanf("");
  CHECK_FALSE(block_ffn_router(weights, bad, 0.0f).has_value());
}

TEST_CASE("BlockFFN's router says which gain and epsilon it refuses, and takes an epsilon of 0") {
  const std::vector<float> gate(6, 0.5f);
  const std::vector<float> gain = {1.0f, -1.0f, 2.0f};
  const std::vector<float> bad = {1.0f, 1.0f, std::nanf("")};
  const GateWeights weights{.gate = {gate.data(), 3, 2}};
  CHECK(refused(block_ffn_router(weights, gain, 0.0f)) == "made");
  CHECK(refused(block_ffn_router(weights, gain, -1e-6f)) == "eps of a router's norm is negative or not finite");
  CHECK(refused(block_ffn_router(weights, std::span(gain).first(2), 0.0f)) ==
        "size of router_norm against experts (got 2, allowed 3)");
  CHECK(refused(block_ffn_router(weights, bad, 0.0f)) == "gain of an expert is not finite, expert 2");
  // Of two experts with logits 3 and -1: 3 / sqrt(9 / 2 + eps).
  std::vector<float> row = {3.0f, -1.0f};
  ReluRmsScore{.eps = 4.5f}.apply<NativeBackend>(std::span<float>(row));
  CHECK(row[0] == Catch::Approx(1.0));
  CHECK(row[1] == 0.0f);
}
