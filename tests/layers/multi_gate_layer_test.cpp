#include "headgate/layers/multi_gate_layer.hpp"

#include "headgate/experts/glu_experts.hpp"
#include "headgate/routing/any_router.hpp"
#include "headgate/routing/hash_router.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/reference_moe.hpp"
#include "support/reference_router.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

namespace {

using namespace headgate;
using Layer = MultiGateLayer<AnyRouter, GluExperts<>>;

constexpr index_t width = 26;
constexpr index_t num_experts = 5;
constexpr GluShape shape{.num_experts = num_experts, .hidden_size = width, .ffn_size = 7};

std::vector<float> gate_of(unsigned seed) { return random_floats(as_size(num_experts * width), 0.6f, 40 + seed); }
// Softmax over all experts, or the k best of them.
AnyRouter soft(unsigned seed, index_t k = num_experts) {
  const std::vector<float> gate = gate_of(seed);
  return StagedRouter<SoftmaxScore, TopK, Keep>({.gate = {gate.data(), num_experts, width}}, {k}, {});
}
AnyRouter sigmoid(unsigned seed) {
  const std::vector<float> gate = gate_of(seed);
  return StagedRouter<SigmoidScore, TopK, Keep>({.gate = {gate.data(), num_experts, width}}, {num_experts}, {});
}
GluExperts<> bank() { return GluExperts<>(shape, reference::Bank(shape, 1).matrices()); }
Layer layer_of(std::vector<Layer::Task> tasks) { return Layer::create(std::move(tasks), bank()).value(); }

// HoME's: expert 0 is everyone's, 1 of the first two tasks, 2, 3 and 4 of one task each; self-gates on these.
std::vector<Layer::Task> home_tasks() {
  return {{{soft(0), {1, 1, 1, 0, 0}}, TaskGate<AnyRouter>{sigmoid(3), {0, 0, 1, 0, 0}}},
          {{soft(1), {1, 1, 0, 1, 0}}, TaskGate<AnyRouter>{sigmoid(4), {0, 0, 0, 1, 0}}},
          {{soft(2), {1, 0, 0, 0, 1}}, std::nullopt}};
}

std::vector<float> output(const Layer& layer, const std::vector<float>& x, Layer::State& state,
                          const RouteEdits& edits = {}, index_t threads = 1) {
  ThreadExecutor executor(threads);
  Context ctx(executor);
  const auto tokens = static_cast<index_t>(x.size()) / width;
  std::vector<float> y(x.size() * as_size(layer.num_tasks()), -1.0f);
  throw_if_error(layer.forward({.hidden = {x.data(), tokens, width}, .edits = edits}, state,
                               {y.data(), layer.num_tasks() * tokens, width}, ctx));
  return y;
}
std::vector<float> output(const Layer& layer, const std::vector<float>& x, const RouteEdits& edits = {},
                          index_t threads = 1) {
  Layer::State state;
  state.reset(static_cast<index_t>(x.size()) / width);
  return output(layer, x, state, edits, threads);
}
const std::vector<float> input = random_floats(9 * as_size(width), 1.0f, 7);

}  // namespace

TEST_CASE("P8: one task without mask and self-gate is the plain layer, in bits") {
  std::vector<Layer::Task> tasks;
  tasks.push_back({{soft(0, 2)}});
  const Layer layer = layer_of(std::move(tasks));
  const MoELayer plain(soft(0, 2), bank());
  decltype(plain)::State state;
  Context ctx;
  std::vector<float> y(input.size());
  throw_if_error(plain.forward({.hidden = {input.data(), 9, width}}, state, {y.data(), 9, width}, ctx));
  Layer::State of_layer;
  CHECK(output(layer, input, of_layer) == y);
  REQUIRE(of_layer.plans.size() == 1);
  CHECK(of_layer.plans[0] == state.plan);
}

TEST_CASE("paper_mmoe: tasks with gates of their own have the outputs of layers of their own, in bits") {
  std::vector<Layer::Task> tasks;
  for (unsigned k = 0; k < 3; ++k) tasks.push_back({{soft(k, k == 1 ? 2 : num_experts)}});
  const std::vector<float> y = output(layer_of(std::move(tasks)), input);
  for (unsigned k = 0; k < 3; ++k) {
    std::vector<Layer::Task> alone;
    alone.push_back({{soft(k, k == 1 ? 2 : num_experts)}});
    const std::vector<float> own = output(layer_of(std::move(alone)), input);
    CHECK(std::equal(own.begin(), own.end(), y.begin() + std::ssize(own) * k));
  }
}

