#include "headgate/layers/moe_layer.hpp"

#include <cfenv>
#include <stdexcept>

#include "headgate/experts/any_experts.hpp"
#include "headgate/experts/glu_experts.hpp"
#include "headgate/experts/per_expert.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"
#include "support/test_router.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;
using reference::Matrix;

namespace {

constexpr index_t hidden = 26;
constexpr index_t num_experts = 7;
const GluShape shape{num_experts, hidden, 37, {}, true, false};

template <class Format = F32, class Backend = Scalar>
GluExperts<Format, Backend> bank(unsigned seed) {
  return GluExperts<Format, Backend>(shape, reference::Bank(shape, seed).matrices());
}
GluExperts<F32, Scalar> bank_of_one(unsigned seed) {
  const GluShape one{1, hidden, 19, {}, true, false};
  return GluExperts<F32, Scalar>(one, reference::Bank(one, seed).matrices());
}
Matrix random_rows(index_t rows, unsigned seed) {
  std::mt19937 rng(seed);
  return Matrix::random(rows, hidden, 1.5f, rng);
}
template <class Layer>
Matrix forward(const Layer& layer, const Matrix& x, Context& ctx, typename Layer::State& state,
               const RouteEdits& edits = {}) {
  Matrix y(x.rows, hidden, 5.0f);  // forward overwrites it
  throw_if_error(layer.forward({.hidden = x.view(), .edits = edits}, state, y.view(), ctx));
  return y;
}

struct Throwing {
  void forward(ConstRows, Rows) const { throw std::runtime_error("from an expert"); }
};

}  // namespace

TEMPLATE_TEST_CASE("a layer agrees with six lines in double", "", Scalar, NativeBackend) {
  for (const index_t tokens : {1, 2, 45}) {
    const Matrix x = random_rows(tokens, 1);
    const MoELayer f32(TestRouter(num_experts, hidden, 3, 2), bank<F32, TestType>(3));
    const MoELayer bf16(TestRouter(num_experts, hidden, 3, 2), bank<Bf16, TestType>(3));
    reference::Bank plain(shape, 3);
    Context ctx;
    typename decltype(f32)::State state;
    typename decltype(bf16)::State bf16_state;
    const Matrix y = forward(f32, x, ctx, state);
    CHECK(reference::worst(plain.layer(state.plan, x.view()), y.view()) <= 1.0);
    plain.round_to_bf16();
    const Matrix y_bf16 = forward(bf16, x, ctx, bf16_state);
    CHECK(reference::worst(plain.layer(bf16_state.plan, x.view()), y_bf16.view()) <= 1.0);
    CHECK(bf16_state.plan == state.plan);
  }
}

TEST_CASE("a layer gives the same bits for any threads, batch and chunk") {
  const index_t tokens = 33;
  const MoELayer layer(TestRouter(num_experts, hidden, 3, 4), bank(5), SharedExpert(bank_of_one(6)));
  const Matrix x = random_rows(tokens, 7);
  Context serial;
  decltype(layer)::State state;
  const Matrix expected = forward(layer, x, serial, state);
  for (const index_t threads : {1, 2, 3, 8}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    for (const index_t chunk : {1, 2, 7, 16, 32, 33}) {
      Matrix y(tokens, hidden);
      for (index_t first = 0; first < tokens; first += chunk) {
        const index_t count = std::min(chunk, tokens - first);
        const RouterInput in{.hidden = ConstRows(x.view()).middle_rows(first, count)};
        REQUIRE(layer.forward(in, state, y.view().middle_rows(first, count), ctx).ok());
      }
      INFO("threads " << threads << " chunk " << chunk);
      CHECK(y == expected);
    }
  }
}

TEST_CASE("a layer of no tokens computes nothing") {
  const MoELayer layer(TestRouter(num_experts, hidden, 3, 4), bank(5));
  decltype(layer)::State state;
  Context ctx;
  CHECK(forward(layer, Matrix(0, hidden), ctx, state).values.empty());
  CHECK(state.plan.tokens() == 0);
}

