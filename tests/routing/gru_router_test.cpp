#include "headgate/routing/gru_router.hpp"

#include <limits>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/any_router.hpp"
#include "headgate/routing/null_expert.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

namespace {

using namespace headgate;

constexpr index_t inputs = 9;
constexpr index_t size = 11;
constexpr index_t width = 13;
constexpr index_t num_experts = 5;
constexpr index_t num_layers = 4;

struct Cell {
  explicit Cell(RecurrentKind of_kind, unsigned seed = 1)
      : kind(of_kind),
        rows(as_size(num_gates(of_kind) * size)),
        ih(random_floats(rows * as_size(inputs), 0.6f, seed)),
        hh(random_floats(rows * as_size(size), 0.6f, seed + 1)),
        bias_ih(random_floats(rows, 0.3f, seed + 2)),
        bias_hh(random_floats(rows, 0.3f, seed + 3)) {}
  RecurrentWeights<float> weights() const { return {kind, ih, hh, bias_ih, bias_hh}; }
  RecurrentCell packed() const { return RecurrentCell::create(weights(), inputs, size).value(); }

  RecurrentKind kind;
  std::size_t rows;
  std::vector<float> ih;
  std::vector<float> hh;
  std::vector<float> bias_ih;
  std::vector<float> bias_hh;
};

// Routers of all layers. same_gate: one G for all of them.
std::vector<GruRouter<>> layers_of(const RecurrentCell& cell, bool same_gate = false) {
  std::vector<GruRouter<>> layers;
  for (unsigned l = 0; l < as_size(num_layers); ++l) {
    const std::vector<float> projection = random_floats(as_size(inputs * width), 0.5f, 20 + l);
    const std::vector<float> gate = random_floats(as_size(num_experts * size), 2.0f, same_gate ? 40 : 40 + l);
    layers.push_back(GruRouter<>::create(cell, {projection.data(), inputs, width}, {gate.data(), num_experts, size},
                                         TopK{2}, Renormalize{})
                         .value());
  }
  return layers;
}

// The plans of all layers for one pass of x; every layer sees the same hidden states.
std::vector<RoutingPlan> pass(const std::vector<GruRouter<>>& layers, ConstRows x, Context& ctx,
                              CarriedRows* left = nullptr) {
  CarriedRows state;
  state.reset(x.rows);
  std::vector<RoutingPlan> plans(layers.size());
  for (std::size_t l = 0; l < layers.size(); ++l) {
    throw_if_error(layers[l].route({.hidden = x, .layer = static_cast<index_t>(l)}, state, plans[l], ctx));
  }
  if (left != nullptr) *left = state;
  return plans;
}

}  // namespace

TEST_CASE("RMoE's router over three layers: states and weights to 1e-6, ids equal") {
  for (const auto& c : golden("gru_router")) {
    INFO(c["kind"]);
    const std::vector<float> ih = values(c["weight_ih"]);
    const std::vector<float> hh = values(c["weight_hh"]);
    const std::vector<float> bias_ih = values(c["bias_ih"]);
    const std::vector<float> bias_hh = values(c["bias_hh"]);
    const auto kind = c["kind"] == "gru" ? RecurrentKind::gru : RecurrentKind::rnn;
    const RecurrentCell cell = RecurrentCell::create({kind, ih, hh, bias_ih, bias_hh}, 7, 7).value();
    CarriedRows state;
    state.reset(6);
    Context ctx;
    RoutingPlan plan;
    index_t layer_id = 0;
    for (const auto& layer : c["layers"]) {
      const std::vector<float> projection = values(layer["weight1"]);
      const std::vector<float> gate = values(layer["weight2"]);
      const std::vector<float> x = values(layer["hidden"]);
      const auto router =
          GruRouter<>::create(cell, {projection.data(), 7, 10}, {gate.data(), 5, 7}, TopK{2}, Renormalize{});
      throw_if_error(router.value().route({.hidden = {x.data(), 6, 10}, .layer = layer_id++}, state, plan, ctx));
      const Rows h = state.rows(7);
      for (std::size_t i = 0; i < 42; ++i) {
        CHECK(static_cast<double>(h.data[i]) == Catch::Approx(layer["h"][i].get<double>()).margin(1e-6));
      }
      for (std::size_t i = 0; i < 12; ++i) {
        CHECK(plan.experts()[i] == layer["ids"][i].get<ExpertId>());
        CHECK(static_cast<double>(plan.weights()[i]) == Catch::Approx(layer["weights"][i].get<double>()).margin(1e-6));
      }
    }
  }
}

