#include "headgate/routing/sequence_bias.hpp"

#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/any_router.hpp"
#include "headgate/routing/linear_gate.hpp"
#include "headgate/routing/stages/top_k.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

namespace {
using namespace headgate;
using Biased = SequenceBiasRouter<LinearGate<>, SoftmaxScore, TopK, Renormalize>;

struct Example {
  std::vector<float> gate = random_floats(11 * 26, 0.5f, 1);
  std::vector<float> x = random_floats(9 * 26, 1.0f, 2);
  std::vector<float> bias = random_floats(2 * 11, 1.0f, 3);
  ConstRows weights() const { return {gate.data(), 11, 26}; }
  ConstRows rows() const { return {x.data(), 9, 26}; }
  Biased router() const {
    return Biased::create(BiasedGate<LinearGate<>>::create(LinearGate<>::create(weights())), {3}, {}).value();
  }
  std::span<const float> of_sequence(std::size_t s) const { return std::span(bias).subspan(11 * s, 11); }
};
template <class R>
RoutingPlan with_bias(const R& router, ConstRows x, SequenceBias bias, ExecutorRef threads = {}) {
  bias.reset(x.rows);  // a pass begins: what is in it stays
  Context ctx(threads);
  RoutingPlan plan;
  throw_if_error(router.route({.hidden = x}, bias, plan, ctx));
  return plan;
}
}  // namespace

TEST_CASE("without a bias it is the gate's router, with one bias that router with the bias in its gate, in bits") {
  const Example e;
  const TopKSoftmax plain({.gate = e.weights()}, {3}, {});
  CHECK(routed(e.router(), e.rows()) == routed(plain, e.rows()));
  CHECK(with_bias(e.router(), e.rows(), {std::vector<float>(11), {}}) == routed(plain, e.rows()));
  const std::span<const float> first = e.of_sequence(0);
  const TopKSoftmax biased({.gate = e.weights(), .gate_bias = first}, {3}, {});
  CHECK(with_bias(e.router(), e.rows(), {{first.begin(), first.end()}, {}}) == routed(biased, e.rows()));
}

TEST_CASE("tokens of two sequences have each its own bias, in any order and on any number of threads") {
  const Example e;
  const std::vector<index_t> sequence_of = {0, 1, 1, 0, 1, 0, 0, 0, 1};
  const RoutingPlan plan = with_bias(e.router(), e.rows(), {e.bias, sequence_of});
  for (std::size_t s = 0; s < 2; ++s) {
    const TopKSoftmax alone({.gate = e.weights(), .gate_bias = e.of_sequence(s)}, {3}, {});
    const RoutingPlan expected = routed(alone, e.rows());
    for (index_t t = 0; t < 9; ++t) {
      if (as_size(sequence_of[as_size(t)]) != s) continue;
      CHECK(experts_of(plan, t) == experts_of(expected, t));
      CHECK(weights_of(plan, t) == weights_of(expected, t));
    }
  }
  ThreadExecutor threads(3);
  CHECK(with_bias(e.router(), e.rows(), {e.bias, sequence_of}, threads) == plan);
  CHECK(with_bias(e.router(), e.rows().middle_rows(0, 0), {}).tokens() == 0);
  const AnyRouter any = e.router();
  AnyRouter::State state;
  state.get<SequenceBias>() = {e.bias, sequence_of};
  state.reset(9);
  Context ctx;
  RoutingPlan behind;
  throw_if_error(any.route({.hidden = e.rows()}, state, behind, ctx));
  CHECK(behind == plan);
}

TEST_CASE("a sequence bias that does not fit tokens or experts is refused, and one that is not finite is found") {
  const Example e;
  const auto outcome = [&](SequenceBias bias) {
    Context ctx;
    RoutingPlan plan;
    return said(e.router().route({.hidden = e.rows(), .layer = 1}, bias, plan, ctx));
  };
  CHECK(outcome({{}, {}}) == "ok");
  CHECK(outcome({std::vector<float>(12), {}}) == "usage: logits beyond whole sequences (got 1, allowed 0)");
  CHECK(outcome({e.bias, {}}) ==
        "usage: sequences with a bias, where tokens do not say which is theirs, (got 2, allowed 1)");
  CHECK(outcome({e.bias, {0, 1}}) == "usage: sequences of tokens against tokens (got 2, allowed 9)");
  CHECK(outcome({e.bias, {0, 1, 1, 0, 2, 0, 0, 0, 1}}) == "usage: sequence of a token (got 2, allowed 1), token 4");
  CHECK(outcome({e.bias, {0, 1, 1, 0, -1, 0, 0, 0, 1}}) == "usage: sequence of a token (got -1, allowed 1), token 4");
  std::vector<float> bad = e.bias;
  bad[13] = HUGE_VALF;
  CHECK(outcome({bad, {0, 0, 1, 0, 0, 0, 0, 0, 0}}) ==
        "numeric: router logit is not finite, layer 1, token 2, expert 2");
}