TEST_CASE("a forced plan takes the place of routing, and empty rows give exactly zero (P13)") {
  const MoELayer layer(TestRouter(num_experts, hidden, 3, 8), bank(9));
  const Matrix x = random_rows(6, 10);
  const RoutingPlan plan = reference::random_plan(6, num_experts, [](index_t t) { return t % 3; }, 11);
  Context ctx;
  decltype(layer)::State state;
  const Matrix y = forward(layer, x, ctx, state, {.forced_plan = &plan});
  CHECK(state.plan == plan);
  CHECK(reference::worst(reference::Bank(shape, 9).layer(plan, x.view()), y.view()) <= 1.0);
  for (const index_t t : {0, 3}) {
    for (const float value : ConstRows(y.view()).row(t)) CHECK(std::bit_cast<std::uint32_t>(value) == 0u);
  }
  // The plan of the last forward may be forced again.
  CHECK(forward(layer, x, ctx, state, {.forced_plan = &state.plan}) == y);
  // What does not fit is refused.
  const RoutingPlan other = reference::random_plan(6, num_experts + 1, [](index_t) { return 1; }, 12);
  const RoutingPlan longer = reference::random_plan(7, num_experts, [](index_t) { return 1; }, 13);
  for (const RoutingPlan* wrong : {&other, &longer}) {
    Matrix out(6, hidden);
    CHECK(
        layer.forward({.hidden = x.view(), .layer = 4, .edits = {.forced_plan = wrong}}, state, out.view(), ctx).code ==
        ErrorCode::usage);
  }
}

TEST_CASE("errors of forward name layer, token and expert") {
  reference::Bank plain(shape, 14);
  for (float& value : plain.down[2].values) value = 3e38f;
  const MoELayer layer(TestRouter(num_experts, hidden, num_experts, 15),
                       GluExperts<F32, Scalar>(shape, plain.matrices()));
  decltype(layer)::State state;
  Context ctx;
  Matrix x = random_rows(3, 16);
  Matrix y(3, hidden);
  const Status overflow = layer.forward({.hidden = x.view(), .layer = 11}, state, y.view(), ctx);
  CHECK(Error::describe(overflow) == "output of an expert is not finite, layer 11, token 0, expert 2");
  CHECK(overflow.code == ErrorCode::numeric);

  for (const float bad : {NAN, INFINITY}) {
    Matrix broken = x;
    broken.view().row_data(1)[7] = bad;
    const Status logit = layer.forward({.hidden = broken.view(), .layer = 12}, state, y.view(), ctx);
    CHECK(logit.code == ErrorCode::numeric);
    CHECK(logit.layer == 12);
    CHECK(logit.token == 1);
    const RoutingPlan plan = reference::random_plan(3, num_experts, [](index_t) { return 1; }, 17);
    const RouterInput forced{.hidden = broken.view(), .layer = 13, .edits = {.forced_plan = &plan}};
    const Status input = layer.forward(forced, state, y.view(), ctx);
    CHECK(input.code == ErrorCode::numeric);
    CHECK(input.layer == 13);
    CHECK(input.token == 1);
    CHECK(input.expert == plan.experts(1)[0]);
  }
  CHECK(layer.forward({.hidden = x.view()}, state, {y.values.data(), 2, hidden}, ctx).found == 2);
  CHECK(layer.forward({.hidden = x.view()}, state, {y.values.data(), 3, hidden - 1}, ctx).allowed == hidden);
  CHECK(layer.forward({.hidden = {x.values.data(), 3, hidden - 1}}, state, y.view(), ctx).code != ErrorCode::ok);
}

