#include "headgate/routing/moe_plus_plus_router.hpp"

#include "headgate/experts/glu_experts.hpp"
#include "headgate/experts/scaled_input.hpp"
#include "headgate/experts/zero_compute.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

namespace {

using namespace headgate;
using Bank = ScaledInput<WithZeroComputeExperts<SwiGluExperts<>>>;
using Layer = MoELayer<MoePlusPlusRouter<>, Bank>;

ConstRows matrix(const std::vector<float>& values_of, index_t cols) {
  return {values_of.data(), static_cast<index_t>(values_of.size()) / cols, cols};
}

// Router with the identity for a gate: hidden states are logits.
MoePlusPlusRouter<> plain(const std::vector<float>& gate, index_t n, const MoePlusPlusOptions& options) {
  return MoePlusPlusRouter<>::create({.first = {}, .last = {gate.data(), n, n}}, options).value();
}

}  // namespace

TEST_CASE("MoE++'s layers, two with a gate residual: ids equal, weights and outputs to 1e-6") {
  const auto cases = golden("moe_plus_plus");
  REQUIRE(cases.size() == 4);
  for (const auto& c : cases) {
    const auto& o = c["options"];
    INFO(o);
    const bool mixtral = o.value("moe_use_mixtral_gating", false);
    MoePlusPlusOptions options;
    options.zero_expert = mixtral ? ZeroExpertWeight::paper : ZeroExpertWeight::code;
    if (o.value("moe_use_logits_norm", false)) options.norm_std = o.value("moe_gate_norm_std", 1.0f);
    const float factor = mixtral || o.value("moe_feature_no_mul_topk", false) ? 1.0f : 2.0f;
    CarriedRows carried;
    carried.reset(5);
    index_t layer_id = 0;
    for (const auto& l : c["layers"]) {
      const std::vector<float> first = values(l["first"]);
      const std::vector<float> last = values(l["last"]);
      const std::vector<float> residual = values(l["residual"]);
      const MoePlusPlusGate gate{matrix(first, 6), matrix(last, first.empty() ? 6 : 56), matrix(residual, 7)};
      const GoldenExperts experts(l["experts"], 6, 3);
      std::vector<ZeroComputeExpert> others;
      for (const auto& constant : l["constants"]) {
        others.push_back({ZeroComputeKind::constant, values(constant["value"]), values(constant["gate"])});
      }
      others.push_back({ZeroComputeKind::identity});
      others.push_back({ZeroComputeKind::zero});
      WithZeroComputeExperts<SwiGluExperts<>> bank(SwiGluExperts<>(experts.shape(), experts.matrices()), others);
      const Layer layer(MoePlusPlusRouter<>::create(gate, options).value(),
                        Bank::create(std::move(bank), factor).value());
      const std::vector<float> x = values(l["hidden"]);
      std::vector<float> y(30);
      Layer::State state;
      state.router = carried;
      Context ctx;
      const RouterInput in{.hidden = {x.data(), 5, 6}, .layer = layer_id++};
      throw_if_error(layer.forward(in, state, {y.data(), 5, 6}, ctx));
      carried = state.router;
      const Rows logits = carried.rows(7);
      for (index_t t = 0; t < 5; ++t) {
        const std::vector<float> dense = dense_weights(state.plan, t);
        for (index_t e = 0; e < 7; ++e) {
          const std::size_t i = as_size(t * 7 + e);
          CHECK(static_cast<double>(logits.data[i]) == Catch::Approx(l["logits"][i].get<double>()).margin(2e-6));
          CHECK(static_cast<double>(dense[as_size(e)]) == Catch::Approx(l["weights"][i].get<double>()).margin(1e-6));
          const std::vector<ExpertId> chosen = experts_of(state.plan, t);
          const bool is_chosen = chosen[0] == e || chosen[1] == e;
          CHECK(is_chosen == (l["chosen"][i].get<int>() == 1));
        }
      }
      for (std::size_t i = 0; i < y.size(); ++i) {
        CHECK(static_cast<double>(y[i]) == Catch::Approx(l["y"][i].get<double>()).epsilon(1e-6).margin(2e-6));
      }
    }
  }
}

TEST_CASE("P8: one linear layer without residual, in the paper's mode, is Mixtral's router in bits") {
  const std::vector<float> gate = random_floats(7 * 6, 0.6f, 1);
  const std::vector<float> x = random_floats(20 * 6, 1.0f, 2);
  const auto router = MoePlusPlusRouter<>::create({.first = {}, .last = {gate.data(), 7, 6}},
                                                  {.zero_expert = ZeroExpertWeight::paper, .k = 3});
  CHECK(routed(router.value(), {x.data(), 20, 6}) ==
        routed(mixtral_router({.gate = {gate.data(), 7, 6}}, 3).value(), {x.data(), 20, 6}));
  CHECK(router.value().traits().row_sum == RowSum::one);
}

