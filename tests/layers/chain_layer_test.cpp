#include "headgate/layers/chain_layer.hpp"

#include "headgate/experts/glu_experts.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/routing/any_router.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/reference_moe.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"
#include "support/test_router.hpp"
#include "support/thread_executor.hpp"

namespace {

using namespace headgate;
using Chain = ChainLayer<TestRouter, GluExperts<>>;

constexpr GluShape shape{.num_experts = 5, .hidden_size = 26, .ffn_size = 7};
constexpr GluShape shared_shape{.num_experts = 1, .hidden_size = 26, .ffn_size = 9};

std::vector<TestRouter> routers(index_t count) {
  std::vector<TestRouter> all;
  for (index_t i = 0; i < count; ++i) all.emplace_back(5, 26, 2, 30u + static_cast<unsigned>(i));
  return all;
}
Chain chain_of(index_t iterations, bool inner_residual, bool shared, index_t num_routers = 0) {
  const reference::Bank bank(shape, 1);
  const reference::Bank shared_bank(shared_shape, 2);
  std::optional<SharedExpert<GluExperts<>>> expert;
  if (shared) expert.emplace(GluExperts<>(shared_shape, shared_bank.matrices()));
  return Chain::create(routers(num_routers == 0 ? iterations : num_routers), GluExperts<>(shape, bank.matrices()),
                       {iterations, inner_residual}, std::move(expert))
      .value();
}
template <class L>
std::vector<float> output(const L& layer, const std::vector<float>& x, typename L::State& state,
                          ExecutorRef threads = {}) {
  Context ctx(threads);
  const auto tokens = static_cast<index_t>(x.size()) / 26;
  std::vector<float> y(x.size(), -1.0f);
  throw_if_error(layer.forward({.hidden = {x.data(), tokens, 26}}, state, {y.data(), tokens, 26}, ctx));
  return y;
}

}  // namespace

TEST_CASE("a decoder layer of Chain-of-Experts gives the same routes in every iteration and the same output, to 2e-6") {
  const auto cases = golden("chain");
  REQUIRE(cases.size() == 4);
  for (const auto& c : cases) {
    INFO(c["iterations"] << " iterations, margin " << c["margin"]);
    std::vector<AnyRouter> gates;
    for (const auto& g : c["gates"]) {
      const std::vector<float> gate = values(g);
      const GateWeights weights{.gate = {gate.data(), 5, 6}};
      const auto k = c["k"].get<index_t>();
      if (c["divided"].get<bool>()) {
        gates.emplace_back(mixtral_router(weights, k).value());
      } else {
        gates.emplace_back(olmoe_router(weights, k).value());
      }
    }
    const GoldenExperts experts(c["experts"], 6, 3);
    std::optional<SharedExpert<GluExperts<>>> shared;
    if (!c["shared"].is_null()) {
      const GoldenExperts one(nlohmann::json::array({c["shared"]}), 6, c["shared_ffn"]);
      shared.emplace(GluExperts<>(one.shape(), one.matrices()));
    }
    using Layer = ChainLayer<AnyRouter, GluExperts<>>;
    const Layer layer = Layer::create(std::move(gates), GluExperts<>(experts.shape(), experts.matrices()),
                                      {c["iterations"], c["inner_residual"]}, std::move(shared))
                            .value();
    const std::vector<float> x = values(c["hidden"]);
    std::vector<float> y(x.size());
    Layer::State state;
    Context ctx;
    throw_if_error(layer.forward({.hidden = {x.data(), 6, 6}}, state, {y.data(), 6, 6}, ctx));
    REQUIRE(state.plans.size() == c["routes"].size());
    for (std::size_t i = 0; i < state.plans.size(); ++i) {
      for (std::size_t t = 0; t < 6; ++t) {
        std::vector<float> expected(5, 0.0f);
        const auto& route = c["routes"][i];
        for (std::size_t j = 0; j < route["ids"][t].size(); ++j) {
          expected[route["ids"][t][j].get<std::size_t>()] = route["weights"][t][j].get<float>();
        }
        const std::vector<float> dense = dense_weights(state.plans[i], static_cast<index_t>(t));
        for (std::size_t e = 0; e < 5; ++e) CHECK(dense[e] == Catch::Approx(expected[e]).margin(1e-6));
      }
    }
    for (std::size_t i = 0; i < y.size(); ++i) {
      CHECK(static_cast<double>(y[i]) == Catch::Approx(c["y"][i].get<double>()).epsilon(1e-6).margin(2e-6));
    }
  }
}

