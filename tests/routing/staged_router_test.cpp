// Worked examples, a brute-force reference, limits (P8, P9, P18) and catalogue H of bad numbers.
#include "headgate/routing/staged_router.hpp"

#include <cfenv>
#include <numeric>

#include "headgate/kernels/native.hpp"
#include "headgate/kernels/scalar.hpp"
#include "headgate/routing/any_router.hpp"
#include "headgate/routing/stages/top_p.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/reference_router.hpp"
#include "support/thread_executor.hpp"

namespace {

using namespace headgate;

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

// A gate of one column turns x = 1 into the logits themselves.
template <class R>
RoutingPlan routed(const R& router, const std::vector<float>& x, const RouteEdits& edits = {},
                   Context ctx = Context()) {
  NoState state;
  RoutingPlan plan;
  const index_t width = router.hidden_size();
  const ConstRows rows(x.data(), static_cast<index_t>(x.size()) / width, width);
  throw_if_error(router.route({.hidden = rows, .edits = edits}, state, plan, ctx));
  return plan;
}
GateWeights logits(const std::vector<float>& values) {
  return {.gate = {values.data(), static_cast<index_t>(values.size()), 1}};
}
std::vector<ExpertId> ids(const RoutingPlan& plan, index_t t = 0) {
  return {plan.experts(t).begin(), plan.experts(t).end()};
}
void check_row(const RoutingPlan& plan, const std::vector<ExpertId>& experts, const std::vector<double>& weights,
               double margin = 6e-7) {
  CHECK(ids(plan) == experts);
  for (std::size_t i = 0; i < weights.size() && i < plan.weights(0).size(); ++i) {
    CHECK(plan.weights(0)[i] == Catch::Approx(weights[i]).margin(margin));
  }
}
Status status_of(const AnyRouter& router, ConstRows x, const RouteEdits& edits = {}) {
  Context ctx;
  AnyRouter::State state;
  RoutingPlan plan;
  const Status status = router.route({.hidden = x, .layer = 2, .edits = edits}, state, plan, ctx);
  if (!status.ok()) CHECK(plan.tokens() == 0);
  return status;
}

using NormalizedThenScaled = Then<Renormalize, Scale>;
using NormalizedSigmoid = Then<SigmoidOverSelected, Renormalize>;

}  // namespace

TEST_CASE("worked example A: one row of logits through every variant") {
  const std::vector<float> z = {1.0f, 2.0f, -1.0f, 0.5f, 1.98f, 0.0f, -0.5f, 1.5f};
  const std::vector<float> b = {0, 0, 0, 0, 0, 0, 0.6f, -0.3f};
  const GateWeights plain = logits(z);
  GateWeights biased = plain;
  biased.selection_bias = b;
  const auto check = [](const auto& router, const std::vector<ExpertId>& experts, const std::vector<double>& weights,
                        double margin = 6e-7) { check_row(routed(router, {1.0f}), experts, weights, margin); };
  check(olmoe_router(plain, 2).value(), {1, 4}, {0.290280, 0.284532});
  check(mixtral_router(plain, 2).value(), {1, 4}, {0.505000, 0.495000});
  check(granite_router(plain, 2).value(), {1, 4}, {0.505000, 0.495000});
  check(StagedRouter<IdentityScore, TopK, SigmoidOverSelected>(plain, {2}, {}), {1, 4}, {0.880797, 0.878681});
  check(StagedRouter<SigmoidScore, TopK, NormalizedThenScaled>(biased, {2}, {{.add = 1e-20f}, {2.5f}}), {6, 1},
        {0.750078, 1.749922}, 1e-6);
  check(StagedRouter<SigmoidScore, TopK, Renormalize>(biased, {2}, {.add = 1e-6f}), {6, 1}, {0.300031, 0.699968});
  check(SoftmaxTopK<Renormalize>(biased, {2}, {.at_least = 1e-12f}), {6, 1}, {0.075858, 0.924142});
  check(SoftmaxTopK<Scale>(plain, {2}, {16.0f}), {1, 4}, {4.644485, 4.552518}, 1e-5);
  check(StagedRouter<IdentityScore, TopK, EqualWeights>(plain, {2}, {4.0f}), {1, 4}, {4.0, 4.0});
  check(StagedRouter<SoftmaxScore, TopP, Keep>(plain, {0.7f}, {}), {1, 4, 7}, {0.290280, 0.284532, 0.176064});
  check(SoftmaxTopK<Renormalize>(plain, {1}, {.keep_single = true}), {1}, {0.290280});
  check(SoftmaxTopK<Renormalize>(plain, {1}, {}), {1}, {1.0});
}