TEST_CASE("the zero expert keeps its share in the paper, and gives it to the other of a pair in the code") {
  const std::vector<float> gate = identity_gate(4);
  const std::vector<float> x = {0.0f, 1.0f, -1.0f, 1.0f};  // expert 3 is the zero expert
  const RoutingPlan paper = routed(plain(gate, 4, {.zero_expert = ZeroExpertWeight::paper}), {x.data(), 1, 4});
  CHECK(experts_of(paper, 0) == std::vector<ExpertId>{1, 3});
  CHECK(weights_of(paper, 0) == std::vector<float>{0.5f, 0.5f});
  const auto of_code = plain(gate, 4, {});
  const RoutingPlan code = routed(of_code, {x.data(), 1, 4});
  CHECK(experts_of(code, 0) == std::vector<ExpertId>{1, 3});
  CHECK(weights_of(code, 0) == std::vector<float>{1.0f, 0.0f});
  CHECK(of_code.traits().row_sum == RowSum::zero_or_one);
  const std::vector<float> zero_first = {0.0f, 1.0f, -1.0f, 2.0f};  // alone, its weight is 0 and not 0 / 0
  const RoutingPlan alone = routed(of_code, {zero_first.data(), 1, 4}, RouteEdits{.k = 1});
  CHECK(experts_of(alone, 0) == std::vector<ExpertId>{3});
  CHECK(weights_of(alone, 0) == std::vector<float>{0.0f});
}

TEST_CASE("P20: copy experts give exactly the sum of weights times x, and only feed-forward rows are counted") {
  const std::vector<float> gate = identity_gate(5);
  std::vector<float> x = {-9, -8, 1, 2, 0.5f, 3, -9, -8, 2, 1};
  std::vector<ZeroComputeExpert> others = {
      {ZeroComputeKind::identity}, {ZeroComputeKind::identity}, {ZeroComputeKind::zero}};
  const GluShape shape{.num_experts = 2, .hidden_size = 5, .ffn_size = 3};
  WithZeroComputeExperts<SwiGluExperts<>> bank{SwiGluExperts<>(shape), others};
  const RoutingPlan plan = routed(plain(gate, 5, {.zero_expert = ZeroExpertWeight::paper}), {x.data(), 2, 5});
  CHECK(bank.ffn_rows(plan) == 1);  // token 1 takes expert 0; everything else is copied or dropped
  std::vector<float> y(10, 0.0f);
  Context ctx;
  throw_if_error(bank.apply(plan, ConstRows(x.data(), 2, 5), Rows(y.data(), 2, 5), ctx));
  for (std::size_t i = 0; i < 5; ++i) CHECK(y[i] == Catch::Approx(x[i]).epsilon(1e-6));
}

TEST_CASE(
    "P10: normalised logits have one standard deviation: scaling or shifting them changes no weight; equal ones are no "
    "NaN") {
  const std::vector<float> gate = identity_gate(5);
  const auto router = plain(gate, 5, {.zero_expert = ZeroExpertWeight::paper, .norm_std = 1.0f});
  const std::vector<float> x = random_floats(50, 1.0f, 3);
  std::vector<float> scaled = x;
  for (float& v : scaled) v = 4.0f * v + 1.0f;
  const RoutingPlan plan = routed(router, {x.data(), 10, 5});
  const RoutingPlan after = routed(router, {scaled.data(), 10, 5});
  CHECK(std::equal(plan.experts().begin(), plan.experts().end(), after.experts().begin()));
  for (std::size_t i = 0; i < 20; ++i) CHECK(after.weights()[i] == Catch::Approx(plan.weights()[i]).epsilon(1e-5));
  const std::vector<float> equal(5, 0.25f);
  CHECK(weights_of(routed(router, {equal.data(), 1, 5}), 0) == std::vector<float>{0.5f, 0.5f});
}

TEST_CASE("the gate residual adds G times the logits of the layer before, and none in the first layer") {
  const std::vector<float> gate = identity_gate(3);
  const std::vector<float> residual = {0, 0, 8, 0, 0, 0, 0, 0, 0};  // expert 0 gains 8 times what expert 2 had
  const MoePlusPlusGate parts{.first = {}, .last = {gate.data(), 3, 3}, .residual = {residual.data(), 3, 3}};
  const auto router = MoePlusPlusRouter<>::create(parts, {.zero_expert = ZeroExpertWeight::paper, .k = 1}).value();
  const std::vector<float> x = {0.0f, 2.0f, 1.0f};
  CarriedRows state;
  state.reset(1);
  RoutingPlan plan;
  Context ctx;
  throw_if_error(router.route({.hidden = {x.data(), 1, 3}}, state, plan, ctx));
  CHECK(plan.experts(0)[0] == 1);
  throw_if_error(router.route({.hidden = {x.data(), 1, 3}, .layer = 1}, state, plan, ctx));
  CHECK(plan.experts(0)[0] == 0);
  CHECK(state.rows(3).row_data(0)[0] == 8.0f);
  state.reset(1);
  throw_if_error(router.route({.hidden = {x.data(), 1, 3}}, state, plan, ctx));
  CHECK(plan.experts(0)[0] == 1);
  CHECK(router.traits().state == StateScope::across_layers);
}

