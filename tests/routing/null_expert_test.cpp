#include "headgate/routing/null_expert.hpp"

#include <algorithm>

#include "headgate/experts/glu_experts.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/routing/deepseek.hpp"
#include "headgate/routing/gru_router.hpp"
#include "headgate/routing/stages/top_p.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"

namespace {

using namespace headgate;

struct Gate {
  Gate(index_t true_experts, index_t null_experts, unsigned seed)
      : rows(true_experts + null_experts),
        nulls(null_experts),
        gate(random_floats(as_size(rows) * 9, 0.6f, seed)),
        bias(random_floats(as_size(rows), 0.3f, seed + 1)) {}
  GateWeights weights() const { return {.gate = {gate.data(), rows, 9}, .gate_bias = bias}; }

  index_t rows;
  index_t nulls;
  std::vector<float> gate;
  std::vector<float> bias;
};
std::vector<float> hidden(index_t tokens, unsigned seed) { return random_floats(as_size(tokens) * 9, 1.5f, seed); }

double sum(std::span<const float> weights) {
  double total = 0.0;
  for (const float w : weights) total += static_cast<double>(w);
  return total;
}

}  // namespace

TEST_CASE("AdaMoE's block chooses the same true experts and gives the same output, to 1e-6") {
  const auto cases = golden("null_expert");
  REQUIRE(cases.size() == 3);
  for (const auto& c : cases) {
    const auto k = c["k"].get<index_t>();
    const auto nulls = c["nulls"].get<index_t>();
    INFO(nulls << " null experts, k " << k << ", margin " << c["margin"]);
    const std::vector<float> gate = values(c["gate"]);
    const std::vector<float> x = values(c["hidden"]);
    const GoldenExperts experts(c["experts"], 6, 3);
    using Layer = MoELayer<NullExpertRouter<SoftmaxScore, TopK, Renormalize>, SwiGluExperts<>>;
    const Layer layer(adamoe_router({.gate = {gate.data(), 8 + nulls, 6}}, nulls, k).value(),
                      SwiGluExperts<>(experts.shape(), experts.matrices()));
    Layer::State state;
    Context ctx;
    std::vector<float> y(8 * 6);
    throw_if_error(layer.forward({.hidden = {x.data(), 8, 6}}, state, {y.data(), 8, 6}, ctx));
    for (std::size_t t = 0; t < 8; ++t) {
      std::vector<ExpertId> chosen = values<ExpertId>(c["chosen"][t]);
      chosen.erase(std::remove_if(chosen.begin(), chosen.end(), [](ExpertId e) { return e >= 8; }), chosen.end());
      CHECK(experts_of(state.plan, static_cast<index_t>(t)) == chosen);
    }
    for (std::size_t i = 0; i < y.size(); ++i) {
      CHECK(static_cast<double>(y[i]) == Catch::Approx(c["y"][i].get<double>()).margin(1e-6));
    }
  }
}

TEST_CASE("P8: without null experts every staged router routes as without the wrapper, in bits") {
  const Gate g(7, 0, 11);
  const std::vector<float> x = hidden(30, 12);
  const ConstRows rows(x.data(), 30, 9);
  CHECK(routed(adamoe_router(g.weights(), 0, 3).value(), rows) == routed(mixtral_router(g.weights(), 3).value(), rows));
  CHECK(routed(with_null_experts(g.weights(), 0, TopK{3}, Keep{}).value(), rows) ==
        routed(olmoe_router(g.weights(), 3).value(), rows));
  CHECK(routed(with_null_experts(g.weights(), 0, TopP{0.6f}, Keep{}).value(), rows) ==
        routed(StagedRouter<SoftmaxScore, TopP, Keep>(g.weights(), {0.6f}, {}), rows));
  CHECK(routed(with_null_experts(g.weights(), 0, GroupedTopK{3, 1, 1, 1}, Then<Renormalize, Scale>{{1e-20f}, {2.5f}},
                                 SigmoidScore{})
                   .value(),
               rows) == routed(deepseek_v3_router(g.weights(), 3, 2.5f, {1, 1}).value(), rows));
}

TEST_CASE("P8: null experts that nobody wants change weights by no more than rounding") {
  Gate g(7, 4, 13);
  for (std::size_t e = 7; e < 11; ++e) g.bias[e] = -1e4f;
  const std::vector<float> x = hidden(30, 14);
  const GateWeights first{.gate = {g.gate.data(), 7, 9}, .gate_bias = std::span(g.bias).first(7)};
  const RoutingPlan plan = routed(adamoe_router(g.weights(), 4, 3).value(), {x.data(), 30, 9});
  const RoutingPlan base = routed(mixtral_router(first, 3).value(), {x.data(), 30, 9});
  CHECK(plan.experts().size() == base.experts().size());
  for (index_t t = 0; t < 30; ++t) {
    CHECK(experts_of(plan, t) == experts_of(base, t));
    for (std::size_t i = 0; i < 3; ++i) CHECK(plan.weights(t)[i] == Catch::Approx(base.weights(t)[i]).epsilon(1e-6));
  }
}

