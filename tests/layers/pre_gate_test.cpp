#include "headgate/layers/pre_gate.hpp"

#include <limits>

#include "headgate/experts/glu_experts.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/routing/planned_router.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/reference_moe.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

namespace {

using namespace headgate;

// The weights of a pre-gate, and views of them.
struct Parts {
  struct Layer {
    std::vector<float> input_norm, query, query_bias, key, key_bias, value, value_bias, output, output_bias, post_norm,
        first, first_bias, last, last_bias;
  };
  PreGateShape shape;
  index_t vocabulary = 0;
  index_t table_width = 0;
  std::vector<float> table = {}, out_norm = {}, out = {}, out_bias = {};
  std::vector<Layer> layers = {};

  static Parts random(const PreGateShape& shape, index_t vocabulary, std::size_t num_layers, unsigned seed) {
    Parts parts{.shape = shape, .vocabulary = vocabulary, .table_width = shape.width + 5};
    const auto take = [&](index_t rows, index_t cols, float scale) {
      return random_floats(as_size(rows) * as_size(cols), scale, seed++);
    };
    const index_t w = shape.width;
    parts.table = take(vocabulary, parts.table_width, 1.0f);
    for (std::size_t l = 0; l < num_layers; ++l) {
      parts.layers.push_back({take(w, 1, 1.5f), take(w, w, 0.6f), take(w, 1, 0.3f), take(w, w, 0.6f), take(w, 1, 0.3f),
                              take(w, w, 0.6f), take(w, 1, 0.3f), take(w, w, 0.6f), take(w, 1, 0.3f), take(w, 1, 1.5f),
                              take(w, w, 0.6f), take(w, 1, 0.3f), take(w, w, 0.6f), take(w, 1, 0.3f)});
    }
    parts.out_norm = take(w, 1, 1.5f);
    parts.out = take(shape.num_experts, w, 1.0f);
    parts.out_bias = take(shape.num_experts, 1, 0.5f);
    return parts;
  }

  Expected<PreGate<>> made() const {
    const index_t w = shape.width;
    const auto linear = [](const std::vector<float>& weight, const std::vector<float>& bias, index_t rows,
                           index_t cols) { return PreGateLinear{{weight.data(), rows, cols}, bias}; };
    std::vector<PreGateLayer> views;
    for (const Layer& l : layers) {
      views.push_back({l.input_norm, linear(l.query, l.query_bias, w, w), linear(l.key, l.key_bias, w, w),
                       linear(l.value, l.value_bias, w, w), linear(l.output, l.output_bias, w, w), l.post_norm,
                       linear(l.first, l.first_bias, w, w), linear(l.last, l.last_bias, w, w)});
    }
    return PreGate<>::create(shape, {.embedding = {table.data(), vocabulary, w, table_width},
                                     .layers = views,
                                     .out_norm = out_norm,
                                     .out = linear(out, out_bias, shape.num_experts, w)});
  }
};

std::vector<std::int32_t> random_ids(std::size_t count, index_t vocabulary, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<std::int32_t> ids(count);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(rng() % static_cast<unsigned>(vocabulary));
  return ids;
}

// The logits of a text in passes of `chunk` tokens, and the experts.
struct Run {
  std::vector<float> logits;
  std::vector<ExpertId> experts;
  friend bool operator==(const Run&, const Run&) = default;
};
Run run(const PreGate<>& gate, const std::vector<std::int32_t>& ids, std::size_t chunk, index_t threads = 1) {
  ThreadExecutor executor(threads);
  Context ctx(executor);
  const auto context = static_cast<index_t>(ids.size());
  PreGate<>::State of_logits = gate.make_state(context);
  PreGate<>::State of_plans = gate.make_state(context);
  Run all;
  RoutingPlan plan;
  for (std::size_t first = 0; first < ids.size(); first += chunk) {
    const std::span<const std::int32_t> next = std::span(ids).subspan(first, std::min(chunk, ids.size() - first));
    const auto rows = static_cast<index_t>(next.size());
    std::vector<float> z(next.size() * as_size(gate.num_experts()));
    throw_if_error(gate.logits(next, of_logits, {z.data(), rows, gate.num_experts()}, ctx));
    all.logits.insert(all.logits.end(), z.begin(), z.end());
    throw_if_error(gate.plan(next, of_plans, plan, ctx));
    REQUIRE(plan.tokens() == rows);
    REQUIRE(plan.entries() == rows);
    for (const float w : plan.weights()) CHECK(w == 1.0f);
    all.experts.insert(all.experts.end(), plan.experts().begin(), plan.experts().end());
  }
  CHECK(of_plans.position() == context);
  return all;
}

constexpr PreGateShape small{.width = 14, .num_heads = 1, .num_experts = 5};
const Parts one_layer = Parts::random(small, 11, 1, 100);

}  // namespace