TEST_CASE("a router's cell agrees with the definition in double") {
  for (const auto kind : {RecurrentKind::gru, RecurrentKind::rnn}) {
    const Cell c(kind);
    const RecurrentCell cell = c.packed();
    const auto wide = [](const std::vector<float>& v) { return std::vector<double>(v.begin(), v.end()); };
    const std::vector<double> ih = wide(c.ih), hh = wide(c.hh), bias_ih = wide(c.bias_ih), bias_hh = wide(c.bias_hh);
    std::vector<float> h(3 * as_size(size), 0.0f);
    std::vector<double> expected(h.size(), 0.0);
    Context ctx;
    for (unsigned step = 0; step < 20; ++step) {
      const std::vector<float> u = random_floats(3 * as_size(inputs), 1.0f, 60 + step);
      const std::vector<double> exact_u = wide(u);
      cell.step<NativeBackend>({u.data(), 3, inputs}, {h.data(), 3, size}, ctx);
      for (std::size_t t = 0; t < 3; ++t) {
        recurrent_cell<double>({kind, ih, hh, bias_ih, bias_hh},
                               std::span(exact_u).subspan(t * as_size(inputs), as_size(inputs)),
                               std::span(expected).subspan(t * as_size(size), as_size(size)));
      }
      for (std::size_t i = 0; i < h.size(); ++i) {
        CHECK(static_cast<double>(h[i]) == Catch::Approx(expected[i]).margin(2e-6));
      }
    }
  }
}

TEST_CASE("P7: a prompt at once, in chunks and token by token gives the same plans and states, in bits") {
  for (const auto kind : {RecurrentKind::gru, RecurrentKind::rnn}) {
    const RecurrentCell cell = Cell(kind).packed();
    const std::vector<GruRouter<>> layers = layers_of(cell);
    const std::vector<float> x = random_floats(23 * as_size(width), 1.0f, 70);
    const ConstRows rows(x.data(), 23, width);
    Context ctx;
    CarriedRows whole;
    const std::vector<RoutingPlan> plans = pass(layers, rows, ctx, &whole);
    for (const index_t chunk : {1, 2, 16}) {
      for (index_t first = 0; first < 23; first += chunk) {
        const index_t count = std::min(chunk, 23 - first);
        CarriedRows part;
        const std::vector<RoutingPlan> parts = pass(layers, rows.middle_rows(first, count), ctx, &part);
        for (index_t t = 0; t < count; ++t) {
          for (std::size_t l = 0; l < layers.size(); ++l) {
            CHECK(std::equal(parts[l].experts(t).begin(), parts[l].experts(t).end(),
                             plans[l].experts(first + t).begin()));
            CHECK(std::equal(parts[l].weights(t).begin(), parts[l].weights(t).end(),
                             plans[l].weights(first + t).begin()));
          }
          const std::span<float> h = part.rows(size).row(t);
          CHECK(std::equal(h.begin(), h.end(), whole.rows(size).row(first + t).begin()));
        }
      }
    }
    ThreadExecutor three(3);
    Context threads(three);
    CHECK(pass(layers, rows, threads) == plans);
  }
}