TEST_CASE("the weights of the true experts add up to 1, or there are none, and never more than k") {
  const Gate g(7, 6, 15);
  const std::vector<float> x = hidden(200, 16);
  const auto router = adamoe_router(g.weights(), 6, 4).value();
  const RoutingPlan plan = routed(router, {x.data(), 200, 9});
  CHECK(router.num_experts() == 7);
  CHECK(plan.num_experts() == 7);
  CHECK(router.traits().row_sum == RowSum::zero_or_one);
  CHECK(router.traits().k_min == 0);
  CHECK(router.traits().k_max == 4);
  index_t empty = 0;
  index_t full = 0;
  for (index_t t = 0; t < 200; ++t) {
    const std::size_t n = plan.experts(t).size();
    CHECK(n <= 4);
    CHECK(sum(plan.weights(t)) == Catch::Approx(n == 0 ? 0.0 : 1.0).epsilon(1e-6));
    empty += n == 0 ? 1 : 0;
    full += n == 4 ? 1 : 0;
  }
  CHECK(empty > 0);
  CHECK(full > 0);
  // Where there are fewer nulls than k, some true expert is always chosen.
  CHECK(adamoe_router(Gate(7, 2, 15).weights(), 2, 4).value().traits().k_min == 2);
}

TEST_CASE("permuting null experts changes nothing, and raising all of them never adds a true expert") {
  const Gate g(6, 4, 17);
  const std::vector<float> x = hidden(60, 18);
  const ConstRows rows(x.data(), 60, 9);
  const RoutingPlan plan = routed(adamoe_router(g.weights(), 4, 3).value(), rows);
  Gate permuted = g;
  std::rotate(permuted.gate.begin() + 6 * 9, permuted.gate.begin() + 7 * 9, permuted.gate.end());
  std::rotate(permuted.bias.begin() + 6, permuted.bias.begin() + 7, permuted.bias.end());
  const RoutingPlan after = routed(adamoe_router(permuted.weights(), 4, 3).value(), rows);
  for (index_t t = 0; t < 60; ++t) {
    CHECK(experts_of(after, t) == experts_of(plan, t));
    for (std::size_t i = 0; i < plan.weights(t).size(); ++i) {
      CHECK(after.weights(t)[i] == Catch::Approx(plan.weights(t)[i]).epsilon(1e-6));
    }
  }
  Gate raised = g;
  for (std::size_t e = 6; e < 10; ++e) raised.bias[e] += 0.5f;
  const RoutingPlan fewer = routed(adamoe_router(raised.weights(), 4, 3).value(), rows);
  index_t dropped = 0;
  for (index_t t = 0; t < 60; ++t) {
    CHECK(fewer.experts(t).size() <= plan.experts(t).size());
    dropped += fewer.experts(t).size() < plan.experts(t).size() ? 1 : 0;
  }
  CHECK(dropped > 0);
}

TEST_CASE("P13: a token that chooses only null experts gets zero output") {
  Gate g(5, 3, 19);
  for (std::size_t e = 5; e < 8; ++e) g.bias[e] = 50.0f;
  using Layer = MoELayer<NullExpertRouter<SoftmaxScore, TopK, Renormalize>, SwiGluExperts<>>;
  const Layer layer(adamoe_router(g.weights(), 3, 2).value(),
                    SwiGluExperts<>(GluShape{.num_experts = 5, .hidden_size = 9, .ffn_size = 4}));
  const std::vector<float> x = hidden(11, 20);
  std::vector<float> y(11 * 9, 7.0f);
  Layer::State state;
  Context ctx;
  throw_if_error(layer.forward({.hidden = {x.data(), 11, 9}}, state, {y.data(), 11, 9}, ctx));
  CHECK(state.plan.entries() == 0);
  CHECK(y == std::vector<float>(11 * 9, 0.0f));
}

TEST_CASE("P20: counters of true experts per token and of saved rows") {
  const Gate g(7, 6, 21);
  const std::vector<float> x = hidden(50, 22);
  const auto router = adamoe_router(g.weights(), 6, 4).value();
  NullExpertCount count(4);
  CHECK(count.true_experts_per_token() == 0.0);
  std::int64_t entries = 0;
  for (const index_t first : {0, 20}) {
    const RoutingPlan plan = routed(router, ConstRows(x.data(), 50, 9).middle_rows(first, first == 0 ? 20 : 30));
    count.add(plan);
    entries += plan.entries();
  }
  CHECK(count.tokens() == 50);
  CHECK(count.ffn_rows() == entries);
  CHECK(count.ffn_rows_saved() == 200 - entries);
  CHECK(count.true_experts_per_token() == static_cast<double>(entries) / 50.0);
  CHECK(entries < 200);
  CHECK(entries > 0);
}

