#include "headgate/routing/bilevel_expert.hpp"

#include <algorithm>
#include <cmath>

#include "headgate/experts/glu_experts.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/routing/region_router.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/reference_moe.hpp"
#include "support/routing.hpp"

namespace {
using namespace headgate;
constexpr index_t width = 6;
constexpr index_t tokens = 30;
}  // namespace

TEST_CASE("P8: one region, or all regions chosen, is top-k then softmax, in bits") {
  const std::vector<float> gate = random_floats(15 * width, 0.6f, 1);
  const std::vector<float> x = random_floats(tokens * width, 1.0f, 2);
  const GateWeights weights{.gate = {gate.data(), 15, width}};
  const RoutingPlan plan = routed(granite_router(weights, 4).value(), {x.data(), tokens, width});
  for (const ExpertRegions regions : {ExpertRegions{1, 1}, ExpertRegions{5, 5}, ExpertRegions{15, 15}}) {
    CHECK(routed(bilevel_expert_router(weights, 4, regions).value(), {x.data(), tokens, width}) == plan);
  }
}

TEST_CASE("regions are those RegionRouter chooses by mean rows of the gate, experts the best in them") {
  const std::vector<float> gate = random_floats(15 * width, 0.6f, 3);
  const std::vector<float> x = random_floats(tokens * width, 1.0f, 4);
  std::vector<float> means(5 * width, 0.0f);
  for (std::size_t e = 0; e < 15; ++e) {
    for (std::size_t i = 0; i < width; ++i) means[e / 3 * width + i] += gate[e * width + i] / 3.0f;
  }
  Context ctx;
  RoutingPlan regions;
  throw_if_error(RegionRouter(2).route<float>({x.data(), tokens, width}, {means.data(), 5, width}, {}, regions, ctx));
  const auto router = bilevel_expert_router({.gate = {gate.data(), 15, width}}, 4, {5, 2}).value();
  const RoutingPlan plan = routed(router, {x.data(), tokens, width});
  for (index_t t = 0; t < tokens; ++t) {
    std::vector<std::pair<double, ExpertId>> candidates;
    for (const ExpertId region : regions.experts(t)) {
      for (ExpertId e = 3 * region; e < 3 * region + 3; ++e) {
        double z = 0.0;
        for (std::size_t i = 0; i < width; ++i) {
          z += static_cast<double>(gate[as_size(e) * width + i]) * static_cast<double>(x[as_size(t) * width + i]);
        }
        candidates.emplace_back(-z, e);
      }
    }
    std::sort(candidates.begin(), candidates.end());
    double sum = 0.0;
    for (std::size_t i = 0; i < 4; ++i) sum += std::exp(-candidates[i].first);
    for (std::size_t i = 0; i < 4; ++i) {
      CHECK(plan.experts(t)[i] == candidates[i].second);
      CHECK(static_cast<double>(plan.weights(t)[i]) ==
            Catch::Approx(std::exp(-candidates[i].first) / sum).epsilon(1e-5));
    }
  }
}

TEST_CASE(
    "P4: permuting regions, or experts inside one, permutes the ids; a masked expert does not count for its region") {
  const std::vector<float> gate = identity_gate(6);
  const std::vector<float> x = {1, 5, 3, 3.5f, 0, 4};
  const auto router = bilevel_expert_router({.gate = {gate.data(), 6, 6}}, 2, {3, 1}).value();
  CHECK(experts_of(routed(router, {x.data(), 1, 6}), 0) == std::vector<ExpertId>{3, 2});
  const std::vector<float> swapped = {3.5f, 3, 1, 5, 4, 0};
  CHECK(experts_of(routed(router, {swapped.data(), 1, 6}), 0) == std::vector<ExpertId>{0, 1});
  const std::vector<std::uint8_t> mask = {1, 1, 1, 1, 0, 1};
  CHECK(experts_of(routed(router, {x.data(), 1, 6}, RouteEdits{.expert_mask = mask}), 0) == std::vector<ExpertId>{5});
}

TEST_CASE("P9: a layer of experts in regions with all of them chosen is the dense softmax mixture") {
  const GluShape shape{.num_experts = 6, .hidden_size = width, .ffn_size = 5};
  const reference::Bank bank(shape, 5);
  const std::vector<float> gate = random_floats(6 * width, 0.8f, 6);
  const std::vector<float> x = random_floats(3 * width, 1.0f, 7);
  using Layer = MoELayer<BilevelExpertRouter<>, GluExperts<>>;
  const Layer layer(bilevel_expert_router({.gate = {gate.data(), 6, width}}, 6, {3, 3}).value(),
                    GluExperts<>(shape, bank.matrices()));
  Layer::State state;
  Context ctx;
  std::vector<float> y(3 * width);
  throw_if_error(layer.forward({.hidden = {x.data(), 3, width}}, state, {y.data(), 3, width}, ctx));
  for (std::size_t t = 0; t < 3; ++t) {
    std::vector<double> dense(width, 0.0);
    double sum = 0.0;
    for (index_t e = 0; e < 6; ++e) {
      double z = 0.0;
      for (std::size_t i = 0; i < width; ++i) {
        z += static_cast<double>(gate[as_size(e) * width + i]) * static_cast<double>(x[t * width + i]);
      }
      sum += std::exp(z);
      const std::vector<reference::Bounded> out = bank.expert(e, x.data() + t * width);
      for (std::size_t i = 0; i < width; ++i) dense[i] += std::exp(z) * out[i].value;
    }
    for (std::size_t i = 0; i < width; ++i) {
      CHECK(static_cast<double>(y[t * width + i]) == Catch::Approx(dense[i] / sum).margin(1e-5));
    }
  }
}

TEST_CASE("regions that do not divide the experts are refused") {
  const std::vector<float> gate = identity_gate(6);
  const GateWeights weights{.gate = {gate.data(), 6, 6}};
  CHECK(bilevel_expert_router(weights, 2, {4, 1}).error().what() ==
        std::string("experts beyond whole groups (got 2, allowed 0)"));
  CHECK_FALSE(bilevel_expert_router(weights, 2, {0, 1}).has_value());
  CHECK_FALSE(bilevel_expert_router(weights, 3, {3, 1}).has_value());
}