TEST_CASE("P8: with the update gate shut h stays 0 and equal gates route alike in all layers") {
  Cell c(RecurrentKind::gru);
  for (std::size_t i = as_size(size); i < 2 * as_size(size); ++i) c.bias_ih[i] = 200.0f;
  const RecurrentCell cell = c.packed();
  const std::vector<float> x = random_floats(7 * as_size(width), 1.0f, 71);
  Context ctx;
  const std::vector<RoutingPlan> plans = pass(layers_of(cell, true), {x.data(), 7, width}, ctx);
  for (const RoutingPlan& plan : plans) CHECK(plan == plans[0]);
}

TEST_CASE("P8: without recurrence the router is a tanh layer and a softmax gate, and state carries nothing") {
  Cell c(RecurrentKind::gru);
  for (float& w : c.hh) w = 0.0f;
  for (float& b : c.bias_hh) b = 0.0f;
  for (std::size_t i = as_size(size); i < 2 * as_size(size); ++i) {
    c.bias_ih[i] = -200.0f;  // z = 0
  }
  const RecurrentCell cell = c.packed();
  const std::vector<GruRouter<>> layers = layers_of(cell);
  const std::vector<float> x = random_floats(7 * as_size(width), 1.0f, 72);
  Context ctx;
  const std::vector<RoutingPlan> plans = pass(layers, {x.data(), 7, width}, ctx);
  for (unsigned l = 0; l < as_size(num_layers); ++l) {
    const std::vector<float> projection = random_floats(as_size(inputs * width), 0.5f, 20 + l);
    const std::vector<float> gate = random_floats(as_size(num_experts * size), 2.0f, 40 + l);
    std::vector<float> h(7 * as_size(size));
    for (std::size_t t = 0; t < 7; ++t) {
      for (std::size_t i = 0; i < as_size(size); ++i) {
        double sum = static_cast<double>(c.bias_ih[2 * as_size(size) + i]);
        for (std::size_t j = 0; j < as_size(inputs); ++j) {
          double u = 0.0;
          for (std::size_t d = 0; d < as_size(width); ++d) {
            u += static_cast<double>(projection[j * as_size(width) + d]) *
                 static_cast<double>(x[t * as_size(width) + d]);
          }
          sum += u * static_cast<double>(c.ih[(2 * as_size(size) + i) * as_size(inputs) + j]);
        }
        h[t * as_size(size) + i] = static_cast<float>(std::tanh(sum));
      }
    }
    const auto plain = mixtral_router({.gate = {gate.data(), num_experts, size}}, 2).value();
    NoState none;
    RoutingPlan expected;
    throw_if_error(plain.route({.hidden = {h.data(), 7, size}}, none, expected, ctx));
    for (std::size_t i = 0; i < expected.experts().size(); ++i) {
      CHECK(plans[l].experts()[i] == expected.experts()[i]);
      CHECK(plans[l].weights()[i] == Catch::Approx(expected.weights()[i]).margin(5e-6));
    }
  }
}

TEST_CASE("a router without its state's history routes otherwise: the recurrence matters") {
  const RecurrentCell cell = Cell(RecurrentKind::gru).packed();
  const std::vector<GruRouter<>> layers = layers_of(cell);
  const std::vector<float> x = random_floats(9 * as_size(width), 1.0f, 73);
  Context ctx;
  const std::vector<RoutingPlan> plans = pass(layers, {x.data(), 9, width}, ctx);
  CarriedRows fresh;
  fresh.reset(9);
  RoutingPlan alone;
  throw_if_error(layers[3].route({.hidden = {x.data(), 9, width}}, fresh, alone, ctx));
  CHECK_FALSE(alone == plans[3]);
  fresh.reset(9);
  throw_if_error(layers[0].route({.hidden = {x.data(), 9, width}}, fresh, alone, ctx));
  CHECK(alone == plans[0]);
}