TEST_CASE("a router and a bank that do not fit each other make no layer") {
  using Layer = MoELayer<TestRouter, GluExperts<F32, Scalar>>;
  const auto error = [](TestRouter router, std::optional<SharedExpert<GluExperts<F32, Scalar>>> shared = std::nullopt) {
    const Expected<Layer> layer = Layer::create(std::move(router), bank(18), std::move(shared));
    REQUIRE(!layer);
    return std::string(layer.error().what());
  };
  CHECK(error(TestRouter(6, hidden, 3, 1)) == "experts of the router against experts of the bank (got 6, allowed 7)");
  CHECK(error(TestRouter(7, 25, 3, 1)) == "hidden_size of the router against that of the bank (got 25, allowed 26)");
  CHECK(error(TestRouter(7, hidden, 3, 1), SharedExpert(GluExperts<F32, Scalar>(GluShape{1, 24, 37}))) ==
        "hidden_size of the shared expert against that of the bank (got 24, allowed 26)");
  CHECK_THROWS_AS(Layer(TestRouter(6, hidden, 3, 1), bank(18)), Error);
}

TEST_CASE("a layer adds its shared expert to the routed ones") {
  const MoELayer routed(TestRouter(num_experts, hidden, 3, 19), bank(20));
  const MoELayer both(TestRouter(num_experts, hidden, 3, 19), bank(20), SharedExpert(bank_of_one(21)));
  REQUIRE(both.shared().has_value());
  CHECK(both.router().num_experts() == both.experts().num_experts());
  const Matrix x = random_rows(5, 22);
  Context ctx;
  decltype(routed)::State routed_state;
  decltype(both)::State state;
  Matrix expected = forward(routed, x, ctx, routed_state);
  RoutingPlan plan;
  REQUIRE(both.shared()->add(x.view(), expected.view(), plan, ctx).ok());
  CHECK(forward(both, x, ctx, state) == expected);
}

TEST_CASE("an erased bank in a layer gives the bits of the concrete one") {
  const MoELayer concrete(TestRouter(num_experts, hidden, 3, 23), bank<Bf16>(24));
  const MoELayer<TestRouter, AnyExperts> erased(TestRouter(num_experts, hidden, 3, 23), bank<Bf16>(24));
  const Matrix x = random_rows(5, 25);
  Context ctx;
  decltype(concrete)::State state;
  decltype(erased)::State erased_state;
  CHECK(forward(concrete, x, ctx, state) == forward(erased, x, ctx, erased_state));
}

TEST_CASE("the exception of a user's expert passes through forward, also from another thread") {
  const MoELayer layer(TestRouter(num_experts, hidden, 3, 26),
                       PerExpert<Throwing, Scalar>(hidden, std::vector<Throwing>(7)));
  ThreadExecutor executor(3);
  Context ctx(executor);
  decltype(layer)::State state;
  const Matrix x = random_rows(4, 27);
  Matrix y(4, hidden);
  CHECK_THROWS_WITH(layer.forward({.hidden = x.view()}, state, y.view(), ctx), "from an expert");
}

TEST_CASE("after the first call of a size a layer allocates nothing") {
  const MoELayer layer(TestRouter(num_experts, hidden, 3, 28), bank(29), SharedExpert(bank_of_one(30)));
  Context ctx;
  decltype(layer)::State state;
  const Matrix x = random_rows(20, 31);
  forward(layer, x, ctx, state);
  const std::size_t capacity = ctx.workspace.capacity();
  const float* const weights = state.plan.weights().data();
  const float* const shared_weights = state.shared_plan.weights().data();
  for (int i = 0; i < 3; ++i) forward(layer, x, ctx, state);
  CHECK(ctx.workspace.capacity() == capacity);
  CHECK(state.plan.weights().data() == weights);
  CHECK(state.shared_plan.weights().data() == shared_weights);
}

