#include "headgate/routing/tutel_cosine_router.hpp"

#include "headgate/kernels/native.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/transposed.hpp"

namespace {
using namespace headgate;
}

TEST_CASE("Tutel's cosine gate and routing: logits to 1e-5, ids equal, weights to 1e-5") {
  const auto cases = golden("tutel");
  REQUIRE(cases.size() == 6);
  for (const auto& c : cases) {
    const auto n = c["experts"].get<index_t>();
    const auto k = c["k"].get<index_t>();
    INFO(n << " experts, k " << k << ", temperature " << c["temperature"] << ", margin " << c["margin"]);
    const std::vector<float> prototypes = transposed(values(c["sim_matrix"]), n);
    const std::vector<float> projector = values(c["projector"]);
    const std::vector<float> bias = values(c["projector_bias"]);
    const std::vector<float> x = values(c["hidden"]);
    const auto width = static_cast<index_t>(bias.size());
    const CosineGateWeights weights{.prototypes = {prototypes.data(), n, width},
                                    .temperature = c["temperature"],
                                    .projector = {projector.data(), width, 10},
                                    .projector_bias = bias};
    const auto router = tutel_cosine_router(weights, k).value();
    std::vector<float> z(as_size(8 * n));
    Context ctx;
    router.gate().logits({x.data(), 8, 10}, {z.data(), 8, n}, ctx);
    const std::vector<float> logits = values(c["logits"]);
    for (std::size_t i = 0; i < z.size(); ++i) CHECK(z[i] == Catch::Approx(logits[i]).epsilon(1e-5).margin(1e-5));
    const RoutingPlan plan = routed(router, {x.data(), 8, 10});
    const auto ids = values<ExpertId>(c["ids"]);
    const std::vector<float> w = values(c["weights"]);
    for (index_t t = 0; t < 8; ++t) {
      INFO("token " << t);
      const auto first = ids.begin() + static_cast<std::ptrdiff_t>(t) * k;
      REQUIRE(experts_of(plan, t) == std::vector<ExpertId>(first, first + k));
      for (index_t i = 0; i < k; ++i) {
        CHECK(plan.weights(t)[as_size(i)] == Catch::Approx(w[as_size(t * k + i)]).epsilon(2e-5));
      }
    }
  }
}

TEST_CASE("with tokens and prototypes on the unit sphere and no projector, Tutel's cosine router is its linear one") {
  const std::vector<float> axes = identity_gate(5);
  const CosineGateWeights weights{.prototypes = {axes.data(), 5, 5}};
  const SoftmaxTopK<Renormalize> linear({.gate = {axes.data(), 5, 5}}, {2}, {0.0f, 0x1p-23f, true});
  const std::vector<float> x = {1.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.5f, -0.5f, 0.0f, 0.5f, 0.5f};
  CHECK(routed(tutel_cosine_router(weights, 2).value(), {x.data(), 2, 5}) == routed(linear, {x.data(), 2, 5}));
  const RouterTraits traits = tutel_cosine_router(weights, 2).value().traits();
  CHECK(traits.row_sum == RowSum::at_most_one);
  CHECK(traits.takes == (takes_k | takes_mask | takes_prune | takes_zero_key));
}