TEST_CASE("what is not finite is found behind the tanh that would hide it") {
  const std::vector<float> first = random_floats(8 * 6, 0.5f, 4);
  const std::vector<float> last = random_floats(5 * 8, 0.5f, 5);
  const MoePlusPlusGate parts{.first = {first.data(), 8, 6}, .last = {last.data(), 5, 8}};
  const auto router = MoePlusPlusRouter<>::create(parts, {}).value();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> x = random_floats(4 * 6, 1.0f, 6);
    x[15] = bad;
    CarriedRows state;
    state.reset(4);
    RoutingPlan plan;
    Context ctx;
    const Status status = router.route({.hidden = {x.data(), 4, 6}, .layer = 2}, state, plan, ctx);
    CHECK(status.code == ErrorCode::numeric);
    CHECK(status.token == 2);
    CHECK(status.layer == 2);
  }
}

TEST_CASE("MoE++'s router refuses parts that do not fit, and says what is allowed") {
  const std::vector<float> m(100, 0.1f);
  const auto error_of = [](const MoePlusPlusGate& gate, const MoePlusPlusOptions& options = {}) {
    return std::string(MoePlusPlusRouter<>::create(gate, options).error().what());
  };
  CHECK(error_of({.first = {}, .last = {}}) == "rows of a router's gate (experts), at least (got 0, allowed 1)");
  CHECK(error_of({.first = {}, .last = {m.data(), 4, 0}}) == "columns of a router's gate, at least (got 0, allowed 1)");
  CHECK(error_of({.first = {m.data(), 8, 6}, .last = {m.data(), 4, 7}}) ==
        "columns of wg.2 against rows of wg.0 (got 7, allowed 8)");
  CHECK(error_of({.first = {m.data(), 8, 0}, .last = {m.data(), 4, 8}}) ==
        "columns of wg.0 (hidden_size), at least (got 0, allowed 1)");
  CHECK(error_of({.first = {}, .last = {m.data(), 4, 7}, .residual = {m.data(), 3, 4}}) ==
        "rows of gate_map against experts (got 3, allowed 4)");
  CHECK(error_of({.first = {}, .last = {m.data(), 4, 7}, .residual = {m.data(), 4, 3}}) ==
        "columns of gate_map against experts (got 3, allowed 4)");
  CHECK(error_of({.first = {}, .last = {m.data(), 4, 7}}, {.k = 5}) == "k of top-k against experts (got 5, allowed 4)");
  CHECK(error_of({.first = {}, .last = {m.data(), 4, 7}}, {.norm_std = -1.0f}) ==
        "moe_gate_norm_std is negative or not finite");
}

TEST_CASE("MoE++'s router asks hidden, state and edits in turn, and leaves no rows") {
  const std::vector<float> gate = identity_gate(4);
  const auto router = plain(gate, 4, {});
  const std::vector<float> x = random_floats(12, 1.0f, 7);
  CarriedRows state;
  RoutingPlan plan;
  Context ctx;
  const auto outcome = [&](index_t rows, index_t cols, index_t k = 0) {
    state.reset(3);
    REQUIRE(router.route({.hidden = {x.data(), 3, 4}}, state, plan, ctx).ok());
    state.reset(3);
    const RouterInput in{.hidden = {x.data(), rows, cols}, .edits = {.k = k}};
    const std::string text = said(router.route(in, state, plan, ctx));
    CHECK(plan.tokens() == 0);
    CHECK(plan.num_experts() == 4);
    return text;
  };
  CHECK(outcome(3, 3) == "usage: width of hidden against hidden_size of the router (got 3, allowed 4)");
  CHECK(outcome(2, 4) == "usage: rows of hidden against tokens of the router's state (got 2, allowed 3)");
  CHECK(outcome(3, 4, 5) == "usage: k of the call against experts (got 5, allowed 4)");
  CHECK(outcome(3, 4, -1) == "usage: k of the call, at least (got -1, allowed 0)");
}