TEST_CASE("worked example C: sigmoid and softmax without groups") {
  const std::vector<float> z = {2.0f, -3.0f, 1.0f, 0.9f, 1.9f, -3.0f, 0.2f, 0.1f};
  check_row(routed(StagedRouter<SigmoidScore, TopK, Renormalize>(logits(z), {2}, {}), {1.0f}), {0, 4},
            {0.503115, 0.496885});
}

TEST_CASE("staged routers agree with a sort in double, ids apart from near ties, weights to 2e-6") {
  using reference::StagedPolicy;
  using Score = StagedPolicy::Score;
  using Weigh = StagedPolicy::Weigh;
  constexpr index_t hidden_size = 24;
  constexpr index_t tokens = 40;
  const auto compare = [](const AnyRouter& router, const StagedPolicy& policy, const GateWeights& w,
                          const std::vector<float>& x) {
    Context ctx;
    AnyRouter::State state;
    RoutingPlan plan;
    throw_if_error(router.route({.hidden = {x.data(), tokens, hidden_size}}, state, plan, ctx));
    index_t compared = 0;
    for (index_t t = 0; t < tokens; ++t) {
      const reference::Routed expected = reference::route(
          policy, reference::logits(w.gate, {w.gate_bias.begin(), w.gate_bias.end()}, &x[as_size(t * hidden_size)]),
          {w.selection_bias.begin(), w.selection_bias.end()}, {w.mask.begin(), w.mask.end()});
      if (expected.margin < 1e-6) continue;
      ++compared;
      REQUIRE(plan.experts(t).size() == expected.chosen.size());
      for (std::size_t i = 0; i < expected.chosen.size(); ++i) {
        CHECK(plan.experts(t)[i] == expected.chosen[i].expert);
        CHECK(plan.weights(t)[i] == Catch::Approx(expected.chosen[i].weight).epsilon(2e-6).margin(1e-7));
      }
    }
    CHECK(compared > tokens * 9 / 10);
  };
  for (const index_t experts : {5, 7, 33, 64}) {
    for (const index_t k : {1, 3, 5}) {
      INFO(experts << " experts, k " << k);
      const auto seed = static_cast<unsigned>(experts * 10 + k);
      const std::vector<float> gate = random_floats(as_size(experts) * hidden_size, 0.5f, seed);
      const std::vector<float> gate_bias = random_floats(as_size(experts), 0.5f, seed + 1);
      const std::vector<float> bias = random_floats(as_size(experts), 0.2f, seed + 2);
      std::vector<std::uint8_t> mask(as_size(experts), 1);
      for (std::size_t e = 2; e < mask.size(); e += 5) mask[e] = 0;
      const std::vector<float> x = random_floats(std::size_t{tokens} * hidden_size, 2.0f, seed + 3);
      const ConstRows w(gate.data(), experts, hidden_size);
      const auto n = static_cast<std::size_t>(k);
      const GateWeights plain{.gate = w};
      const GateWeights all{.gate = w, .gate_bias = gate_bias, .selection_bias = bias, .mask = mask};

      compare(olmoe_router(plain, k).value(), {.k = n}, plain, x);
      compare(mixtral_router(all, k).value(), {.k = n, .weigh = Weigh::renormalize}, all, x);
      compare(granite_router(all, k).value(), {.score = Score::logit, .k = n, .weigh = Weigh::softmax_of_selected}, all,
              x);
      compare(StagedRouter<SigmoidScore, TopK, NormalizedThenScaled>(all, {k}, {{.add = 1e-3f}, {2.5f}}),
              {.score = Score::sigmoid, .k = n, .weigh = Weigh::renormalize, .add = 1e-3, .scale = 2.5}, all, x);
      compare(StagedRouter<IdentityScore, TopK, NormalizedSigmoid>(plain, {k}, {}),
              {.score = Score::logit, .k = n, .weigh = Weigh::sigmoid_of_selected, .renormalize_after = true}, plain,
              x);
      compare(SoftmaxTopK<Renormalize>(all, {k}, {.at_least = 0.5f, .keep_single = true}),
              {.k = n, .weigh = Weigh::renormalize, .at_least = 0.5, .keep_single = true}, all, x);
      compare(StagedRouter<SoftmaxScore, TopP, Keep>(all, {0.4f}, {}),
              {.k = mask.size(), .p = static_cast<double>(0.4f)}, all, x);
      compare(StagedRouter<SoftmaxScore, TopP, Renormalize>(plain, {0.9f, k}, {}),
              {.k = n, .p = static_cast<double>(0.9f), .weigh = Weigh::renormalize}, plain, x);
    }
  }
}

