#include "headgate/experts/joined_experts.hpp"

#include "headgate/experts/glu_experts.hpp"
#include "headgate/experts/zero_compute.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/routing/hard_top_k.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;
using reference::Matrix;

namespace {

using Joined = JoinedExperts<GluExperts<F32>>;
using Duo = WithZeroComputeExperts<Joined>;
static_assert(ExpertMajorBank<Joined>);

constexpr index_t hidden_size = 14;
constexpr GluShape small_shape{.num_experts = 2, .hidden_size = hidden_size, .ffn_size = 3};
constexpr GluShape big_shape{.num_experts = 3, .hidden_size = hidden_size, .ffn_size = 37};

GluExperts<F32> bank_of(const reference::Bank& weights) { return {weights.shape, weights.matrices()}; }
Joined joined(const reference::Bank& a, const reference::Bank& b) {
  std::vector<GluExperts<F32>> banks;
  banks.push_back(bank_of(a));
  banks.push_back(bank_of(b));
  return Joined::create(std::move(banks)).value();
}

}  // namespace

TEST_CASE("joined banks of different sizes add what each adds alone, in bits, for any number of threads") {
  const reference::Bank a(small_shape, 1);
  const reference::Bank b(big_shape, 2);
  const Joined bank = joined(a, b);
  CHECK(bank.num_experts() == 5);
  CHECK(bank.expert_bytes() == bank_of(b).expert_bytes());
  std::mt19937 rng(3);
  const Matrix x = Matrix::random(9, hidden_size, 1.0f, rng);
  const RoutingPlan plan = reference::random_plan(9, 5, [](index_t t) { return t % 6; }, 4);
  // The parts of the plan by hand.
  RoutingPlan of_a;
  RoutingPlan of_b;
  of_a.clear(2);
  of_b.clear(3);
  for (index_t t = 0; t < 9; ++t) {
    std::vector<ExpertId> ids[2];
    std::vector<float> weights[2];
    for (std::size_t i = 0; i < plan.experts(t).size(); ++i) {
      const ExpertId e = plan.experts(t)[i];
      ids[e < 2 ? 0 : 1].push_back(e < 2 ? e : e - 2);
      weights[e < 2 ? 0 : 1].push_back(plan.weights(t)[i]);
    }
    throw_if_error(of_a.append_row(ids[0], weights[0]));
    throw_if_error(of_b.append_row(ids[1], weights[1]));
  }
  Matrix expected(9, hidden_size);
  Context ctx;
  throw_if_error(bank_of(a).apply(of_a, x.view(), expected.view(), ctx));
  throw_if_error(bank_of(b).apply(of_b, x.view(), expected.view(), ctx));
  for (const index_t size : {1, 3}) {
    ThreadExecutor threads(size);
    Context parallel(threads);
    Matrix y(9, hidden_size);
    throw_if_error(bank.apply(plan, x.view(), y.view(), parallel));
    CHECK(y == expected);
  }
}

TEST_CASE("one joined bank is the bank") {
  const reference::Bank a(big_shape, 1);
  std::vector<GluExperts<F32>> banks;
  banks.push_back(bank_of(a));
  const Joined bank = Joined::create(std::move(banks)).value();
  std::mt19937 rng(3);
  const Matrix x = Matrix::random(4, hidden_size, 1.0f, rng);
  for (const index_t k : {0, 1, 3}) {
    const RoutingPlan plan = reference::random_plan(4, 3, [&](index_t) { return k; }, 4);
    Matrix y(4, hidden_size);
    Matrix expected(4, hidden_size);
    Context ctx;
    throw_if_error(bank.apply(plan, x.view(), y.view(), ctx));
    throw_if_error(bank_of(a).apply(plan, x.view(), expected.view(), ctx));
    CHECK(y == expected);
  }
}

TEST_CASE("paper_duo_llm: a token goes through the small network, the big one or none, as the best logit says") {
  const reference::Bank small_network({.num_experts = 1, .hidden_size = hidden_size, .ffn_size = 3}, 1);
  const reference::Bank big_network({.num_experts = 1, .hidden_size = hidden_size, .ffn_size = 37}, 2);
  std::mt19937 rng(5);
  const Matrix gate = Matrix::random(3, hidden_size, 0.5f, rng);
  const MoELayer layer(duo_llm_router({.gate = gate.view()}).value(),
                       Duo(joined(small_network, big_network), {{.kind = ZeroComputeKind::zero}}));
  const Matrix x = Matrix::random(24, hidden_size, 1.0f, rng);
  Matrix y(24, hidden_size);
  decltype(layer)::State state;
  Context ctx;
  throw_if_error(layer.forward({.hidden = x.view()}, state, y.view(), ctx));
  bool is_met[3] = {};
  std::vector<std::vector<reference::Bounded>> expected;
  for (index_t t = 0; t < 24; ++t) {
    double best = -INFINITY;
    ExpertId choice = -1;
    for (ExpertId e = 0; e < 3; ++e) {
      double logit = 0.0;
      for (index_t c = 0; c < hidden_size; ++c) {
        logit += static_cast<double>(gate.view().row_data(e)[c]) * static_cast<double>(x.view().row_data(t)[c]);
      }
      if (logit > best) {
        best = logit;
        choice = e;
      }
    }
    REQUIRE(state.plan.experts(t).size() == 1);
    CHECK(state.plan.experts(t)[0] == choice);
    CHECK(state.plan.weights(t)[0] == 1.0f);
    is_met[choice] = true;
    expected.push_back(choice == 2   ? std::vector<reference::Bounded>(as_size(hidden_size))
                       : choice == 1 ? big_network.expert(0, x.view().row_data(t))
                                     : small_network.expert(0, x.view().row_data(t)));
  }
  CHECK(is_met[0]);
  CHECK(is_met[1]);
  CHECK(is_met[2]);
  CHECK(reference::worst(expected, y.view()) < 1.0);
  CHECK(layer.experts().ffn_rows(state.plan) < 24);
}

TEST_CASE("banks that cannot be joined are refused, and errors name the expert by its joined id") {
  CHECK(refused(Joined::create({})) == "no banks of experts to join");
  const reference::Bank a(small_shape, 1);
  const reference::Bank wide({.num_experts = 1, .hidden_size = 15, .ffn_size = 3}, 1);
  std::vector<GluExperts<F32>> banks;
  banks.push_back(bank_of(a));
  banks.push_back(bank_of(wide));
  CHECK(refused(Joined::create(std::move(banks))) ==
        "hidden_size of a joined bank against the first (got 15, allowed 14)");
  reference::Bank b(big_shape, 2);
  b.down[1].values[0] = INFINITY;
  const Joined bank = joined(a, b);
  std::mt19937 rng(3);
  const Matrix x = Matrix::random(1, hidden_size, 1.0f, rng);
  Matrix y(1, hidden_size);
  RoutingPlan plan;
  plan.clear(5);
  const ExpertId id = 3;
  const float weight = 1.0f;
  throw_if_error(plan.append_row({&id, 1}, {&weight, 1}));
  Context ctx;
  const Status status = bank.apply(plan, x.view(), y.view(), ctx);
  CHECK_FALSE(status.ok());
  CHECK(status.expert == 3);
}
