#include "headgate/routing/any_router.hpp"

#include "headgate/analysis/policies.hpp"
#include "support/catch.hpp"

namespace {

using namespace headgate;

// Sends every token to the expert that follows the last one: it remembers where it was.
template <int tag>
struct RoundRobin {
  struct State {
    index_t next = 0;
    index_t tokens = -1;
    void reset(index_t n) {
      next = 0;
      tokens = n;
    }
  };
  index_t num_experts() const noexcept { return 4; }
  index_t hidden_size() const noexcept { return 2; }
  RouterTraits traits() const noexcept {
    return {.state = StateScope::across_layers, .k_min = 1, .k_max = 1, .row_sum = RowSum::one};
  }
  Status route(const RouterInput& in, State& state, RoutingPlan& plan, Context&) const {
    plan.clear(4);
    if (state.tokens != in.hidden.rows) return Status::mismatch("tokens of the state", state.tokens, in.hidden.rows);
    for (index_t t = 0; t < in.hidden.rows; ++t) {
      const ExpertId expert = state.next++ % 4;
      const float weight = 1.0f;
      if (Status status = plan.append_row({&expert, 1}, {&weight, 1}); !status.ok()) return status;
    }
    return Status::success();
  }
};
static_assert(Router<RoundRobin<0>>);

ExpertId first_expert(const AnyRouter& router, AnyRouter::State& state) {
  const float x[6] = {};
  Context ctx;
  RoutingPlan plan;
  throw_if_error(router.route({.hidden = {x, 3, 2}}, state, plan, ctx));
  return plan.experts(0)[0];
}

}  // namespace

TEST_CASE("AnyRouter keeps the state of the router inside, which can be reset, copied and moved") {
  const AnyRouter router = RoundRobin<0>();
  CHECK(router.traits().state == StateScope::across_layers);
  AnyRouter::State state;
  state.reset(3);
  CHECK(first_expert(router, state) == 0);
  CHECK(first_expert(router, state) == 3);
  AnyRouter::State copy = state;
  CHECK(first_expert(router, state) == 2);
  CHECK(first_expert(router, copy) == 2);  // of its own memory
  copy = state;
  AnyRouter::State moved = std::move(state);
  CHECK(first_expert(router, moved) == 1);
  CHECK(first_expert(router, copy) == 1);
  moved = std::move(copy);
  CHECK(first_expert(router, moved) == 0);
  moved.reset(3);
  CHECK(first_expert(router, moved) == 0);
  moved.reset(2);
  CHECK_THROWS_AS(first_expert(router, moved), Error);
  const AnyRouter::State fresh;
  moved = fresh;
  moved.reset(3);
  CHECK(first_expert(router, moved) == 0);
}

TEST_CASE("routers of several kinds each find their own memory in one state, and those without leave it alone") {
  const AnyRouter one = RoundRobin<1>();
  const AnyRouter two = RoundRobin<2>();
  AnyRouter::State state;
  state.reset(3);
  CHECK(first_expert(one, state) == 0);
  CHECK(first_expert(two, state) == 0);
  const float gate[8] = {};
  const AnyRouter plain = mixtral_router<Scalar>({.gate = {gate, 4, 2}}, 2).value();
  CHECK(first_expert(plain, state) == 0);
  AnyRouter::State copy = state;
  CHECK(first_expert(one, state) == 3);
  CHECK(first_expert(two, state) == 3);
  CHECK(first_expert(two, state) == 2);
  CHECK(first_expert(one, copy) == 3);
  CHECK(first_expert(two, copy) == 3);
  state.reset(3);
  CHECK(first_expert(one, state) == 0);
  CHECK(first_expert(two, state) == 0);
}

TEST_CASE("copies of an AnyRouter share the router, and none is ever empty") {
  const std::shared_ptr<int> held = std::make_shared<int>(0);
  struct Holder : RoundRobin<3> {
    std::shared_ptr<int> part;
  };
  AnyRouter router = Holder{{}, held};
  CHECK(held.use_count() == 2);
  const AnyRouter copy = router;
  CHECK(held.use_count() == 2);
  const AnyRouter other = std::move(router);
  AnyRouter::State state;
  for (const AnyRouter* each : {&copy, &other, static_cast<const AnyRouter*>(&router)}) {
    state.reset(3);
    CHECK(first_expert(*each, state) == 0);
  }
}

namespace {

// A router around another one, of whatever kind.
struct Wrapped {
  using State = AnyRouter::State;
  index_t num_experts() const noexcept { return inner.num_experts(); }
  index_t hidden_size() const noexcept { return inner.hidden_size(); }
  RouterTraits traits() const noexcept { return inner.traits(); }
  Status route(const RouterInput& in, State& state, RoutingPlan& plan, Context& ctx) const {
    return inner.route(in, state, plan, ctx);
  }
  Status set_selection_bias(std::span<const float> bias) { return inner.set_selection_bias(bias); }
  AnyRouter inner;
};

}  // namespace