TEST_CASE(
    "paper_home: masked gates and self-gates weigh as the formula in double says, and outputs are those of the sum") {
  Layer::State state;
  const Layer layer = layer_of(home_tasks());
  const std::vector<float> y = output(layer, input, state);
  REQUIRE(state.plans.size() == 3);
  for (std::size_t k = 0; k < 3; ++k) {
    const Layer::Task& task = layer.task(static_cast<index_t>(k));
    const std::vector<float> gate = gate_of(static_cast<unsigned>(k));
    const std::vector<float> self_gate = gate_of(static_cast<unsigned>(k) + 3);
    for (index_t t = 0; t < 9; ++t) {
      const float* const x = input.data() + std::int64_t{t} * width;
      const std::vector<double> z = reference::logits({gate.data(), num_experts, width}, {}, x);
      const std::vector<double> own = reference::logits({self_gate.data(), num_experts, width}, {}, x);
      double sum = 0.0;
      for (std::size_t e = 0; e < z.size(); ++e) sum += task.gate.mask[e] != 0 ? std::exp(z[e]) : 0.0;
      const std::vector<float> found = dense_weights(state.plans[k], t);
      for (std::size_t e = 0; e < z.size(); ++e) {
        double expected = task.gate.mask[e] != 0 ? std::exp(z[e]) / sum : 0.0;
        if (task.self_gate && task.self_gate->mask[e] != 0) expected += 1.0 / (1.0 + std::exp(-own[e]));
        CHECK(static_cast<double>(found[e]) == Catch::Approx(expected).margin(1e-6));
      }
      CHECK(state.plans[k].experts(t).size() == (k == 2 ? 2 : 3));  // an expert of both gates stands there once
    }
    std::vector<float> own(input.size(), 0.0f);
    Context ctx;
    throw_if_error(layer.experts().apply(state.plans[k], {input.data(), 9, width}, {own.data(), 9, width}, ctx));
    CHECK(std::equal(own.begin(), own.end(), y.begin() + std::ssize(own) * static_cast<std::ptrdiff_t>(k)));
  }
}

TEST_CASE("a task does not feel a change of another's gate, nor of experts that are masked for it") {
  const std::vector<float> y = output(layer_of(home_tasks()), input);
  std::vector<Layer::Task> changed = home_tasks();
  changed[0].gate.router = soft(17);
  changed[1].self_gate.reset();
  const std::vector<float> other = output(layer_of(std::move(changed)), input);
  const auto part = [](const std::vector<float>& all, std::ptrdiff_t k) {
    const auto size = std::ssize(input);
    return std::vector(all.begin() + k * size, all.begin() + (k + 1) * size);
  };
  CHECK_FALSE(part(other, 0) == part(y, 0));
  CHECK_FALSE(part(other, 1) == part(y, 1));
  CHECK(part(other, 2) == part(y, 2));
  // Expert 3 is the second task's alone.
  reference::Bank weights(shape, 1);
  std::vector<GluMatrices> matrices = weights.matrices();
  matrices[3] = matrices[0];
  const Layer replaced = Layer::create(home_tasks(), GluExperts<>(shape, matrices)).value();
  const std::vector<float> after = output(replaced, input);
  CHECK(part(after, 0) == part(y, 0));
  CHECK_FALSE(part(after, 1) == part(y, 1));
  CHECK(part(after, 2) == part(y, 2));
}

TEST_CASE("outputs of tasks have the same bits for any number of threads and tokens") {
  const Layer layer = layer_of(home_tasks());
  const std::vector<float> y = output(layer, input);
  for (const index_t threads : {2, 3, 8}) CHECK(output(layer, input, {}, threads) == y);
  for (index_t t = 0; t < 9; ++t) {
    const std::vector<float> x(input.begin() + t * width, input.begin() + (t + 1) * width);
    const std::vector<float> own = output(layer, x);
    for (index_t k = 0; k < 3; ++k) {
      CHECK(std::equal(own.begin() + k * width, own.begin() + (k + 1) * width, y.begin() + (k * 9 + t) * width));
    }
  }
  CHECK(output(layer, {}).empty());
}