TEST_CASE("the caller's rounding and denormal modes change no bit and are left as they were") {
  const MoELayer layer(TestRouter(num_experts, hidden, 3, 32), bank(33));
  Context ctx;
  decltype(layer)::State state;
  const Matrix x = random_rows(3, 34);
  const Matrix expected = forward(layer, x, ctx, state);
  const int nearest = std::fegetround();
  REQUIRE(std::fesetround(FE_UPWARD) == 0);
  Matrix y(3, hidden);
  const Status status = layer.forward({.hidden = x.view()}, state, y.view(), ctx);
  const int after = std::fegetround();
  std::fesetround(nearest);
  CHECK(status.ok());
  CHECK(after == FE_UPWARD);
  CHECK(y == expected);
}

TEST_CASE("a layer says which rows or width of y do not fit, and keeps the layer that an error names") {
  const MoELayer layer(TestRouter(num_experts, hidden, 3, 35), bank(36));
  const Matrix x = random_rows(3, 37);
  Matrix y(3, hidden);
  decltype(layer)::State state;
  Context ctx;
  const auto outcome = [&](index_t rows, index_t cols) {
    return said(layer.forward({.hidden = x.view(), .layer = 9}, state, {y.values.data(), rows, cols}, ctx));
  };
  CHECK(outcome(3, hidden) == "ok");
  CHECK(outcome(2, hidden) == "usage: rows of y against tokens (got 2, allowed 3), layer 9");
  CHECK(outcome(4, hidden) == "usage: rows of y against tokens (got 4, allowed 3), layer 9");
  CHECK(outcome(3, hidden - 1) == "usage: width of y against hidden_size (got 25, allowed 26), layer 9");
}

TEST_CASE("an error of the shared expert reaches the caller") {
  const MoELayer layer(TestRouter(num_experts, hidden, 3, 39), bank(40),
                       SharedExpert(bank_of_one(38), std::vector<float>(as_size(hidden), 3e38f)));
  Matrix x = random_rows(2, 41);
  for (float& value : x.view().row(1)) value = 2.0f;
  Matrix y(2, hidden);
  decltype(layer)::State state;
  Context ctx;
  const Status status = layer.forward({.hidden = x.view(), .layer = 2}, state, y.view(), ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.layer == 2);
}

TEST_CASE("a selection bias is written on a layer's router, and is none of a router that takes none") {
  const std::vector<float> gate(as_size(num_experts * hidden), 0.0f);  // all alike: the lowest ids
  MoELayer layer(granite_router({.gate = {gate.data(), num_experts, hidden}}, 1).value(), bank(35));
  Context ctx;
  decltype(layer)::State state;
  const Matrix x = random_rows(3, 36);
  forward(layer, x, ctx, state);
  CHECK(state.plan.experts(0)[0] == 0);
  std::vector<float> bias(as_size(num_experts), 0.0f);
  bias[4] = 1.0f;
  throw_if_error(layer.set_selection_bias(bias));
  forward(layer, x, ctx, state);
  for (const ExpertId e : state.plan.experts()) CHECK(e == 4);
  for (const float weight : state.plan.weights()) CHECK(weight == 1.0f);
  bias.pop_back();
  CHECK(layer.set_selection_bias(bias).allowed == num_experts);
  forward(layer, x, ctx, state);
  CHECK(state.plan.experts(0)[0] == 4);

  MoELayer by_factor(mixtral_router({.gate = {gate.data(), num_experts, hidden}}, 1).value(), bank(35));
  decltype(by_factor)::State other;
  const std::vector<float> factor = {1, 1, 3, 1, 1, 1, 1};
  throw_if_error(by_factor.set_selection_factor(factor));
  forward(by_factor, x, ctx, other);
  CHECK(other.plan.experts(0)[0] == 2);

  using Unbiased = MoELayer<TestRouter, GluExperts<F32, Scalar>>;
  const auto takes_bias = []<class L>(L& l) { return requires { l.set_selection_bias(std::span<const float>()); }; };
  Unbiased plain(TestRouter(num_experts, hidden, 3, 32), bank(33));
  CHECK_FALSE(takes_bias(plain));
  CHECK(takes_bias(layer));
}

