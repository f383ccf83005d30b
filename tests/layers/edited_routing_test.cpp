// What a layer makes of a call's edits, whatever its router.
#include "headgate/layers/edited_routing.hpp"

#include <algorithm>
#include <set>

#include "headgate/experts/glu_experts.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/chain_layer.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/routing/any_router.hpp"
#include "headgate/routing/gru_router.hpp"
#include "headgate/routing/moe_plus_plus_router.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/reference_moe.hpp"
#include "support/routing.hpp"
#include "support/test_router.hpp"

using namespace headgate;
using reference::Matrix;

namespace {

constexpr index_t hidden = 10;
constexpr index_t num_experts = 5;
const GluShape shape{num_experts, hidden, 7, {}, true, false};

// Says that it takes every edit, and looks at none.
struct Boaster : TestRouter {
  using TestRouter::TestRouter;
  RouterTraits traits() const noexcept {
    RouterTraits traits = TestRouter::traits();
    traits.takes = takes_k | takes_mask | takes_prune | takes_zero_key;
    return traits;
  }
};

GluExperts<F32, Scalar> bank() { return GluExperts<F32, Scalar>(shape, reference::Bank(shape, 1).matrices()); }
template <class R>
MoELayer<R, GluExperts<F32, Scalar>> layer_of(R router) {
  return {std::move(router), bank()};
}

struct Outcome {
  Status status;
  Matrix y;
};
template <class Layer>
Outcome forward(const Layer& layer, const Matrix& x, typename Layer::State& state, const RouteEdits& edits,
                index_t layer_id = 0) {
  Context ctx;
  Outcome outcome{Status::success(), Matrix(x.rows, hidden)};
  const RouterInput in{.hidden = x.view(), .layer = layer_id, .edits = edits};
  outcome.status = layer.forward(in, state, outcome.y.view(), ctx);
  return outcome;
}
Matrix tokens(index_t count) {
  std::mt19937 rng(3);
  return Matrix::random(count, hidden, 1.5f, rng);
}

}  // namespace

TEST_CASE("a layer refuses the edits that its router does not take, by name") {
  const auto layer = layer_of(TestRouter(num_experts, hidden, 2, 4));
  const Matrix x = tokens(6);
  const std::vector<std::uint8_t> mask = {1, 1, 1, 1, 0};
  decltype(layer)::State state;
  const auto what = [&](const RouteEdits& edits) {
    const Status status = forward(layer, x, state, edits, 8).status;
    CHECK(status.code == ErrorCode::usage);
    CHECK(status.layer == 8);
    return std::string(status.what);
  };
  CHECK(what({.k = 2}) == "the layer's router takes no k of a call");
  CHECK(what({.expert_mask = mask}) == "the layer's router takes no expert_mask of a call");
  CHECK(what({.expert_mask = mask, .mask_meaning = MaskMeaning::prune}) ==
        "the layer's router takes no expert_mask that prunes");
  CHECK(what({.expert_mask = mask, .mask_meaning = MaskMeaning::zero_key}) ==
        "the layer's router takes no expert_mask that zeroes keys");
  CHECK(forward(layer, x, state, {.expert_mask = mask, .mask_meaning = MaskMeaning::zero_output}).status.ok());
}

TEST_CASE("a layer finds out a router that ignores mask or k, and names token and expert") {
  const auto layer = layer_of(Boaster(num_experts, hidden, 2, 4));
  const Matrix x = tokens(6);
  decltype(layer)::State state;
  REQUIRE(forward(layer, x, state, {}).status.ok());
  // Masked is the first choice of the fourth token; who else chose it comes first in the message.
  const ExpertId masked = state.plan.experts(3)[0];
  std::vector<std::uint8_t> mask(as_size(num_experts), 1);
  mask[as_size(masked)] = 0;
  index_t first = 0;
  const auto chosen_by = [&](index_t t) {
    const std::span<const ExpertId> experts = state.plan.experts(t);
    return std::find(experts.begin(), experts.end(), masked) != experts.end();
  };
  while (!chosen_by(first)) ++first;
  for (const MaskMeaning meaning : {MaskMeaning::select, MaskMeaning::prune}) {
    const Status status = forward(layer, x, state, {.expert_mask = mask, .mask_meaning = meaning}, 2).status;
    CHECK(status.code == ErrorCode::usage);
    CHECK(status.what == std::string("expert_mask of the call ignored by the layer's router: a masked expert"));
    CHECK(status.layer == 2);
    CHECK(status.token == first);
    CHECK(status.expert == masked);
  }
  const Status status = forward(layer, x, state, {.k = 1}, 2).status;
  CHECK(Error::describe(status) ==
        "k of the call ignored by the layer's router: entries of a row (got 2, allowed 1), layer 2, token 0");
  CHECK(forward(layer, x, state, {.k = 2}).status.ok());
  // A zeroed key may be chosen.
  CHECK(forward(layer, x, state, {.expert_mask = mask, .mask_meaning = MaskMeaning::zero_key}).status.ok());
}