TEST_CASE("a router around another one uses the memory that its layer would use without it") {
  const AnyRouter plain = RoundRobin<1>();
  const AnyRouter wrapped = Wrapped{RoundRobin<1>()};
  AnyRouter::State state;
  state.reset(3);
  CHECK(first_expert(plain, state) == 0);
  CHECK(first_expert(wrapped, state) == 3);
  CHECK(first_expert(plain, state) == 2);
}

TEST_CASE("a selection bias is written on the router inside, and on no copy of it") {
  const float gate[8] = {1, 0, 1, 0, 1, 0, 1, 0};  // all alike: the lowest ids
  const float bias[4] = {0, 0, 3, 0};
  const float plain[4] = {0, 0, 0, 0};
  const AnyRouter staged = mixtral_router<Scalar>({.gate = {gate, 4, 2}}, 1).value();
  for (const AnyRouter& router : {staged, AnyRouter(Wrapped{staged})}) {
    AnyRouter biased = router;
    throw_if_error(biased.set_selection_bias(bias));
    AnyRouter::State state;
    CHECK(first_expert(router, state) == 0);
    CHECK(first_expert(biased, state) == 2);
    const AnyRouter before = biased;
    throw_if_error(biased.set_selection_bias(plain));
    CHECK(first_expert(biased, state) == 0);
    CHECK(first_expert(before, state) == 2);
    // On an error nothing changes.
    CHECK(biased.set_selection_bias({bias, 3}).allowed == 4);
    CHECK(first_expert(biased, state) == 0);
  }
}

TEST_CASE("a router that takes no selection bias says so") {
  const float bias[4] = {};
  AnyRouter router = RoundRobin<0>();
  for (const Status& status : {router.set_selection_bias(bias), router.set_selection_factor(bias)}) {
    CHECK(status.code == ErrorCode::usage);
    CHECK(std::string(status.what).find("takes no selection") != std::string::npos);
  }
}

TEST_CASE("a selection factor is written on the router inside where scores are never negative") {
  const float gate[8] = {1, 0, 1, 0, 1, 0, 1, 0};
  const float factor[4] = {1, 1, 3, 1};
  AnyRouter router = mixtral_router<Scalar>({.gate = {gate, 4, 2}}, 1).value();
  throw_if_error(router.set_selection_factor(factor));
  AnyRouter::State state;
  CHECK(first_expert(router, state) == 2);
  AnyRouter by_logit = granite_router<Scalar>({.gate = {gate, 4, 2}}, 1).value();
  CHECK(by_logit.set_selection_factor(factor).code == ErrorCode::usage);
}

namespace {

// The plan of the third layer, of one batch.
template <Router R>
RoutingPlan third_plan(const R& router, const PolicyParameters& parameters) {
  const std::vector<float> x = uniform_floats(std::int64_t{9} * parameters.hidden_size, 2.0f, 4);
  const std::vector<std::int32_t> ids = {0, 1, 2, 3, 4, 5, 0, 1, 2};
  Context ctx;
  typename R::State state;
  RoutingPlan plan;
  state.reset(9);
  for (index_t layer = 0; layer < 3; ++layer) {
    const RouterInput in{.hidden = {x.data(), 9, parameters.hidden_size}, .token_ids = ids, .layer = layer};
    throw_if_error(router.route(in, state, plan, ctx));
  }
  return plan;
}

template <Router R>
void check_same_inside(const R& router, const AnyRouter& any, const PolicyParameters& parameters) {
  CHECK(any.num_experts() == router.num_experts());
  CHECK(any.hidden_size() == router.hidden_size());
  const RouterTraits inside = router.traits();
  const RouterTraits outside = any.traits();
  CHECK(outside.needs == inside.needs);
  CHECK(outside.state == inside.state);
  CHECK(outside.k_min == inside.k_min);
  CHECK(outside.k_max == inside.k_max);
  CHECK(outside.row_sum == inside.row_sum);
  CHECK(outside.row_sum_value == inside.row_sum_value);
  CHECK(outside.batch_coupled == inside.batch_coupled);
  CHECK(outside.causal == inside.causal);
  const RoutingPlan plan = third_plan(router, parameters);
  CHECK(plan.entries() > 0);
  CHECK(third_plan(any, parameters) == plan);
}

}  // namespace

TEST_CASE("a router of every kind says and makes the same in AnyRouter") {
  const PolicyParameters p(8, 6, 3, 5);
  const auto check = [&](const auto& make) { check_same_inside(make(p), make(p), p); };
  check([](const PolicyParameters& i) { return mixtral_router<Scalar>(i.plain(), i.k).value(); });
  check([](const PolicyParameters& i) { return deepseek_v3_router<Scalar>(i.biased(), i.k, 2.5f, {4, 2}).value(); });
  check([](const PolicyParameters& i) { return adamoe_of<Scalar>(i, 3); });
  check([](const PolicyParameters& i) { return gru_of<Scalar>(i, RecurrentKind::gru); });
  check([](const PolicyParameters& i) { return relu_router<Scalar>(i.plain()).value(); });
  check([](const PolicyParameters& i) { return hash_of(i); });
  check([](const PolicyParameters& i) { return moe_plus_plus_of<Scalar>(i, ZeroExpertWeight::code, 1.0f); });
}