TEST_CASE("the native backend chooses as the scalar one does") {
  const std::vector<float> gate = random_floats(7 * 26, 0.5f, 3);
  const std::vector<float> x = random_floats(50 * 26, 1.0f, 4);
  const GateWeights weights{.gate = {gate.data(), 7, 26}};
  const RoutingPlan native = routed(mixtral_router(weights, 3).value(), x);
  const RoutingPlan scalar = routed(mixtral_router<Scalar>(weights, 3).value(), x);
  for (index_t t = 0; t < 50; ++t) {
    CHECK(ids(native, t) == ids(scalar, t));
    for (std::size_t i = 0; i < 3; ++i)
      CHECK(native.weights(t)[i] == Catch::Approx(scalar.weights(t)[i]).epsilon(1e-6));
  }
}

TEST_CASE("P8: limits of a policy are the plain policy") {
  const std::vector<float> gate = random_floats(7 * 26, 0.5f, 5);
  const std::vector<float> x = random_floats(20 * 26, 1.0f, 6);
  const GateWeights plain{.gate = {gate.data(), 7, 26}};
  const std::vector<float> zeros(7, 0.0f);
  const std::vector<std::uint8_t> everyone(7, 1);
  GateWeights neutral = plain;
  neutral.gate_bias = zeros;
  neutral.selection_bias = zeros;
  neutral.mask = everyone;
  const RoutingPlan mixtral = routed(mixtral_router(plain, 3).value(), x);
  CHECK(routed(mixtral_router(neutral, 3).value(), x) == mixtral);
  CHECK(routed(SoftmaxTopK<NormalizedThenScaled>(plain, {3}, {{}, {1.0f}}), x) == mixtral);
  CHECK(routed(SoftmaxTopK<Then<Keep, Renormalize>>(plain, {3}, {}), x) == mixtral);
  CHECK(routed(olmoe_router(plain, 1).value(), x) == routed(switch_router(plain).value(), x));
  // p -> 0 is Switch, p = 1 chooses everyone
  CHECK(routed(StagedRouter<SoftmaxScore, TopP, Keep>(plain, {1e-6f}, {}), x) ==
        routed(switch_router(plain).value(), x));
  const RoutingPlan all = routed(StagedRouter<SoftmaxScore, TopP, Keep>(plain, {1.0f}, {}), x);
  const RoutingPlan dense = routed(olmoe_router(plain, 7).value(), x);
  for (index_t t = 0; t < 20; ++t) {
    const std::vector<ExpertId> some = ids(all, t);  // what rounding leaves out weighs less than 2^-22
    CHECK(std::equal(some.begin(), some.end(), dense.experts(t).begin()));
    const std::span<const float> left = dense.weights(t).subspan(some.size());
    CHECK(std::accumulate(left.begin(), left.end(), 0.0f) < 0x1p-22f);
  }
}

TEST_CASE("P9: with every expert chosen, the weights are the dense softmax") {
  const std::vector<float> gate = random_floats(7 * 26, 0.5f, 7);
  const std::vector<float> x = random_floats(9 * 26, 1.0f, 8);
  const GateWeights plain{.gate = {gate.data(), 7, 26}};
  for (const RoutingPlan& plan :
       {routed(mixtral_router(plain, 7).value(), x), routed(granite_router(plain, 7).value(), x),
        routed(olmoe_router(plain, 7).value(), x)}) {
    for (index_t t = 0; t < 9; ++t) {
      const std::vector<double> dense = reference::softmax(reference::logits(plain.gate, {}, &x[as_size(t * 26)]));
      REQUIRE(plan.experts(t).size() == 7);
      for (std::size_t i = 0; i < 7; ++i) {
        CHECK(plan.weights(t)[i] == Catch::Approx(dense[as_size(plan.experts(t)[i])]).epsilon(1e-6));
      }
    }
  }
}

