#include "headgate/routing/sparse_mixer.hpp"

#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/kernels/scalar.hpp"
#include "headgate/routing/any_router.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"

namespace {

using namespace headgate;

RoutingPlan of_logits(const std::vector<float>& logits, float jitter, const RouteEdits& edits = {}) {
  const auto n = static_cast<index_t>(logits.size());
  const std::vector<float> gate = identity_gate(n);
  return routed(sparse_mixer_router({.gate = {gate.data(), n, n}}, jitter).value(), {logits.data(), 1, n}, edits);
}
void check_row(const RoutingPlan& plan, const std::vector<ExpertId>& experts, const std::vector<double>& weights) {
  CHECK(experts_of(plan, 0) == experts);
  REQUIRE(plan.weights(0).size() == weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    CHECK(static_cast<double>(plan.weights(0)[i]) == Catch::Approx(weights[i]).margin(1e-6));
  }
}

}  // namespace

TEST_CASE("a sparse mixer routes as transformers' PhiMoE does: ids equal, weights to 1e-6") {
  const auto cases = golden("sparse_mixer");
  REQUIRE(cases.size() == 3);
  for (const auto& c : cases) {
    const auto n = c["experts"].get<index_t>();
    INFO(n << " experts, jitter " << c["jitter"]);
    const std::vector<float> logits = values(c["logits"]);
    const std::vector<float> gate = identity_gate(n);
    const auto tokens = static_cast<index_t>(logits.size()) / n;
    const RoutingPlan plan =
        routed(sparse_mixer_router({.gate = {gate.data(), n, n}}, c["jitter"]).value(), {logits.data(), tokens, n});
    const std::vector<ExpertId> ids = values<ExpertId>(c["ids"]);
    const std::vector<double> weights = values<double>(c["weights"]);
    for (index_t t = 0; t < tokens; ++t) {
      INFO("token " << t);
      REQUIRE(experts_of(plan, t) == std::vector<ExpertId>{ids[as_size(2 * t)], ids[as_size(2 * t + 1)]});
      for (index_t i = 0; i < 2; ++i) {
        CHECK(static_cast<double>(plan.weights(t)[as_size(i)]) ==
              Catch::Approx(weights[as_size(2 * t + i)]).margin(1e-6));
      }
    }
  }
}

TEST_CASE("golden vector A by the sparse mixer: the first expert has a rival, the second has none") {
  const std::vector<float> logits = {1.0f, 2.0f, -1.0f, 0.5f, 1.98f, 0.0f, -0.5f, 1.5f};
  check_row(of_logits(logits, 0.01f), {1, 4}, {0.505, 1.0});
  // A jitter of 0 leaves nobody but the best; a large one is a softmax over all that are left.
  check_row(of_logits(logits, 0.0f), {1, 4}, {1.0, 1.0});
  double all = 0.0;
  for (const float z : logits) all += std::exp(static_cast<double>(z));
  check_row(of_logits(logits, 100.0f), {1, 4}, {std::exp(2.0) / all, std::exp(1.98) / (all - std::exp(2.0))});
}

TEST_CASE("nearness is by the larger of a logit's size and the best one") {
  // (2 - 1.9) / 2 = 0.05, (-1.9 + 2) / 2 = 0.05: below 0.06, not below 0.04.
  const double pair = 1.0 / (1.0 + std::exp(-0.1));
  check_row(of_logits({2.0f, 1.9f, -5.0f}, 0.03f), {0, 1}, {pair, 1.0});
  check_row(of_logits({2.0f, 1.9f, -5.0f}, 0.02f), {0, 1}, {1.0, 1.0});
  check_row(of_logits({-2.0f, -1.9f, -5.0f}, 0.03f), {1, 0}, {pair, 1.0});
  check_row(of_logits({-2.0f, -1.9f, -5.0f}, 0.02f), {1, 0}, {1.0, 1.0});
  // Of zeros nobody is far from another; ties go to the lower id.
  check_row(of_logits({0.0f, 0.0f, 0.0f}, 0.01f), {0, 1}, {1.0 / 3.0, 0.5});
  check_row(of_logits({-1.0f, 0.0f, -1e-3f}, 0.01f), {1, 2}, {1.0, 1.0});
}

