#include "headgate/routing/dynmoe_router.hpp"

#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/transposed.hpp"

namespace {
using namespace headgate;

// Prototypes along the axes: cosines with x are x / |x|.
RoutingPlan of_cosines(const std::vector<float>& x, const std::vector<float>& thresholds, const RouteEdits& edits = {},
                       const std::vector<std::uint8_t>& mask = {}) {
  const auto n = static_cast<index_t>(x.size());
  const std::vector<float> axes = identity_gate(n);
  return routed(dynmoe_router({.prototypes = {axes.data(), n, n}, .thresholds = thresholds, .mask = mask}).value(),
                {x.data(), 1, n}, edits);
}
}  // namespace

TEST_CASE(
    "DynMoE's gate: the same experts with the same weights as the official module, some tokens above no threshold") {
  const auto cases = golden("dynmoe");
  REQUIRE(cases.size() == 4);
  int alone = 0;
  for (const auto& c : cases) {
    const std::vector<float> thresholds = values(c["gates"]);
    const auto n = static_cast<index_t>(thresholds.size());
    const std::vector<float> prototypes = transposed(values(c["sim_matrix"]), n);
    const auto mask = values<std::uint8_t>(c["experts_mask"]);
    const std::vector<float> x = values(c["hidden"]);
    const std::vector<float> weights = values(c["weights"]);
    const index_t width = static_cast<index_t>(prototypes.size()) / n;
    const DynMoeWeights of{.prototypes = {prototypes.data(), n, width},
                           .thresholds = thresholds,
                           .mask = mask,
                           .temperature = c["temperature"]};
    const RoutingPlan plan = routed(dynmoe_router(of).value(), {x.data(), 7, width});
    alone += c["alone"].get<int>();
    for (index_t t = 0; t < 7; ++t) {
      const std::vector<float> row = dense_weights(plan, t);
      for (index_t e = 0; e < n; ++e) {
        INFO(n << " experts, token " << t << ", expert " << e << ", margin " << c["margin"]);
        CHECK(row[as_size(e)] == Catch::Approx(weights[as_size(t * n + e)]).margin(1e-6));
      }
    }
  }
  CHECK(alone > 0);
}

TEST_CASE(
    "DynMoE takes whom the token is close enough to, the farthest above its threshold first, each with an equal "
    "share") {
  const std::vector<float> x = {0.5f, -0.5f, 0.5f, 0.5f, 0.0f};
  CHECK(experts_of(of_cosines(x, {0.4f, -1.0f, 0.6f, 0.1f, 0.0f}), 0) == std::vector<ExpertId>{1, 3, 0});
  CHECK(weights_of(of_cosines(x, {0.4f, -1.0f, 0.6f, 0.1f, 0.0f}), 0) == std::vector<float>(3, 1.0f / 3.0f));
  // At its threshold an expert is not above it.
  CHECK(experts_of(of_cosines(x, {0.9f, 0.9f, 0.9f, 0.9f, -0.1f}), 0) == std::vector<ExpertId>{4});
  CHECK(experts_of(of_cosines(x, {0.9f, 0.9f, 0.9f, 0.4f, 0.0f}), 0) == std::vector<ExpertId>{3});
  // None: the closest, not the one least below its threshold; ties to the lower id.
  CHECK(experts_of(of_cosines(x, {0.9f, -0.4f, 0.8f, 0.9f, 0.1f}), 0) == std::vector<ExpertId>{0});
  CHECK(experts_of(of_cosines(x, {0.9f, -0.4f, 0.8f, 0.9f, 0.1f}, {}, {0, 1, 1, 1, 1}), 0) == std::vector<ExpertId>{2});
  CHECK(weights_of(of_cosines(x, {0.9f, -0.4f, 0.8f, 0.9f, 0.1f}), 0) == std::vector<float>{1.0f});
}

TEST_CASE("DynMoE obeys a call's k and mask, and its own mask takes experts out") {
  const std::vector<float> x = {0.5f, -0.5f, 0.5f, 0.5f, 0.0f};
  const std::vector<float> g = {0.4f, -1.0f, 0.6f, 0.1f, 0.0f};
  CHECK(experts_of(of_cosines(x, g, {.k = 2}), 0) == std::vector<ExpertId>{1, 3});
  CHECK(weights_of(of_cosines(x, g, {.k = 2}), 0) == std::vector<float>(2, 0.5f));
  const std::vector<std::uint8_t> only = {0, 0, 1, 0, 1};
  for (const MaskMeaning meaning : {MaskMeaning::select, MaskMeaning::prune}) {
    CHECK(experts_of(of_cosines(x, g, {.expert_mask = only, .mask_meaning = meaning}), 0) == std::vector<ExpertId>{2});
  }
  CHECK(experts_of(of_cosines(x, g, {}, only), 0) == std::vector<ExpertId>{2});
  const std::vector<std::uint8_t> nobody(5, 0);
  CHECK(experts_of(of_cosines(x, g, {.expert_mask = nobody}), 0).empty());
}

TEST_CASE("DynMoE's plan does not change when hidden states are scaled, and is Scalar's") {
  const std::vector<float> prototypes = random_floats(11 * 24, 1.0f, 1);
  const std::vector<float> thresholds = random_floats(11, 0.2f, 2);
  std::vector<float> x = random_floats(9 * 24, 1.0f, 3);
  const DynMoeWeights weights{.prototypes = {prototypes.data(), 11, 24}, .thresholds = thresholds, .temperature = 1.0f};
  const RoutingPlan plan = routed(dynmoe_router(weights).value(), {x.data(), 9, 24});
  CHECK(plan == routed(dynmoe_router<Scalar>(weights).value(), {x.data(), 9, 24}));
  for (float& v : x) v *= 64.0f;
  CHECK(plan == routed(dynmoe_router(weights).value(), {x.data(), 9, 24}));
  const RouterTraits traits = dynmoe_router(weights).value().traits();
  CHECK(traits.k_min == 1);
  CHECK(traits.k_max == 11);
  CHECK(traits.row_sum == RowSum::one);
}

TEST_CASE("DynMoE refuses thresholds that are not one a prototype, or not finite") {
  const std::vector<float> axes = identity_gate(3);
  const auto said = [&](std::vector<float> thresholds, index_t rows = 3) {
    return std::string(dynmoe_router({.prototypes = {axes.data(), rows, 3}, .thresholds = thresholds}).error().what());
  };
  CHECK(said({0.0f, 0.0f}) == "thresholds of a router against experts (got 2, allowed 3)");
  CHECK(said({}) == "thresholds of a router against experts (got 0, allowed 3)");
  CHECK(said({0.0f, 0.0f, std::nanf("")}) == "threshold is not finite, expert 2");
  CHECK(said({}, 0) == "prototypes of a gate (experts), at least (got 0, allowed 1)");
}