TEST_CASE("P18: a selection bias chooses and never weighs; a constant one changes nothing") {
  const std::vector<float> gate = random_floats(7 * 26, 0.5f, 9);
  const std::vector<float> x = random_floats(30 * 26, 1.0f, 10);
  const GateWeights plain{.gate = {gate.data(), 7, 26}};
  using V3 = StagedRouter<SigmoidScore, TopK, Renormalize>;
  const RoutingPlan unbiased = routed(V3(plain, {3}, {}), x);

  const std::vector<float> constant(7, 0.5f);
  GateWeights weights = plain;
  weights.selection_bias = constant;
  CHECK(routed(V3(weights, {3}, {}), x) == unbiased);

  // A bias that dwarfs scores of 1e-6 chooses its experts, and their weights are still exact.
  const std::vector<float> strong = {12.0f, 0, 11.0f, 0, 0, 10.0f, 0};
  const std::vector<float> small(7, -13.0f);
  weights.selection_bias = strong;
  weights.gate_bias = small;
  const RoutingPlan biased = routed(V3(weights, {3}, {}), x);
  for (index_t t = 0; t < 30; ++t) {
    CHECK(ids(biased, t) == std::vector<ExpertId>{0, 2, 5});
    std::vector<double> z = reference::logits(plain.gate, small, &x[as_size(t * 26)]);
    double sum = 0.0;
    for (double& v : z) v = 1.0 / (1.0 + std::exp(-v));
    for (const ExpertId e : {0, 2, 5}) sum += z[as_size(e)];
    for (std::size_t i = 0; i < 3; ++i) {
      CHECK(biased.weights(t)[i] == Catch::Approx(z[as_size(biased.experts(t)[i])] / sum).epsilon(1e-5));
    }
  }
}

TEST_CASE("a call may mask experts and change k") {
  const std::vector<float> z = {1.0f, 2.0f, -1.0f, 0.5f, 1.9f};
  std::vector<std::uint8_t> own = {1, 0, 1, 1, 1};
  GateWeights weights = logits(z);
  const auto with = [](std::vector<std::uint8_t>& mask, index_t k) { return RouteEdits{.expert_mask = mask, .k = k}; };
  std::vector<std::uint8_t> none;
  std::vector<std::uint8_t> call = {1, 1, 1, 1, 0};
  const auto mixtral = mixtral_router(weights, 2).value();
  CHECK(ids(routed(mixtral, {1.0f}, with(none, 0))) == std::vector<ExpertId>{1, 4});
  CHECK(ids(routed(mixtral, {1.0f}, with(none, 4))) == std::vector<ExpertId>{1, 4, 0, 3});
  CHECK(ids(routed(mixtral, {1.0f}, with(call, 0))) == std::vector<ExpertId>{1, 0});
  weights.mask = own;
  const auto masked = mixtral_router(weights, 2).value();
  CHECK(ids(routed(masked, {1.0f}, with(none, 0))) == std::vector<ExpertId>{4, 0});
  CHECK(ids(routed(masked, {1.0f}, with(call, 1))) == std::vector<ExpertId>{0});
  CHECK(ids(routed(masked, {1.0f}, with(call, 5))) == std::vector<ExpertId>{0, 3, 2});  // all that are left
  CHECK(masked.traits().k_max == 2);

  std::vector<std::uint8_t> nobody(5, 0);
  const RoutingPlan empty = routed(mixtral, {1.0f, 2.0f}, with(nobody, 0));
  CHECK(empty.tokens() == 2);
  CHECK(empty.entries() == 0);

  // The weights are those of the unmasked distribution.
  const RoutingPlan raw = routed(olmoe_router(logits(z), 2).value(), {1.0f}, with(call, 0));
  CHECK(raw.weights(0)[0] == routed(olmoe_router(logits(z), 2).value(), {1.0f}).weights(0)[0]);

  const float x = 1.0f;
  std::vector<std::uint8_t> of_other_size(4, 1);
  CHECK(status_of(mixtral_router(logits(z), 2).value(), {&x, 1, 1}, with(of_other_size, 0)).allowed == 5);
  CHECK(status_of(mixtral_router(logits(z), 2).value(), {&x, 1, 1}, with(none, 6)).found == 6);
  CHECK(status_of(mixtral_router(logits(z), 2).value(), {&x, 1, 1}, with(none, -1)).found == -1);
}