TEST_CASE("the shared experts of a layer may be a bank of another type") {
  const MoELayer same(TestRouter(num_experts, hidden, 3, 30), bank(31), SharedExpert(bank_of_one(32)));
  const MoELayer other(TestRouter(num_experts, hidden, 3, 30), bank(31), SharedExpert<AnyExperts>(bank_of_one(32)));
  STATIC_REQUIRE(std::same_as<decltype(other), const MoELayer<TestRouter, GluExperts<F32, Scalar>, AnyExperts>>);
  const Matrix x = random_rows(5, 33);
  Context ctx;
  decltype(same)::State state;
  decltype(other)::State other_state;
  CHECK(forward(other, x, ctx, other_state) == forward(same, x, ctx, state));
  using Layer = MoELayer<TestRouter, GluExperts<F32, Scalar>, AnyExperts>;
  CHECK(refused(Layer::create(TestRouter(num_experts, hidden, 3, 30), bank(31),
                              SharedExpert<AnyExperts>(GluExperts<F32, Scalar>(GluShape{1, 24, 37})))) ==
        "hidden_size of the shared expert against that of the bank (got 24, allowed 26)");
  const std::optional<SharedExpert<AnyExperts>> none;
  const MoELayer bare(TestRouter(num_experts, hidden, 3, 30), bank(31), none);
  STATIC_REQUIRE(std::same_as<decltype(bare), decltype(other)>);
  CHECK(!bare.shared().has_value());
}

TEST_CASE("experts may read other rows than the router") {
  const MoELayer layer(TestRouter(num_experts, hidden, 3, 34), bank(35), SharedExpert(bank_of_one(36)));
  const Matrix routed = random_rows(9, 37);
  const Matrix x = random_rows(9, 38);
  Context ctx;
  decltype(layer)::State state;
  Matrix y(9, hidden, 5.0f);
  REQUIRE(layer.forward({.hidden = routed.view()}, x.view(), state, y.view(), ctx).ok());
  decltype(layer)::State routed_state;
  forward(layer, routed, ctx, routed_state);
  CHECK(state.plan == routed_state.plan);
  // The plan of the one, the rows of the other.
  decltype(layer)::State forced_state;
  CHECK(forward(layer, x, ctx, forced_state, {.forced_plan = &state.plan}) == y);
  CHECK_FALSE(forward(layer, x, ctx, forced_state) == y);
}

TEST_CASE("a layer says which rows of experts and router do not fit, and lets neither be written") {
  const MoELayer layer(TestRouter(num_experts, hidden, 3, 34), bank(35));
  Matrix routed = random_rows(3, 39);
  Matrix x = random_rows(3, 40);
  Matrix y(3, hidden);
  Context ctx;
  decltype(layer)::State state;
  const auto outcome = [&](ConstRows in, ConstRows of_experts, Rows out) {
    return said(layer.forward({.hidden = in, .layer = 2}, of_experts, state, out, ctx));
  };
  CHECK(outcome(routed.view(), x.view(), y.view()) == "ok");
  CHECK(outcome(routed.view(), {x.values.data(), 2, hidden}, y.view()) ==
        "usage: rows of x against rows of the router (got 2, allowed 3), layer 2");
  CHECK(outcome(routed.view(), {x.values.data(), 3, hidden - 1}, y.view()) ==
        "usage: width of x against hidden_size (got 25, allowed 26), layer 2");
  CHECK(outcome(routed.view(), {nullptr, 3, hidden}, y.view()) == "usage: rows of a matrix without data, layer 2");
  CHECK(outcome(routed.view(), x.view(), routed.view()) == "usage: output that overlaps its input, layer 2");
  CHECK(outcome(routed.view(), x.view(), x.view()) == "usage: output that overlaps its input, layer 2");
}
