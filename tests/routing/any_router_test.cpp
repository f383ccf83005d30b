#include "headgate/routing/any_router.hpp"

#include "headgate/kernels/scalar.hpp"
#include "headgate/routing/topk_softmax.hpp"
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

TEST_CASE("the memory of one kind of router is refused by another, and routers without memory leave it alone") {
  const AnyRouter one = RoundRobin<1>();
  const AnyRouter two = RoundRobin<2>();
  AnyRouter::State state;
  state.reset(3);
  CHECK(first_expert(one, state) == 0);
  CHECK_THROWS_WITH(first_expert(two, state), "router state belongs to another kind of router");
  const float gate[8] = {};
  const AnyRouter plain = mixtral_router<Scalar>({.gate = {gate, 4, 2}}, 2).value();
  CHECK(first_expert(plain, state) == 0);
  CHECK(first_expert(one, state) == 3);
}

TEST_CASE("AnyRouter can be moved") {
  AnyRouter router = RoundRobin<0>();
  AnyRouter other = std::move(router);
  const float gate[8] = {};
  router = mixtral_router<Scalar>({.gate = {gate, 4, 2}}, 2).value();
  AnyRouter::State state;
  state.reset(3);
  CHECK(first_expert(other, state) == 0);
  CHECK(router.traits().k_max == 2);
}