TEST_CASE("H1, H2: NaN and infinity among the hidden states are named, the first token first") {
  const std::vector<float> gate = random_floats(5 * 26, 0.5f, 20);
  const AnyRouter router = mixtral_router({.gate = {gate.data(), 5, 26}}, 3).value();
  const std::vector<float> good = random_floats(4 * 26, 1.0f, 21);
  const auto status_with = [&](std::size_t first, std::size_t last, float value) {
    std::vector<float> x = good;
    for (std::size_t i = first; i < last; ++i) x[i] = value;
    return status_of(router, {x.data(), 4, 26});
  };
  for (const float value : {not_a_number, inf, -inf, std::numeric_limits<float>::signaling_NaN()}) {
    for (const auto& [first, last] : {std::pair<std::size_t, std::size_t>{60, 61}, {52, 78}, {57, 104}}) {
      const Status status = status_with(first, last, value);
      CHECK(status.code == ErrorCode::numeric);
      CHECK(status.layer == 2);
      CHECK(status.token == 2);
      CHECK(status.expert == 0);
    }
    CHECK(status_with(0, 104, value).token == 0);
  }
  CHECK(Error(status_with(60, 61, not_a_number)).what() ==
        std::string("router logit is not finite, layer 2, token 2, expert 0"));
  std::vector<float> bad_gate = gate;
  bad_gate[3 * 26 + 1] = not_a_number;
  CHECK(status_of(mixtral_router({.gate = {bad_gate.data(), 5, 26}}, 3).value(), {good.data(), 4, 26}).expert == 3);
}

TEST_CASE("H3: finite factors whose product overflows are an error") {
  const std::vector<float> gate = {1.0f, 3e38f};
  const float x = 3e38f;
  const Status status = status_of(mixtral_router(logits(gate), 1).value(), {&x, 1, 1});
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.expert == 1);
}

TEST_CASE("H4, H18: ties go to the lowest ids, with zeros of either sign and any number of threads") {
  const std::vector<float> equal(7 * 2, 0.25f);
  const std::vector<float> gate = {0.0f, -0.0f, 0.0f, -0.0f, 0.0f, 1.0f, 1.0f};
  std::vector<float> x(2 * 50, -0.0f);
  for (std::size_t i = 50; i < x.size(); ++i) x[i] = 1.0f;
  for (const index_t threads : {1, 2, 8, 64}) {
    ThreadExecutor executor(threads);
    const RoutingPlan same =
        routed(mixtral_router({.gate = {equal.data(), 7, 2}}, 3).value(), x, {}, Context(executor));
    for (index_t t = 0; t < 50; ++t) CHECK(ids(same, t) == std::vector<ExpertId>{0, 1, 2});
    const RoutingPlan some = routed(granite_router(logits(gate), 4).value(), x, {}, Context(executor));
    for (index_t t = 0; t < 50; ++t) CHECK(ids(some, t) == std::vector<ExpertId>{0, 1, 2, 3});
    for (index_t t = 50; t < 100; ++t) CHECK(ids(some, t) == std::vector<ExpertId>{5, 6, 0, 1});
  }
}

TEST_CASE("H5: denormal gates and hidden states count as zero") {
  const std::vector<float> gate = {1e-40f, 2e-40f, 3e-40f};
  const RoutingPlan plan = routed(mixtral_router(logits(gate), 2).value(), {1e30f});
  CHECK(ids(plan) == std::vector<ExpertId>{0, 1});
  CHECK(plan.weights(0)[0] == 0.5f);
}