TEST_CASE("a mask that zeroes outputs takes the entries away and leaves the other weights, whatever the router") {
  const auto layer = layer_of(TestRouter(num_experts, hidden, 3, 4));
  const Matrix x = tokens(9);
  const std::vector<std::uint8_t> mask = {1, 0, 1, 1, 0};
  decltype(layer)::State state;
  REQUIRE(forward(layer, x, state, {}).status.ok());
  const RoutingPlan whole = state.plan;
  const RouteEdits zero{.expert_mask = mask, .mask_meaning = MaskMeaning::zero_output};
  const Outcome outcome = forward(layer, x, state, zero);
  REQUIRE(outcome.status.ok());
  for (index_t t = 0; t < 9; ++t) {
    std::vector<float> expected = dense_weights(whole, t);
    for (std::size_t e = 0; e < mask.size(); ++e) expected[e] = mask[e] == 0 ? 0.0f : expected[e];
    CHECK(dense_weights(state.plan, t) == expected);
  }
  CHECK(reference::worst(reference::Bank(shape, 1).layer(state.plan, x.view()), outcome.y.view()) <= 1.0);
  const Outcome forced =
      forward(layer, x, state, {.expert_mask = mask, .mask_meaning = MaskMeaning::zero_output, .forced_plan = &whole});
  CHECK(forced.y == outcome.y);
}

TEST_CASE("a forced plan beats neither mask nor k") {
  const auto layer = layer_of(TestRouter(num_experts, hidden, 3, 4));
  const Matrix x = tokens(4);
  RoutingPlan plan;
  plan.clear(num_experts);
  for (const ExpertId e : {0, 1, 2, 3}) {
    const std::vector<ExpertId> row = {e, (e + 1) % 5};
    throw_if_error(plan.append_row(row, std::vector<float>{0.5f, 0.5f}));
  }
  decltype(layer)::State state;
  const std::vector<std::uint8_t> mask = {1, 1, 1, 0, 1};
  const Status masked = forward(layer, x, state, {.expert_mask = mask, .forced_plan = &plan}, 1).status;
  CHECK(Error::describe(masked) == "masked expert in a forced plan, layer 1, token 2, expert 3");
  const Status wide = forward(layer, x, state, {.k = 1, .forced_plan = &plan}, 1).status;
  CHECK(Error::describe(wide) ==
        "entries of a forced plan's row against k of the call (got 2, allowed 1), layer 1, token 0");
  CHECK(forward(layer, x, state, {.k = 2, .forced_plan = &plan}).status.ok());
  CHECK(state.plan == plan);
}

TEST_CASE("edits end with their call: the next one routes as before, also after one that failed") {
  const Matrix gate = TestRouter(num_experts, hidden, 2, 4).gate;
  const auto layer = layer_of(mixtral_router(GateWeights{.gate = gate.view()}, 2).value());
  const Matrix x = tokens(5);
  decltype(layer)::State state;
  const Outcome plain = forward(layer, x, state, {});
  const std::vector<std::uint8_t> mask = {0, 1, 0, 1, 1};
  const Outcome edited = forward(layer, x, state, {.expert_mask = mask, .k = 1});
  REQUIRE(edited.status.ok());
  CHECK_FALSE(edited.y == plain.y);
  CHECK(forward(layer, x, state, {}).y == plain.y);
  CHECK_FALSE(forward(layer, x, state, {.k = 77}).status.ok());
  CHECK(forward(layer, x, state, {}).y == plain.y);
}