TEST_CASE("Read-ME's router gives the logits of its module to 1e-5, and the same experts") {
  const auto cases = golden("pre_gate");
  REQUIRE(cases.size() == 2);
  for (const auto& c : cases) {
    INFO(c["activation"] << ", margin " << c["margin"]);
    const auto width = c["width"].get<index_t>();
    Parts parts{.shape = {.width = width,
                          .num_heads = c["heads"].get<index_t>(),
                          .num_experts = 5,
                          .normalizer = c["normalizer"].get<float>(),
                          .activation = {c["activation"] == "relu" ? ActivationKind::relu : ActivationKind::silu}},
                .vocabulary = 9,
                .table_width = width + 3};
    parts.table = values(c["table"]);
    for (const auto& l : c["layers"]) {
      const auto of = [&](const char* name) { return values(l[name]); };
      parts.layers.push_back({of("input_layernorm.weight"), of("q_proj.weight"), of("q_proj.bias"), of("k_proj.weight"),
                              of("k_proj.bias"), of("v_proj.weight"), of("v_proj.bias"), of("o_proj.weight"),
                              of("o_proj.bias"), of("post_attention_layernorm.weight"), of("proj_1.weight"),
                              of("proj_1.bias"), of("proj_2.weight"), of("proj_2.bias")});
    }
    parts.out_norm = values(c["out_layernorm"]);
    parts.out = values(c["proj_out.weight"]);
    parts.out_bias = values(c["proj_out.bias"]);
    const Run found = run(parts.made().value(), values<std::int32_t>(c["ids"]), 8);
    const std::vector<double> expected = values<double>(c["logits"]);
    REQUIRE(found.logits.size() == expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CHECK(static_cast<double>(found.logits[i]) == Catch::Approx(expected[i]).margin(1e-5));
    }
    CHECK(found.experts == values<ExpertId>(c["experts"]));
  }
}

TEST_CASE(
    "P7: a pre-gate plans a text at once, in chunks and token by token alike, in bits, on any number of threads") {
  const Parts two_heads = Parts::random({.width = 48, .num_heads = 2, .num_experts = 11}, 23, 2, 200);
  for (const Parts* parts : {&one_layer, &two_heads}) {
    const PreGate<> gate = parts->made().value();
    const std::vector<std::int32_t> ids = random_ids(41, parts->vocabulary, 3);
    const Run whole = run(gate, ids, ids.size());
    for (const std::size_t chunk : {1u, 7u, 16u}) CHECK(run(gate, ids, chunk) == whole);
    CHECK(run(gate, ids, 41, 3) == whole);
    // It reads the text, not only the token.
    bool differs = false;
    for (std::size_t a = 0; a < ids.size(); ++a) {
      for (std::size_t b = 0; b < a; ++b) differs |= ids[a] == ids[b] && whole.experts[a] != whole.experts[b];
    }
    CHECK(differs);
  }
}

TEST_CASE("P6: what comes later in a text changes no plan of a pre-gate before it") {
  const PreGate<> gate = one_layer.made().value();
  std::vector<std::int32_t> ids = random_ids(20, one_layer.vocabulary, 4);
  const Run before = run(gate, ids, 20);
  for (std::size_t t = 12; t < 20; ++t) ids[t] = (ids[t] + 1) % one_layer.vocabulary;
  const Run after = run(gate, ids, 20);
  CHECK(std::equal(before.logits.begin(), before.logits.begin() + 12 * 5, after.logits.begin()));
  CHECK_FALSE(before.logits == after.logits);
}

TEST_CASE("a pre-gate's state goes back to any position, and what follows has the bits of the text alone") {
  const PreGate<> gate = one_layer.made().value();
  const std::vector<std::int32_t> ids = random_ids(30, one_layer.vocabulary, 5);
  const Run whole = run(gate, ids, 30);
  PreGate<>::State state = gate.make_state(30);
  CHECK(state.context_size() == 30);
  CHECK(state.bytes() > 0);
  Context ctx;
  RoutingPlan plan;
  throw_if_error(gate.plan(std::span(ids).first(20), state, plan, ctx));
  throw_if_error(gate.plan(std::vector<std::int32_t>(9, 3), state, plan, ctx));
  state.truncate(20);
  CHECK(state.position() == 20);
  throw_if_error(gate.plan(std::span(ids).last(10), state, plan, ctx));
  CHECK(std::equal(plan.experts().begin(), plan.experts().end(), whole.experts.begin() + 20));
  throw_if_error(gate.plan({}, state, plan, ctx));
  CHECK(plan.tokens() == 0);
  CHECK(state.position() == 30);
}