TEST_CASE("null experts, AnyRouter and a bad state or input, with a recurrent router") {
  const RecurrentCell cell = Cell(RecurrentKind::gru).packed();
  const std::vector<float> projection = random_floats(as_size(inputs * width), 0.5f, 80);
  const std::vector<float> gate = random_floats(7 * as_size(size), 2.0f, 81);
  using NullGru = GruRouter<TopK, DropNull<Renormalize>>;
  const auto make = [&] {
    return NullGru::create(cell, {projection.data(), inputs, width}, {gate.data(), 7, size}, TopK{3},
                           DropNull<Renormalize>{5, {}})
        .value();
  };
  const NullGru router = make();
  CHECK(router.num_experts() == 5);
  CHECK(router.traits().state == StateScope::across_layers);
  std::vector<float> x = random_floats(6 * as_size(width), 1.0f, 82);
  Context ctx;
  CarriedRows state;
  state.reset(6);
  RoutingPlan plan;
  throw_if_error(router.route({.hidden = {x.data(), 6, width}}, state, plan, ctx));
  const AnyRouter any = make();
  AnyRouter::State any_state;
  any_state.reset(6);
  RoutingPlan same;
  throw_if_error(any.route({.hidden = {x.data(), 6, width}}, any_state, same, ctx));
  CHECK(same == plan);

  CHECK(router.route({.hidden = {x.data(), 5, width}}, state, plan, ctx).allowed == 6);
  state.reset(6);
  state.rows(size + 1);
  CHECK(router.route({.hidden = {x.data(), 6, width}}, state, plan, ctx).found == size + 1);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    x[2 * as_size(width) + 1] = bad;
    state.reset(6);
    const Status status = router.route({.hidden = {x.data(), 6, width}, .layer = 3}, state, plan, ctx);
    CHECK(status.code == ErrorCode::numeric);
    CHECK(status.token == 2);
    CHECK(status.layer == 3);
    CHECK(plan.tokens() == 0);
  }
}

TEST_CASE("a recurrent router refuses parts that do not fit, and says what is allowed") {
  const Cell c(RecurrentKind::gru);
  const RecurrentCell cell = c.packed();
  CHECK(cell.inputs() == inputs);
  CHECK(cell.size() == size);
  const std::vector<float> m(400, 0.1f);
  const auto error_of = [&](ConstRows projection, ConstRows gate, index_t k = 2) {
    return std::string(GruRouter<>::create(cell, projection, gate, TopK{k}, Renormalize{}).error().what());
  };
  CHECK(error_of({m.data(), 8, width}, {m.data(), 5, size}) ==
        "rows of the projection against inputs of the cell (got 8, allowed 9)");
  CHECK(error_of({m.data(), 9, 0}, {m.data(), 5, size}) ==
        "columns of the projection (hidden_size), at least (got 0, allowed 1)");
  CHECK(error_of({m.data(), 9, width}, {m.data(), 5, 10}) ==
        "columns of the gate against size of the cell (got 10, allowed 11)");
  CHECK(error_of({m.data(), 9, width}, {m.data(), 5, size}, 6) == "k of top-k against experts (got 6, allowed 5)");
  CHECK(error_of({nullptr, 9, width}, {m.data(), 5, size}) == "rows of a matrix without data");
  RecurrentWeights<float> weights = c.weights();
  CHECK(RecurrentCell::create(weights, inputs + 1, size).error().what() ==
        std::string("size of weight_ih (got 297, allowed 330)"));
  CHECK_FALSE(RecurrentCell::create(weights, 0, size).has_value());
  CHECK_FALSE(RecurrentCell::create(weights, inputs, 0).has_value());
  weights.bias_hh = weights.bias_hh.first(5);
  CHECK(RecurrentCell::create(weights, inputs, size).error().what() ==
        std::string("size of bias_hh (got 5, allowed 33)"));
}