TEST_CASE("a sparse mixer obeys a call's k and masks") {
  const std::vector<float> logits = {1.0f, 2.0f, -1.0f, 0.5f, 1.98f, 0.0f, -0.5f, 1.97f};
  const double second = 1.0 / (1.0 + std::exp(-0.01));
  const double first = 1.0 / (1.0 + std::exp(-0.02) + std::exp(-0.03));
  check_row(of_logits(logits, 0.01f), {1, 4}, {first, second});
  check_row(of_logits(logits, 0.01f, {.k = 1}), {1}, {first});
  check_row(of_logits(logits, 0.01f, {.k = 3}), {1, 4, 7}, {first, second, 1.0});
  const std::vector<std::uint8_t> mask = {1, 1, 1, 1, 0, 1, 1, 1};
  // As if its row of the gate were not there; or never chosen and still a rival.
  check_row(of_logits(logits, 0.01f, {.expert_mask = mask, .mask_meaning = MaskMeaning::prune}), {1, 7},
            {1.0 / (1.0 + std::exp(-0.03)), 1.0});
  check_row(of_logits(logits, 0.01f, {.expert_mask = mask}), {1, 7}, {first, 1.0 / (1.0 + std::exp(0.01))});
  const std::vector<std::uint8_t> one = {0, 0, 0, 0, 0, 0, 1, 0};
  check_row(of_logits(logits, 0.01f, {.expert_mask = one, .mask_meaning = MaskMeaning::prune}), {6}, {1.0});
  const std::vector<std::uint8_t> none(8, 0);
  check_row(of_logits(logits, 0.01f, {.expert_mask = none}), {}, {});
}

TEST_CASE("a sparse mixer says what its weights add up to, and refuses a jitter that is none") {
  const std::vector<float> gate = identity_gate(3);
  const GateWeights weights{.gate = {gate.data(), 3, 3}};
  const RouterTraits traits = sparse_mixer_router(weights, 0.01f).value().traits();
  CHECK(traits.k_min == 2);
  CHECK(traits.k_max == 2);
  CHECK(traits.row_sum == RowSum::free);
  CHECK(traits.takes == (takes_k | takes_mask | takes_prune | takes_zero_key));
  for (const float jitter : {-0.01f, std::nanf(""), HUGE_VALF}) {
    CHECK(std::string(sparse_mixer_router(weights, jitter).error().what()) ==
          "jitter of a sparse mixer is negative or not finite");
  }
  CHECK(std::string(sparse_mixer_router({.gate = {gate.data(), 1, 3}}, 0.01f).error().what()) ==
        "k of top-k against experts (got 2, allowed 1)");
  CHECK(sparse_mixer_router({.gate = {gate.data(), 1, 3}}, 0.01f, 1).has_value());
}

TEST_CASE("a sparse mixer names a logit that is not finite, and every kernel gives the same plan") {
  const std::vector<float> gate = random_floats(11 * 24, 0.3f, 1);
  std::vector<float> x = random_floats(9 * 24, 1.0f, 2);
  const GateWeights weights{.gate = {gate.data(), 11, 24}};
  const RoutingPlan plan = routed(sparse_mixer_router(weights, 0.1f).value(), {x.data(), 9, 24});
  CHECK(plan == routed(sparse_mixer_router<Scalar>(weights, 0.1f).value(), {x.data(), 9, 24}));
  x[5 * 24 + 1] = std::nanf("");
  Context ctx;
  NoState state;
  RoutingPlan bad;
  const Status status =
      sparse_mixer_router(weights, 0.1f).value().route({.hidden = {x.data(), 9, 24}, .layer = 7}, state, bad, ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.layer == 7);
  CHECK(status.token == 5);
  CHECK(bad.tokens() == 0);
}