TEST_CASE("P8: a chain of one iteration without inner residual is MoELayer, in bits") {
  const std::vector<float> x = random_floats(19 * 26, 1.0f, 3);
  const reference::Bank bank(shape, 1);
  const reference::Bank shared_bank(shared_shape, 2);
  for (const bool shared : {false, true}) {
    std::optional<SharedExpert<GluExperts<>>> expert;
    if (shared) expert.emplace(GluExperts<>(shared_shape, shared_bank.matrices()));
    using Plain = MoELayer<TestRouter, GluExperts<>>;
    const Plain plain = Plain::create(routers(1)[0], GluExperts<>(shape, bank.matrices()), std::move(expert)).value();
    Plain::State plain_state;
    Chain::State state;
    CHECK(output(chain_of(1, false, shared), x, state) == output(plain, x, plain_state));
    CHECK(state.plans[0] == plain_state.plan);
  }
}

TEST_CASE("P8: with experts that give nothing and the inner residual, the output is the input, in bits") {
  const std::vector<float> x = random_floats(4 * 26, 1.0f, 4);
  for (const index_t iterations : {1, 2, 3}) {
    const Chain chain = Chain::create(routers(iterations), GluExperts<>(shape), {iterations, true}).value();
    Chain::State state;
    CHECK(output(chain, x, state) == x);
  }
}

TEST_CASE("a chain is its iterations one after the other, whatever threads and batch") {
  const std::vector<float> x = random_floats(13 * 26, 0.7f, 5);
  for (const bool inner : {false, true}) {
    for (const index_t iterations : {2, 3}) {
      const Chain chain = chain_of(iterations, inner, true);
      Chain::State state;
      const std::vector<float> y = output(chain, x, state);
      std::vector<float> step = x;
      for (index_t i = 0; i < iterations; ++i) {
        const reference::Bank bank(shape, 1);
        const reference::Bank shared_bank(shared_shape, 2);
        const Chain one =
            Chain::create({routers(iterations)[as_size(i)]}, GluExperts<>(shape, bank.matrices()), {1, inner},
                          SharedExpert<GluExperts<>>(GluExperts<>(shared_shape, shared_bank.matrices())))
                .value();
        Chain::State of_one;
        step = output(one, step, of_one);
        CHECK(of_one.plans[0] == state.plans[as_size(i)]);
      }
      CHECK(step == y);
      CHECK_FALSE(state.plans[0] == state.plans[1]);

      ThreadExecutor three(3);
      Chain::State threaded;
      CHECK(output(chain, x, threaded, three) == y);
      const std::vector<float> token(x.begin() + 7 * 26, x.begin() + 8 * 26);
      Chain::State single;
      const std::vector<float> y_token = output(chain, token, single);
      CHECK(std::equal(y_token.begin(), y_token.end(), y.begin() + 7 * 26));
    }
  }
}

TEST_CASE("one router may serve all iterations, and routes each by its own input") {
  const std::vector<float> x = random_floats(13 * 26, 0.7f, 6);
  const Chain shared_gate = chain_of(2, true, false, 1);
  Chain::State state;
  output(shared_gate, x, state);
  CHECK(state.plans.size() == 2);
  CHECK_FALSE(state.plans[0] == state.plans[1]);
}

TEST_CASE("a chain of no token, and a second pass, work and allocate nothing new") {
  const Chain chain = chain_of(2, true, true);
  Chain::State state;
  CHECK(output(chain, {}, state).empty());
  const std::vector<float> x = random_floats(6 * 26, 1.0f, 7);
  std::vector<float> y(x.size());
  Context ctx;
  const RouterInput in{.hidden = {x.data(), 6, 26}};
  throw_if_error(chain.forward(in, state, {y.data(), 6, 26}, ctx));
  const std::size_t capacity = ctx.workspace.capacity();
  throw_if_error(chain.forward(in, state, {y.data(), 6, 26}, ctx));
  CHECK(ctx.workspace.capacity() == capacity);
}

TEST_CASE("a chain refuses what does not fit, and names the layer") {
  const auto error_of = [](std::vector<TestRouter> of, index_t iterations) {
    return std::string(Chain::create(std::move(of), GluExperts<>(shape), {iterations, true}).error().what());
  };
  CHECK(error_of(routers(2), 3) == "routers of a chain of experts against iterations (got 2, allowed 3)");
  CHECK(error_of({}, 1) == "routers of a chain of experts against iterations (got 0, allowed 1)");
  CHECK(error_of(routers(1), 0) == "iterations of a chain of experts, at least (got 0, allowed 1)");
  CHECK(error_of({TestRouter(4, 26, 2, 1)}, 1) ==
        "experts of the router against experts of the bank (got 4, allowed 5)");
  CHECK(error_of({TestRouter(5, 25, 2, 1)}, 1) ==
        "hidden_size of the router against that of the bank (got 25, allowed 26)");

  const std::vector<float> x = random_floats(2 * 26, 1.0f, 8);
  std::vector<float> y(2 * 26);
  Chain::State state;
  Context ctx;
  RoutingPlan forced;
  const RouterInput in{.hidden = {x.data(), 2, 26}, .layer = 5, .edits = {.forced_plan = &forced}};
  const Status status = chain_of(2, true, false).forward(in, state, {y.data(), 2, 26}, ctx);
  CHECK(status.code == ErrorCode::usage);
  CHECK(status.layer == 5);
  forced.clear(5);
  throw_if_error(forced.append_row({}, {}));
  throw_if_error(forced.append_row({}, {}));
  throw_if_error(chain_of(1, true, false).forward(in, state, {y.data(), 2, 26}, ctx));
  CHECK(y == x);
  CHECK(chain_of(1, true, false).forward({.hidden = in.hidden}, state, {y.data(), 1, 26}, ctx).allowed == 2);
}