TEST_CASE("a router with a state routes where its plan is forced, so that forcing what it would do changes nothing") {
  const std::vector<float> ih = random_floats(3 * 6 * 4, 0.6f, 5);
  const std::vector<float> hh = random_floats(3 * 6 * 6, 0.6f, 6);
  const std::vector<float> bias = random_floats(3 * 6, 0.3f, 7);
  const RecurrentCell cell = RecurrentCell::create({RecurrentKind::gru, ih, hh, bias, bias}, 4, 6).value();
  const std::vector<float> first = random_floats(num_experts * hidden, 1.0f, 30);
  const std::vector<float> residual = random_floats(num_experts * num_experts, 1.0f, 31);
  const auto gru = [&](unsigned l) {
    const std::vector<float> projection = random_floats(4 * hidden, 0.5f, 8 + l);
    const std::vector<float> gate = random_floats(num_experts * 6, 3.0f, 18 + l);
    return AnyRouter(
        GruRouter<>::create(cell, {projection.data(), 4, hidden}, {gate.data(), num_experts, 6}, TopK{2}, Renormalize{})
            .value());
  };
  const auto moe_plus_plus = [&](unsigned l) {
    const std::vector<float> last = random_floats(num_experts * hidden, 1.0f, 40 + l);
    return AnyRouter(MoePlusPlusRouter<>::create({.first = {},
                                                  .last = {last.data(), num_experts, hidden},
                                                  .residual = {residual.data(), num_experts, num_experts}},
                                                 {.k = 2})
                         .value());
  };
  const auto check = [&](const auto& make) {
    std::vector<MoELayer<AnyRouter, GluExperts<F32, Scalar>>> layers;
    for (unsigned l = 0; l < 3; ++l) layers.push_back(layer_of(make(l)));
    const Matrix x = tokens(7);
    // The plans of a pass, with the plan of some layer forced.
    const auto pass = [&](index_t forced_layer, const RoutingPlan* forced) {
      typename MoELayer<AnyRouter, GluExperts<F32, Scalar>>::State state;
      state.reset(7);
      std::vector<RoutingPlan> plans;
      for (index_t l = 0; l < 3; ++l) {
        const RouteEdits edits{.forced_plan = l == forced_layer ? forced : nullptr};
        REQUIRE(forward(layers[as_size(l)], x, state, edits, l).status.ok());
        plans.push_back(state.plan);
      }
      return plans;
    };
    const std::vector<RoutingPlan> free = pass(-1, nullptr);
    CHECK_FALSE(free[0] == free[1]);
    CHECK(pass(1, &free[1]) == free);
    // Another plan changes its own layer alone: what the router remembers is of the tokens, not of what was run.
    const std::vector<RoutingPlan> other = pass(1, &free[0]);
    CHECK(other[1] == free[0]);
    CHECK(other[2] == free[2]);
  };
  check(gru);
  check(moe_plus_plus);
}

TEST_CASE("a state that goes on from the last pass is an error, for layers as for routers") {
  const std::vector<float> last = random_floats(num_experts * hidden, 1.0f, 50);
  const auto layer = layer_of(
      MoePlusPlusRouter<>::create({.first = {}, .last = {last.data(), num_experts, hidden}}, {.k = 2}).value());
  const Matrix x = tokens(3);
  decltype(layer)::State state;
  state.reset(3);
  REQUIRE(forward(layer, x, state, {}, 4).status.ok());
  CHECK(forward(layer, x, state, {}, 4).status.code == ErrorCode::usage);
  CHECK(forward(layer, x, state, {}, 0).status.code == ErrorCode::usage);
  const RoutingPlan plan = state.plan;
  CHECK(forward(layer, x, state, {.forced_plan = &plan}, 0).status.code == ErrorCode::usage);
  state.reset(3);
  CHECK(forward(layer, x, state, {}, 0).status.ok());
}

TEST_CASE("every iteration of a chain obeys the edits of the call") {
  using Chain = ChainLayer<Boaster, GluExperts<F32, Scalar>, Scalar>;
  const Chain boaster = Chain::create({Boaster(num_experts, hidden, 2, 4)}, bank(), {.iterations = 2}).value();
  const Matrix x = tokens(3);
  Matrix y(3, hidden);
  Context ctx;
  Chain::State state;
  const RouterInput in{.hidden = x.view(), .layer = 6, .edits = {.k = 1}};
  const Status status = boaster.forward(in, state, y.view(), ctx);
  CHECK(status.code == ErrorCode::usage);
  CHECK(status.layer == 6);

  const Matrix gate = TestRouter(num_experts, hidden, 2, 4).gate;
  auto router = mixtral_router(GateWeights{.gate = gate.view()}, 2).value();
  using Obedient = ChainLayer<decltype(router), GluExperts<F32, Scalar>, Scalar>;
  std::vector<decltype(router)> routers;
  routers.push_back(std::move(router));
  const Obedient obedient = Obedient::create(std::move(routers), bank(), {.iterations = 2}).value();
  Obedient::State plans;
  REQUIRE(obedient.forward(in, plans, y.view(), ctx).ok());
  for (const RoutingPlan& plan : plans.plans) CHECK(plan.entries() == 3);
}