TEST_CASE("the plan of a pre-gate is the one of every layer, through planned routers or as a forced plan") {
  const PreGate<> gate = one_layer.made().value();
  CHECK(plan_known(gate) == PlanKnown::before_the_model());
  const std::vector<std::int32_t> ids = random_ids(9, one_layer.vocabulary, 6);
  Context ctx;
  PreGate<>::State state = gate.make_state(9);
  RoutingPlan plan;
  throw_if_error(gate.plan(ids, state, plan, ctx));
  std::vector<float> x = random_floats(9 * 26, 1.0f, 7);
  constexpr GluShape shape{.num_experts = 5, .hidden_size = 26, .ffn_size = 7};
  for (unsigned layer = 0; layer < 3; ++layer) {
    const reference::Bank bank(shape, 8 + layer);
    const MoELayer planned(PlannedRouter::create(5, 26).value(), GluExperts<>(shape, bank.matrices()));
    decltype(planned)::State of_layer;
    of_layer.reset(9);
    of_layer.router.plan = &plan;
    std::vector<float> y(x.size());
    const RouterInput in{.hidden = {x.data(), 9, 26}, .layer = static_cast<index_t>(layer)};
    throw_if_error(planned.forward(in, of_layer, {y.data(), 9, 26}, ctx));
    CHECK(of_layer.plan == plan);
    decltype(planned)::State without;
    RouterInput forced = in;
    forced.edits.forced_plan = &plan;
    std::vector<float> z(x.size());
    throw_if_error(planned.forward(forced, without, {z.data(), 9, 26}, ctx));
    CHECK(z == y);
    x = y;
  }
}

TEST_CASE("a pre-gate says of ids, room and logits what is wrong, and is what it was before") {
  const PreGate<> gate = one_layer.made().value();
  PreGate<>::State state = gate.make_state(6);
  Context ctx;
  RoutingPlan plan;
  throw_if_error(gate.plan(std::vector<std::int32_t>{1, 2, 3}, state, plan, ctx));
  const auto outcome = [&](const std::vector<std::int32_t>& ids) {
    const std::string text = said(gate.plan(ids, state, plan, ctx));
    CHECK((text == "ok" || (plan.tokens() == 0 && state.position() == 3)));
    return text;
  };
  CHECK(outcome({1, 11}) == "usage: token id against the vocabulary of a pre-gate (got 11, allowed 10), token 1");
  CHECK(outcome({-1}) == "usage: token id against the vocabulary of a pre-gate (got -1, allowed 10), token 0");
  CHECK(outcome({1, 2, 3, 4}).starts_with("limit: "));
  CHECK(outcome({1, 2, 3}) == "ok");
  PreGate<>::State none;
  CHECK(said(gate.plan(std::vector<std::int32_t>{1}, none, plan, ctx)) ==
        "usage: layers of a pre-gate's state (got 0, allowed 1)");
  Parts broken = one_layer;
  broken.table[as_size(4 * broken.table_width)] = std::numeric_limits<float>::quiet_NaN();
  const PreGate<> bad = broken.made().value();
  PreGate<>::State of_bad = bad.make_state(6);
  CHECK(said(bad.plan(std::vector<std::int32_t>{1, 4, 2}, of_bad, plan, ctx)).starts_with("numeric: "));
  CHECK(of_bad.position() == 0);
  CHECK(said(bad.plan(std::vector<std::int32_t>{1, 2}, of_bad, plan, ctx)) == "ok");
}

TEST_CASE("the parts of a pre-gate are checked") {
  const auto outcome = [](auto change) {
    Parts parts = one_layer;
    change(parts);
    return refused(parts.made());
  };
  CHECK(outcome([](Parts&) {}) == "made");
  CHECK(outcome([](Parts& p) { p.shape.num_heads = 0; }) == "attention heads, at least (got 0, allowed 1)");
  CHECK(outcome([](Parts& p) { p.shape.num_heads = 3; }) ==
        "width of a pre-gate left over by its heads (got 2, allowed 0)");
  CHECK_FALSE(outcome([](Parts& p) { p.shape.num_heads = 14; }) == "made");  // heads of one channel do not turn
  CHECK(outcome([](Parts& p) { p.shape.normalizer = 0.0f; }) == "normalizer of a pre-gate is not a positive number");
  CHECK(outcome([](Parts& p) { p.shape.activation.kind = ActivationKind::clamped_swiglu; }) ==
        "activation of a pre-gate's MLP has no gate");
  CHECK(outcome([](Parts& p) { p.layers.clear(); }) == "layers of a pre-gate, at least (got 0, allowed 1)");
  CHECK(outcome([](Parts& p) { p.vocabulary = 0; }) == "rows of a pre-gate's embedding, at least (got 0, allowed 1)");
  CHECK(outcome([](Parts& p) { p.shape.num_experts = 0; }) == "experts of a router, at least (got 0, allowed 1)");
  CHECK(outcome([](Parts& p) { p.layers[0].key_bias.pop_back(); }) == "size of a pre-gate's bias (got 13, allowed 14)");
  CHECK(outcome([](Parts& p) { p.layers[0].last_bias.clear(); }) == "size of a pre-gate's bias (got 0, allowed 14)");
  CHECK(outcome([](Parts& p) { p.out_norm.pop_back(); }) == "size of a pre-gate's norm (got 13, allowed 14)");
  CHECK(outcome([](Parts& p) { p.shape.rope_theta = -1.0; }).find("rope_theta") != std::string::npos);
}