TEST_CASE("H9: settings that do not fit are refused, and odd sizes route exactly") {
  const std::vector<float> g(12, 1.0f);
  const auto error_of = [](auto created) -> std::string { return created ? "none" : created.error().what(); };
  const auto with = [&](ConstRows gate, index_t k) { return error_of(mixtral_router({.gate = gate}, k)); };
  CHECK(with({g.data(), 4, 3}, 2) == "none");
  CHECK(with({g.data(), 4, 3}, 0) == "k of top-k, at least (got 0, allowed 1)");
  CHECK(with({g.data(), 4, 3}, 5) == "k of top-k against experts (got 5, allowed 4)");
  CHECK(with({g.data(), 0, 3}, 1) == "rows of a router's gate (experts), at least (got 0, allowed 1)");
  CHECK(with({g.data(), -4, 3}, 1) == "rows of a router's gate (experts), at least (got -4, allowed 1)");
  CHECK(with({g.data(), 4, 0}, 1) == "columns of a router's gate (hidden_size), at least (got 0, allowed 1)");
  CHECK(with({nullptr, 4, 3}, 1) == "rows of a matrix without data");
  const ConstRows gate(g.data(), 4, 3);
  const std::vector<float> three(3, 0.0f);
  const std::vector<std::uint8_t> five(5, 1);
  CHECK(error_of(mixtral_router({.gate = gate, .gate_bias = three}, 2)) ==
        "size of gate_bias against experts (got 3, allowed 4)");
  CHECK(error_of(mixtral_router({.gate = gate, .selection_bias = three}, 2)) ==
        "size of selection_bias against experts (got 3, allowed 4)");
  CHECK(error_of(mixtral_router({.gate = gate, .mask = five}, 2)) ==
        "size of a router's mask against experts (got 5, allowed 4)");
  CHECK(error_of(SoftmaxTopK<Scale>::create({.gate = gate}, {2}, {not_a_number})) == "factor of Scale is not finite");
  CHECK_THROWS_AS(TopKSoftmax({.gate = gate}, TopK{5}, Renormalize{}), Error);

  const AnyRouter router = mixtral_router({.gate = gate}, 2).value();
  CHECK(status_of(router, {g.data(), 4, 2}).allowed == 3);
  CHECK(status_of(router, {g.data(), -1, 3}).found == -1);
  CHECK_FALSE(status_of(router, {nullptr, 2, 3}).ok());
  CHECK(status_of(router, {nullptr, 0, 3}).ok());

  for (const index_t n : {1, 65, 65'536}) {
    std::vector<float> z(as_size(n));
    for (std::size_t e = 0; e < z.size(); ++e) z[e] = static_cast<float>((e * 7919) % z.size()) / static_cast<float>(n);
    const index_t k = n < 3 ? n : 3;
    const reference::Routed expected =
        reference::route({.k = as_size(k), .weigh = reference::StagedPolicy::Weigh::renormalize}, {z.begin(), z.end()});
    const RoutingPlan plan = routed(mixtral_router(logits(z), k).value(), {1.0f});
    REQUIRE(plan.entries() == k);
    for (std::size_t i = 0; i < as_size(k); ++i) {
      CHECK(plan.experts(0)[i] == expected.chosen[i].expert);
      CHECK(plan.weights(0)[i] == Catch::Approx(expected.chosen[i].weight).epsilon(1e-5));
    }
  }
}

TEST_CASE("H10: softmax of logits far apart, huge or tiny is finite and adds up to 1") {
  const std::vector<std::vector<float>> rows = {{0.0f, 1e4f, -1e4f},
                                                {3e38f, 3e38f, 3e38f},
                                                {3e38f, -3e38f, 0.0f},
                                                {1e-45f, 0.0f, -1e-45f},
                                                {-1e4f, -1e4f, -2e4f}};
  for (const std::vector<float>& z : rows) {
    for (const index_t k : {1, 3}) {
      for (const RoutingPlan& plan : {routed(mixtral_router(logits(z), k).value(), {1.0f}),
                                      routed(granite_router(logits(z), k).value(), {1.0f})}) {
        double sum = 0.0;
        for (const float w : plan.weights(0)) sum += static_cast<double>(w);
        CHECK(std::fabs(sum - 1.0) <= 0x1p-20);
      }
    }
  }
}

TEST_CASE("H11: a bias that is not finite is refused with its expert") {
  const std::vector<float> g(4, 1.0f);
  for (const float value : {not_a_number, inf, -inf}) {
    const std::vector<float> bias = {0.0f, 0.0f, value, 0.0f};
    for (const GateWeights& weights : {GateWeights{.gate = {g.data(), 4, 1}, .gate_bias = bias},
                                       GateWeights{.gate = {g.data(), 4, 1}, .selection_bias = bias}}) {
      const auto created = mixtral_router(weights, 2);
      REQUIRE_FALSE(created.has_value());
      CHECK(created.error().code() == ErrorCode::numeric);
      CHECK(std::string(created.error().what()).find(", expert 2") != std::string::npos);
    }
  }
  // A bias so large that key and infinity would meet is refused; just below, a logit at the end of the range is safe.
  const std::vector<float> z = {3e38f, -3e38f};
  const std::vector<float> too_large = {2e30f, 0.0f};
  const std::vector<float> large = {1e30f, -1e30f};
  CHECK_FALSE(granite_router({.gate = {z.data(), 2, 1}, .selection_bias = too_large}, 2).has_value());
  check_row(routed(granite_router({.gate = {z.data(), 2, 1}, .selection_bias = large}, 2).value(), {1.1f}), {0, 1},
            {1.0, 0.0});
}

TEST_CASE("H12: masked experts are never chosen, however low the others are") {
  const std::vector<float> z = {-50.0f, 9.0f, 8.0f, -60.0f, 7.0f};
  const std::vector<std::uint8_t> mask = {1, 0, 0, 1, 0};
  GateWeights weights = logits(z);
  weights.mask = mask;
  CHECK(ids(routed(mixtral_router(weights, 3).value(), {1.0f})) == std::vector<ExpertId>{0, 3});
  CHECK(ids(routed(StagedRouter<SigmoidScore, TopK, Renormalize>(weights, {2}, {}), {1.0f})) ==
        std::vector<ExpertId>{0, 3});
  CHECK(ids(routed(StagedRouter<SoftmaxScore, TopP, Keep>(weights, {0.9f}, {}), {1.0f})) ==
        std::vector<ExpertId>{0, 3});
}

TEST_CASE("H14: chosen scores that add up to 0 are weighed equally, without an epsilon") {
  const std::vector<float> z = {-200.0f, -300.0f, -400.0f};
  using Sigmoid = StagedRouter<SigmoidScore, TopK, Renormalize>;
  check_row(routed(Sigmoid(logits(z), {2}, {}), {1.0f}), {0, 1}, {0.5, 0.5});
  check_row(routed(Sigmoid(logits(z), {2}, {.add = 1e-20f}), {1.0f}), {0, 1}, {0.0, 0.0});
  check_row(routed(Sigmoid(logits(z), {2}, {.at_least = 1e-12f}), {1.0f}), {0, 1}, {0.0, 0.0});
}

TEST_CASE("H17: the caller's rounding and denormal modes change no bit and are left alone") {
  const std::vector<float> gate = random_floats(7 * 26, 0.5f, 30);
  const std::vector<float> x = random_floats(20 * 26, 1.0f, 31);
  const GateWeights weights{.gate = {gate.data(), 7, 26}, .gate_bias = std::span(gate).first(7)};
  const auto router = mixtral_router(weights, 3).value();
  const RoutingPlan expected = routed(router, x);
  for (const int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
    std::fesetround(mode);
    const RoutingPlan plan = routed(router, x);
    volatile float one = 1.0f;
    volatile float tiny = mode == FE_UPWARD ? 1e-10f : -1e-10f;
    volatile float sum = one + tiny;  // rounded to nearest it is 1
    std::fesetround(FE_TONEAREST);
    CHECK(sum != 1.0f);
    CHECK(plan == expected);
  }
}

TEST_CASE("a weight that overflows is named with its token and expert") {
  const std::vector<float> z = {1e20f, 2e20f};
  const float x = 1.0f;
  const Status status = status_of(StagedRouter<IdentityScore, TopK, Scale>(logits(z), {2}, {1e30f}), {&x, 1, 1});
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.layer == 2);
  CHECK(status.token == 0);
  CHECK(status.expert == 1);
}