TEST_CASE("a forced plan may be any plan of the state it is used with") {
  const Matrix x = tokens(3);
  RoutingPlan plan;
  plan.clear(num_experts);
  const ExpertId experts[] = {4, 2};
  const float weights[] = {0.5f, -1.25f};
  for (index_t t = 0; t < 3; ++t) throw_if_error(plan.append_row(experts, weights));
  const std::vector<std::uint8_t> without_2 = {1, 1, 0, 1, 1};
  // place(state): where the plan lies in it.
  const auto check = [&](const auto& layer, auto state, auto place) {
    for (const bool masked : {false, true}) {
      RouteEdits edits{.forced_plan = &plan};
      if (masked) edits.expert_mask = without_2;
      edits.mask_meaning = MaskMeaning::zero_output;
      state.reset(3);
      auto other = state;
      const Outcome expected = forward(layer, x, other, edits);
      REQUIRE(expected.status.ok());
      RoutingPlan& own = place(state);
      own = plan;
      edits.forced_plan = &own;
      const Outcome found = forward(layer, x, state, edits);
      REQUIRE(found.status.ok());
      CHECK(found.y == expected.y);
    }
  };
  const std::vector<float> weights_ih = random_floats(3 * 6 * 4, 0.6f, 5);
  const std::vector<float> weights_hh = random_floats(3 * 6 * 6, 0.6f, 6);
  const std::vector<float> bias = random_floats(3 * 6, 0.3f, 7);
  const RecurrentCell cell =
      RecurrentCell::create({RecurrentKind::gru, weights_ih, weights_hh, bias, bias}, 4, 6).value();
  const std::vector<float> projection = random_floats(4 * hidden, 0.5f, 8);
  const std::vector<float> gate = random_floats(num_experts * 6, 3.0f, 18);
  const auto gru = layer_of(
      GruRouter<>::create(cell, {projection.data(), 4, hidden}, {gate.data(), num_experts, 6}, TopK{2}, Renormalize{})
          .value());
  const auto plain = layer_of(TestRouter(num_experts, hidden, 2, 4));
  const auto check_layer = [&](const auto& layer) {
    using State = typename std::remove_cvref_t<decltype(layer)>::State;
    check(layer, State(), [](State& state) -> RoutingPlan& { return state.plan; });
    check(layer, State(), [](State& state) -> RoutingPlan& { return state.shared_plan; });
  };
  check_layer(plain);
  check_layer(gru);

  // A state may come from a chain of more iterations.
  using Chain = ChainLayer<TestRouter, GluExperts<F32, Scalar>, Scalar>;
  const Chain chain = Chain::create({TestRouter(num_experts, hidden, 2, 4)}, bank(), {.iterations = 1}).value();
  for (const std::size_t i : {std::size_t{0}, std::size_t{1}, std::size_t{2}}) {
    check(chain, Chain::State(), [i](Chain::State& state) -> RoutingPlan& {
      state.plans.assign(3, RoutingPlan());
      return state.plans[i];
    });
  }
  check(chain, Chain::State(), [](Chain::State& state) -> RoutingPlan& { return state.shared_plan; });
}

TEST_CASE("edits allocate nothing after the first call") {
  const Matrix gate = TestRouter(num_experts, hidden, 2, 4).gate;
  const auto layer = layer_of(mixtral_router(GateWeights{.gate = gate.view()}, 3).value());
  const Matrix x = tokens(20);
  decltype(layer)::State state;
  Context ctx;
  Matrix y(20, hidden);
  const std::vector<std::uint8_t> mask = {1, 0, 1, 1, 1};
  const RouterInput in{.hidden = x.view(), .edits = {.expert_mask = mask, .mask_meaning = MaskMeaning::zero_output}};
  for (int i = 0; i < 2; ++i) REQUIRE(layer.forward(in, state, y.view(), ctx).ok());
  const std::size_t capacity = ctx.workspace.capacity();
  const std::set<const float*> buffers = {state.plan.weights().data(), state.shared_plan.weights().data()};
  for (int i = 0; i < 3; ++i) REQUIRE(layer.forward(in, state, y.view(), ctx).ok());
  CHECK(ctx.workspace.capacity() == capacity);
  CHECK(buffers.count(state.plan.weights().data()) == 1);
  CHECK(buffers.count(state.shared_plan.weights().data()) == 1);
}