TEST_CASE("MoE++'s defaults and stages say what they are") {
  const MoePlusPlusOptions options;
  CHECK(options.zero_expert == ZeroExpertWeight::code);
  CHECK(options.k == 2);
  CHECK(options.norm_std == 0.0f);
  CHECK(NormalizedSoftmaxScore{}.norm_std == 0.0f);
  CHECK(NormalizedSoftmaxScore::never_negative);
  CHECK(ZeroThenRenormalize::needs_nonnegative_scores);
  CHECK(ZeroThenRenormalize::never_negative(false));
  CHECK(ZeroThenRenormalize{-1}.sum({RowSum::free}).kind == RowSum::one);
  CHECK(ZeroThenRenormalize{0}.sum({RowSum::free}).kind == RowSum::zero_or_one);
  // One expert: no standard deviation of one number, its score is 1. Two: the sample's, over 1.
  std::vector<float> one = {3.0f};
  NormalizedSoftmaxScore{1.0f}.apply<NativeBackend>(std::span<float>(one));
  CHECK(one[0] == 1.0f);
  std::vector<float> two = {5.0f, 1.0f};
  NormalizedSoftmaxScore{2.0f}.apply<NativeBackend>(std::span<float>(two));
  const double z = 4.0 / (std::sqrt(8.0) / 2.0);
  CHECK(two[0] == Catch::Approx(1.0 / (1.0 + std::exp(-z))).epsilon(1e-6));
  const std::vector<float> m(1, 0.5f);
  const auto made = MoePlusPlusRouter<>::create({.first = {m.data(), 1, 1}, .last = {m.data(), 1, 1}}, {.k = 1});
  CHECK(refused(made) == "made");
}

TEST_CASE("MoE++'s two-layer gate has tanh between, of every row and on any number of threads") {
  const std::vector<float> eye = identity_gate(4);
  const MoePlusPlusGate parts{.first = {eye.data(), 4, 4}, .last = {eye.data(), 4, 4}};
  const auto router = MoePlusPlusRouter<>::create(parts, {.zero_expert = ZeroExpertWeight::paper}).value();
  const std::vector<float> x = random_floats(4 * 40, 2.0f, 8);
  for (const index_t threads : {1, 3, 7}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    CarriedRows state;
    state.reset(40);
    RoutingPlan plan;
    throw_if_error(router.route({.hidden = {x.data(), 40, 4}}, state, plan, ctx));
    const Rows logits = state.rows(4);
    for (std::size_t i = 0; i < x.size(); ++i) CHECK(logits.data[i] == Catch::Approx(std::tanh(x[i])).margin(1e-6));
  }
}

TEST_CASE("MoE++'s router refuses each of its matrices without data") {
  const std::vector<float> m(16, 0.5f);
  const auto outcome = [](const MoePlusPlusGate& gate) { return refused(MoePlusPlusRouter<>::create(gate, {})); };
  CHECK(outcome({.first = {m.data(), 4, 4}, .last = {m.data(), 4, 4}, .residual = {m.data(), 4, 4}}) == "made");
  CHECK(outcome({.first = {nullptr, 4, 4}, .last = {m.data(), 4, 4}}) == "rows of a matrix without data");
  CHECK(outcome({.first = {}, .last = {nullptr, 4, 4}}) == "rows of a matrix without data");
  CHECK(outcome({.first = {}, .last = {m.data(), 4, 4}, .residual = {nullptr, 4, 4}}) ==
        "rows of a matrix without data");
}

TEST_CASE("a gate with one row inside, and a residual of one expert, count") {
  const std::vector<float> first = {1.0f};
  const std::vector<float> last = {1.0f, -1.0f};
  const MoePlusPlusGate gate{.first = {first.data(), 1, 1}, .last = {last.data(), 2, 1}};
  const auto router = MoePlusPlusRouter<>::create(gate, {.zero_expert = ZeroExpertWeight::paper, .k = 1}).value();
  const std::vector<float> x = {0.5f, -2.0f};
  CarriedRows state;
  RoutingPlan plan;
  Context ctx;
  state.reset(2);
  throw_if_error(router.route({.hidden = {x.data(), 2, 1}}, state, plan, ctx));
  CHECK(state.rows(2).row_data(0)[0] == Catch::Approx(std::tanh(0.5)));
  CHECK(state.rows(2).row_data(1)[1] == Catch::Approx(std::tanh(2.0)));

  const float three = 3.0f;
  const MoePlusPlusGate one{.first = {}, .last = {first.data(), 1, 1}, .residual = {&three, 1, 1}};
  const auto single = MoePlusPlusRouter<>::create(one, {.zero_expert = ZeroExpertWeight::paper, .k = 1}).value();
  state.reset(2);
  for (index_t layer = 0; layer < 2; ++layer) {
    throw_if_error(single.route({.hidden = {x.data(), 2, 1}, .layer = layer}, state, plan, ctx));
  }
  CHECK(state.rows(1).row_data(0)[0] == 2.0f);   // 0.5 + 3 * 0.5
  CHECK(state.rows(1).row_data(1)[0] == -8.0f);  // -2 - 3 * 2
}