TEST_CASE("a projection that overflows is a numeric error of its token, though the gates of the cell would hide it") {
  const std::vector<float> ones(3, 1.0f);
  const RecurrentCell cell = RecurrentCell::create({RecurrentKind::gru, ones, ones, ones, ones}, 1, 1).value();
  const float projection = 3e38f;
  const auto router = GruRouter<>::create(cell, {&projection, 1, 1}, {ones.data(), 2, 1}, TopK{1}, Renormalize{});
  const auto outcome = [&](std::vector<float> x) {
    CarriedRows state;
    state.reset(static_cast<index_t>(x.size()));
    RoutingPlan plan;
    Context ctx;
    const Status status =
        router.value().route({.hidden = {x.data(), static_cast<index_t>(x.size()), 1}, .layer = 1}, state, plan, ctx);
    CHECK(plan.tokens() == (status.ok() ? 3 : 0));
    return said(status);
  };
  CHECK(outcome({1.0f, -1.0f, 0.0f}) == "ok");
  CHECK(outcome({2.0f, 1.0f, 1.0f}) == "numeric: router logit is not finite, layer 1, token 0, expert 0");
  CHECK(outcome({1.0f, 1.0f, -2.0f}) == "numeric: router logit is not finite, layer 1, token 2, expert 0");
}

TEST_CASE("a recurrent router asks hidden, state and edits in turn, and leaves no rows") {
  const RecurrentCell cell = Cell(RecurrentKind::gru).packed();
  const std::vector<GruRouter<>> layers = layers_of(cell);
  const GruRouter<>& router = layers[0];
  const std::vector<float> x = random_floats(4 * as_size(width), 1.0f, 90);
  CarriedRows state;
  RoutingPlan plan;
  Context ctx;
  const auto outcome = [&](index_t tokens, index_t cols, index_t of_state) {
    state.reset(4);
    REQUIRE(router.route({.hidden = {x.data(), 4, width}}, state, plan, ctx).ok());
    state.reset(of_state);
    const std::string text = said(router.route({.hidden = {x.data(), tokens, cols}}, state, plan, ctx));
    CHECK((text == "ok" || plan.tokens() == 0));
    CHECK(plan.num_experts() == num_experts);
    return text;
  };
  CHECK(outcome(3, width, 3) == "ok");
  CHECK(outcome(4, width - 1, 4) == "usage: width of hidden against hidden_size of the router (got 12, allowed 13)");
  CHECK(outcome(3, width, 4) == "usage: rows of hidden against tokens of the router's state (got 3, allowed 4)");
  CHECK(router.traits().k_min == 2);
  CHECK(router.traits().k_max == 2);
  CHECK(router.traits().row_sum == RowSum::one);
  const std::vector<float> m(400, 0.1f);
  CHECK(refused(GruRouter<>::create(cell, {m.data(), 9, width}, {nullptr, 5, size}, TopK{2}, Renormalize{})) ==
        "rows of a matrix without data");
  CHECK(refused(GruRouter<>::create(cell, {m.data(), 9, 1}, {m.data(), 1, size}, TopK{1}, Renormalize{})) == "made");
}

TEST_CASE("a recurrent cell of one input and one unit is made, of none refused, of too many before anything is read") {
  const std::vector<float> m(3, 0.1f);
  const RecurrentWeights<float> weights{RecurrentKind::gru, m, m, m, m};
  CHECK(refused(RecurrentCell::create(weights, 1, 1)) == "made");
  CHECK(refused(RecurrentCell::create(weights, 0, 1)) == "inputs of a recurrent cell, at least (got 0, allowed 1)");
  CHECK(refused(RecurrentCell::create(weights, 1, 0)) == "size of a recurrent cell, at least (got 0, allowed 1)");
  CHECK(refused(RecurrentCell::create(weights, 1, max_index / 3)) ==
        "rows of a recurrent cell (got 2147483646, allowed 2147483631)");
  const RecurrentWeights<float> plain{RecurrentKind::rnn, m, m, m, m};
  CHECK(refused(RecurrentCell::create(plain, 1, 3)) == "size of weight_hh (got 3, allowed 9)");
  CHECK(refused(RecurrentCell::create(plain, 2, 3)) == "size of weight_ih (got 3, allowed 6)");
  CHECK(refused(RecurrentCell::create(
            {RecurrentKind::rnn, std::span(m).first(1), std::span(m).first(1), m, std::span(m).first(1)}, 1, 1)) ==
        "size of bias_ih (got 3, allowed 1)");
}