TEST_CASE("a call's mask is over true experts and its k counts null ones") {
  const Gate g(5, 3, 23);
  const std::vector<float> x = hidden(40, 24);
  const ConstRows rows(x.data(), 40, 9);
  const auto router = adamoe_router(g.weights(), 3, 4).value();
  const std::vector<std::uint8_t> mask = {1, 0, 1, 1, 0};
  const RoutingPlan plan = routed(router, rows, RouteEdits{.expert_mask = mask});
  for (const ExpertId e : plan.experts()) CHECK(mask[as_size(e)] != 0);
  const RoutingPlan all = routed(router, rows, RouteEdits{.k = 8});
  for (index_t t = 0; t < 40; ++t) CHECK(all.experts(t).size() == 5);
  RoutingPlan none;
  NoState state;
  Context ctx;
  CHECK(router.route({.hidden = rows, .edits = {.k = 9}}, state, none, ctx).allowed == 8);
  const std::vector<std::uint8_t> wide(8, 1);
  CHECK(router.route({.hidden = rows, .edits = {.expert_mask = wide}}, state, none, ctx).allowed == 5);
}

TEST_CASE("null experts keep what all rows of the gate share, and refuse to be all") {
  const Gate g(5, 3, 25);
  const auto error_of = [](auto created) { return std::string(created.error().what()); };
  CHECK(error_of(adamoe_router(g.weights(), -1, 2)) == "null experts, at least (got -1, allowed 0)");
  CHECK(error_of(adamoe_router(g.weights(), 8, 2)) == "true experts against rows of the gate (got 0, allowed 8)");
  CHECK(error_of(adamoe_router(g.weights(), 3, 9)) == "k of top-k against experts (got 9, allowed 8)");
  CHECK(DropNull<Keep>{5, {}}.sum({RowSum::at_most_one}).kind == RowSum::at_most_one);
  CHECK(DropNull<Then<Renormalize, Scale>>{5, {{}, {2.0f}}}.sum({RowSum::free}).kind == RowSum::free);
}

TEST_CASE("Then hands on only the entries that its first part left") {
  std::vector<ExpertId> experts = {0, 3};
  std::vector<float> weights = {0.5f, 0.25f};
  const Then<DropNull<Keep>, Scale> weigh{{2, {}}, {4.0f}};
  REQUIRE(weigh.apply<NativeBackend>(experts, weights) == 1);
  CHECK(experts[0] == 0);
  CHECK(weights == std::vector<float>{2.0f, 0.25f});
  // What was dropped takes no part in the sum.
  experts = {3, 1};
  weights = {0.75f, 0.25f};
  const Then<DropNull<Keep>, Renormalize> share{{2, {}}, {}};
  REQUIRE(share.apply<NativeBackend>(experts, weights) == 1);
  CHECK(experts[0] == 1);
  CHECK(weights[0] == 1.0f);
}

TEST_CASE("DropNull drops from num_true on, keeps the order of the others, and says what is left of sums") {
  std::vector<ExpertId> experts = {4, 1, 2, 0, 3};
  std::vector<float> weights = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f};
  const DropNull<Keep> drop{2, {}};
  REQUIRE(drop.apply<NativeBackend>(experts, weights) == 2);
  CHECK(experts[0] == 1);
  CHECK(experts[1] == 0);
  CHECK(weights[0] == 2.0f);
  CHECK(weights[1] == 4.0f);
  CHECK(drop.num_experts(5) == 2);
  CHECK(DropNull<Renormalize>{2, {}}.sum({RowSum::free}).kind == RowSum::zero_or_one);
  CHECK(DropNull<Keep>{2, {}}.sum({RowSum::free}).kind == RowSum::free);
  CHECK(said(DropNull<Scale>{2, {std::nanf("")}}.check()) == "usage: factor of Scale is not finite");
  CHECK(DropNull<Renormalize>::needs_nonnegative_scores);
  CHECK_FALSE(DropNull<Keep>::needs_nonnegative_scores);
  CHECK(DropNull<Keep>::never_negative(true));
  CHECK_FALSE(DropNull<Keep>::never_negative(false));
}

TEST_CASE("one true expert is enough, and one expert in all") {
  const Gate g(1, 3, 27);
  const auto router = adamoe_router(g.weights(), 3, 4);
  REQUIRE(refused(router) == "made");
  CHECK(router.value().num_experts() == 1);
  CHECK(refused(adamoe_router(Gate(1, 0, 28).weights(), 0, 1)) == "made");
  CHECK(refused(adamoe_router(g.weights(), 4, 1)) == "true experts against rows of the gate (got 0, allowed 4)");
}
