#include "headgate/routing/k_allocator.hpp"

#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/plan_transform.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

namespace {
using namespace headgate;

std::vector<index_t> allocated(const KAllocator<>& allocator, ConstRows x, ExecutorRef threads = {}) {
  std::vector<index_t> k(as_size(x.rows));
  Context ctx(threads);
  throw_if_error(allocator.allocate(x, k, ctx));
  return k;
}
}  // namespace

TEST_CASE("paper_ Ada-K: a token's k is the place of its largest logit, and its row the router's of that k") {
  const index_t experts = 5, hidden = 24, tokens = 37;
  const std::vector<float> gate = random_floats(experts * hidden, 0.5f, 1);
  const std::vector<float> weights = random_floats(experts * hidden, 0.5f, 2);
  const std::vector<float> bias = random_floats(experts, 0.5f, 3);
  const std::vector<float> x = random_floats(tokens * hidden, 1.0f, 4);
  const ConstRows rows{x.data(), tokens, hidden};
  const auto allocator = KAllocator<>::create({weights.data(), experts, hidden}, bias).value();
  const std::vector<index_t> k = allocated(allocator, rows);
  for (index_t t = 0; t < tokens; ++t) {
    double best = -1e30;
    index_t expected = 0;
    for (index_t n = 0; n < experts; ++n) {
      double sum = static_cast<double>(bias[as_size(n)]);
      for (index_t j = 0; j < hidden; ++j) {
        sum += static_cast<double>(weights[as_size(n * hidden + j)]) * static_cast<double>(x[as_size(t * hidden + j)]);
      }
      if (sum > best) {
        best = sum;
        expected = n + 1;
      }
    }
    CHECK(k[as_size(t)] == expected);
  }
  ThreadExecutor threads(3);
  CHECK(allocated(allocator, rows, threads) == k);

  const GateWeights of_gate{.gate = {gate.data(), experts, hidden}};
  const RoutingPlan all = routed(mixtral_router(of_gate, experts).value(), rows);
  RoutingPlan plan;
  throw_if_error(keep_first(all, k, WeightsAfterDrop::same_sum, plan));
  for (index_t t = 0; t < tokens; ++t) {
    const RoutingPlan own = routed(mixtral_router(of_gate, k[as_size(t)]).value(), rows.middle_rows(t, 1));
    CHECK(experts_of(plan, t) == experts_of(own, 0));
    for (std::size_t i = 0; i < plan.weights(t).size(); ++i) {
      CHECK(plan.weights(t)[i] == Catch::Approx(own.weights(0)[i]).epsilon(1e-6));
    }
  }
}

TEST_CASE("an allocator of one number gives it always; ties go to the fewer") {
  const std::vector<float> weights(3 * 2, 0.5f);
  const std::vector<float> x = {1.0f, -2.0f, 0.0f, 0.0f};
  CHECK(allocated(KAllocator<>::create({weights.data(), 3, 2}).value(), {x.data(), 2, 2}) ==
        std::vector<index_t>{1, 1});
  CHECK(allocated(KAllocator<>::create({weights.data(), 1, 2}).value(), {x.data(), 2, 2}) ==
        std::vector<index_t>{1, 1});
  CHECK(allocated(KAllocator<>::create({weights.data(), 1, 2}).value(), {x.data(), 0, 2}).empty());
}

TEST_CASE("an allocator refuses what does not fit and names a token that is not finite") {
  const std::vector<float> weights(3 * 2, 0.5f);
  const auto allocator = KAllocator<>::create({weights.data(), 3, 2}).value();
  std::vector<float> x(4, 1.0f);
  std::vector<index_t> k(2);
  Context ctx;
  CHECK(said(allocator.allocate({x.data(), 1, 2}, k, ctx)) == "usage: size of k against tokens (got 2, allowed 1)");
  CHECK(said(allocator.allocate({x.data(), 2, 1}, k, ctx)) ==
        "usage: width of hidden against hidden_size of the router (got 1, allowed 2)");
  x[3] = std::nanf("");
  CHECK(said(allocator.allocate({x.data(), 2, 2}, k, ctx)) == "numeric: logit of k is not finite, token 1");
  CHECK(std::string(KAllocator<>::create({}).error().what()) ==
        "rows of a router's gate (experts), at least (got 0, allowed 1)");
}