TEST_CASE(
    "a well-formed plan is not forced on a chain of two iterations, and one of another width is no shared expert") {
  const std::vector<float> x = random_floats(2 * 26, 1.0f, 9);
  std::vector<float> y(2 * 26);
  const RoutingPlan plan = reference::random_plan(2, 5, [](index_t) { return 2; }, 10);
  Context ctx;
  Chain::State state;
  const RouterInput in{.hidden = {x.data(), 2, 26}, .layer = 5, .edits = {.forced_plan = &plan}};
  const Status status = chain_of(2, true, false).forward(in, state, {y.data(), 2, 26}, ctx);
  CHECK(status.code == ErrorCode::usage);
  CHECK(status.layer == 5);

  const GluShape six{.num_experts = 1, .hidden_size = 6, .ffn_size = 3};
  const GluShape four{.num_experts = 2, .hidden_size = 4, .ffn_size = 3};
  const auto made = Chain::create({TestRouter(2, 4, 1, 1)}, GluExperts<>(four), {1, true},
                                  SharedExpert<GluExperts<>>(GluExperts<>(six)));
  CHECK(refused(made) == "hidden_size of the shared expert against that of the bank (got 6, allowed 4)");
}

TEST_CASE("a chain says which rows or width of y do not fit, and names the layer of an error inside") {
  std::vector<float> x = random_floats(2 * 26, 1.0f, 11);
  std::vector<float> y(2 * 26);
  Context ctx;
  Chain::State state;
  const Chain chain = chain_of(2, true, false);
  CHECK(chain.iterations() == 2);
  const auto outcome = [&](index_t rows, index_t cols) {
    return said(chain.forward({.hidden = {x.data(), 2, 26}, .layer = 6}, state, {y.data(), rows, cols}, ctx));
  };
  CHECK(outcome(2, 26) == "ok");
  CHECK(outcome(1, 26) == "usage: rows of y against tokens (got 1, allowed 2), layer 6");
  CHECK(outcome(2, 25) == "usage: width of y against hidden_size (got 25, allowed 26), layer 6");
  x[30] = std::numeric_limits<float>::quiet_NaN();
  CHECK(outcome(2, 26).find("layer 6, token 1") != std::string::npos);
  CHECK(Chain::Options{}.iterations == 1);
  CHECK(Chain::Options{}.inner_residual);
}

namespace {

struct Remembering : TestRouter {
  using TestRouter::TestRouter;
  RouterTraits traits() const noexcept {
    RouterTraits traits = TestRouter::traits();
    traits.state = StateScope::across_layers;
    return traits;
  }
};

}  // namespace

TEST_CASE("a router that remembers layers is no part of a chain, wherever it stands") {
  using Layer = ChainLayer<Remembering, GluExperts<>>;
  const auto made = Layer::create({Remembering(5, 26, 2, 1), Remembering(5, 26, 2, 2)}, GluExperts<>(shape), {2, true});
  CHECK(refused(made) == "router of a chain of experts keeps a state across layers");
}

TEST_CASE("a selection bias is written on the router of one iteration of a chain") {
  const std::vector<float> gate(as_size(shape.num_experts * shape.hidden_size), 0.0f);  // all alike: the lowest ids
  const auto router = [&] {
    return AnyRouter(granite_router({.gate = {gate.data(), shape.num_experts, shape.hidden_size}}, 1).value());
  };
  using Layer = ChainLayer<AnyRouter, GluExperts<>>;
  Layer layer = Layer::create({router(), router()}, GluExperts<>(shape), {2, true}).value();
  std::vector<float> bias(as_size(shape.num_experts), 0.0f);
  bias[3] = 1.0f;
  throw_if_error(layer.set_selection_bias(1, bias));
  const std::vector<float> x(as_size(shape.hidden_size), 1.0f);
  std::vector<float> y(x.size());
  Layer::State state;
  Context ctx;
  throw_if_error(
      layer.forward({.hidden = {x.data(), 1, shape.hidden_size}}, state, {y.data(), 1, shape.hidden_size}, ctx));
  CHECK(state.plans[0].experts(0)[0] == 0);
  CHECK(state.plans[1].experts(0)[0] == 3);
  CHECK(layer.set_selection_bias(2, bias).code == ErrorCode::usage);
  CHECK(layer.set_selection_bias(-1, bias).code == ErrorCode::usage);
}