TEST_CASE("edits of a layer of several gates are kept or refused") {
  std::vector<Layer::Task> tasks;
  tasks.push_back({{soft(0)}, TaskGate<AnyRouter>{sigmoid(3), {0, 1, 0, 0, 0}}});
  tasks.push_back({{soft(1)}});
  const Layer layer = layer_of(std::move(tasks));
  Layer::State state;
  const std::vector<std::uint8_t> mask = {1, 0, 1, 1, 1};
  output(layer, input, state, {.expert_mask = mask, .k = 2});
  for (index_t t = 0; t < 9; ++t) {
    CHECK(state.plans[0].experts(t).size() == 3);  // and the self-gate's
    CHECK(state.plans[0].experts(t)[2] == 1);
    CHECK(state.plans[1].experts(t).size() == 2);
    CHECK(dense_weights(state.plans[1], t)[1] == 0.0f);
  }
  const auto outcome = [&](const Layer& of, const RouteEdits& edits) {
    Context ctx;
    std::vector<float> y(input.size() * as_size(of.num_tasks()));
    return said(of.forward({.hidden = {input.data(), 9, width}, .layer = 2, .edits = edits}, state,
                           {y.data(), of.num_tasks() * 9, width}, ctx));
  };
  const RoutingPlan plan = state.plans[1];
  CHECK(outcome(layer, {.forced_plan = &plan}) ==
        "usage: a forced plan does not say which task of a layer it is for, layer 2");
  CHECK(outcome(layer_of(home_tasks()), {.expert_mask = mask}) ==
        "usage: expert_mask of a call of a layer whose tasks have masks, layer 2");
}

TEST_CASE("a layer of several gates checks its parts and its calls") {
  const auto outcome = [](std::vector<Layer::Task> tasks) { return refused(Layer::create(std::move(tasks), bank())); };
  CHECK(outcome({}) == "tasks of a layer, at least (got 0, allowed 1)");
  CHECK(outcome({{{soft(0), {1, 1}}}}) == "size of a task's mask against experts (got 2, allowed 5)");
  CHECK(outcome({{{soft(0), {0, 0, 0, 0, 0}}}}) == "mask of a task lets no expert through");
  const AnyRouter hash = HashRouter::create({0, 1}, 1, num_experts, width).value();
  CHECK(outcome({{{hash}}}) == "made");
  CHECK(outcome({{{soft(0)}, TaskGate<AnyRouter>{hash, {1, 1, 0, 0, 0}}}}) ==
        "router of a task with a mask cannot prune experts");
  const AnyRouter few = HashRouter::create({0, 1}, 1, 2, width).value();
  CHECK(outcome({{{few}}}) == "experts of the router against experts of the bank (got 2, allowed 5)");
  const Layer layer = layer_of(home_tasks());
  Layer::State state;
  Context ctx;
  std::vector<float> y(3 * input.size());
  const auto called = [&](index_t cols, index_t y_rows, index_t y_cols) {
    return said(layer.forward({.hidden = {input.data(), 9, cols}}, state, {y.data(), y_rows, y_cols}, ctx));
  };
  CHECK(called(width, 27, width) == "ok");
  CHECK(called(width, 9, width) == "usage: rows of y against tasks times tokens (got 9, allowed 27), layer 0");
  CHECK(called(width, 27, 25) == "usage: width of y against hidden_size (got 25, allowed 26), layer 0");
  CHECK(called(25, 27, width) == "usage: width of x against hidden_size (got 25, allowed 26), layer 0");
  CHECK(
      said(layer.forward({.hidden = {y.data(), 9, width}}, state, {y.data(), 27, width}, ctx)).starts_with("usage: "));
  std::vector<float> bad = input;
  bad[as_size(4 * width)] = std::numeric_limits<float>::quiet_NaN();
  const Status status =
      layer.forward({.hidden = {bad.data(), 9, width}, .layer = 3}, state, {y.data(), 27, width}, ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.token == 4);
  CHECK(status.layer == 3);
}
