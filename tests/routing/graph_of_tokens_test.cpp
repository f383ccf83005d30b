#include "headgate/routing/graph_of_tokens.hpp"

#include <limits>

#include "headgate/routing/any_router.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/reference_router.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

namespace {

using namespace headgate;
using Kind = TokenGraph::Kind;

constexpr index_t width = 14;
constexpr index_t experts = 5;
constexpr index_t tokens = 23;

struct Parts {
  std::vector<float> gate = random_floats(as_size(experts * width), 0.7f, 1);
  std::vector<float> bias = random_floats(as_size(experts), 0.5f, 2);
  std::vector<float> similarity = random_floats(as_size(width * width), 0.4f, 3);
  std::vector<float> x = random_floats(as_size(tokens * width), 1.0f, 4);

  GateWeights weights() const { return {.gate = {gate.data(), experts, width}, .gate_bias = bias}; }
  ConstRows rows() const { return {x.data(), tokens, width}; }
  TokenGraph learned(float temperature = 1.3f) const {
    return {.similarity = {similarity.data(), width, width}, .temperature = temperature};
  }
};
const Parts parts;

// Random causal attention: rows of weights that add up to 1, and nonsense behind what a row may read.
std::vector<float> random_attention(index_t count, unsigned seed) {
  std::vector<float> all = random_floats(as_size(count) * as_size(count), 1.0f, seed);
  for (index_t t = 0; t < count; ++t) {
    float* const row = all.data() + std::int64_t{t} * count;
    double sum = 0.0;
    for (index_t s = 0; s <= t; ++s) {
      row[s] = row[s] * row[s] * row[s] * row[s];
      sum += static_cast<double>(row[s]);
    }
    for (index_t s = 0; s <= t; ++s) row[s] = static_cast<float>(static_cast<double>(row[s]) / sum);
    for (index_t s = t + 1; s < count; ++s) row[s] = std::numeric_limits<float>::quiet_NaN();
  }
  return all;
}

// The plan of parts.x in passes of `chunk` tokens.
template <class R>
RoutingPlan run(const R& router, index_t chunk, const std::vector<float>* attention = nullptr, index_t threads = 1) {
  ThreadExecutor executor(threads);
  Context ctx(executor);
  typename R::State state;
  state.reset(tokens);
  RoutingPlan all;
  all.clear(experts);
  RoutingPlan part;
  for (index_t first = 0; first < tokens; first += chunk) {
    const index_t count = std::min(chunk, tokens - first);
    if (attention != nullptr) state.attention = ConstRows(attention->data(), tokens, tokens).middle_rows(first, count);
    throw_if_error(router.route({.hidden = parts.rows().middle_rows(first, count)}, state, part, ctx));
    CHECK(state.position() == first + count);
    for (index_t t = 0; t < count; ++t) throw_if_error(all.append_row(part.experts(t), part.weights(t)));
  }
  return all;
}

// S (tokens, tokens) of the similarities, in double.
std::vector<std::vector<double>> similarities(const Parts& p, double temperature, bool is_learned) {
  std::vector<std::vector<double>> all;
  for (index_t t = 0; t < tokens; ++t) {
    std::vector<double> row;
    for (index_t s = 0; s <= t; ++s) {
      double sum = 0.0;
      for (std::size_t i = 0; i < as_size(width); ++i) {
        double key = static_cast<double>(p.x[as_size(s) * as_size(width) + i]);
        if (is_learned) {
          key = 0.0;
          for (std::size_t j = 0; j < as_size(width); ++j) {
            key += static_cast<double>(p.similarity[i * as_size(width) + j]) *
                   static_cast<double>(p.x[as_size(s) * as_size(width) + j]);
          }
        }
        sum += static_cast<double>(p.x[as_size(t) * as_size(width) + i]) * key;
      }
      row.push_back(sum / temperature);
    }
    all.push_back(reference::softmax(row));
  }
  return all;
}
std::vector<double> logits_of(index_t token) {
  return reference::logits({parts.gate.data(), experts, width}, parts.bias, parts.rows().row_data(token));
}
// R~ of a token.
std::vector<double> mixed(const std::vector<double>& weights, bool of_logits) {
  std::vector<double> sum(as_size(experts), 0.0);
  for (std::size_t s = 0; s < weights.size(); ++s) {
    const std::vector<double> z = logits_of(static_cast<index_t>(s));
    const std::vector<double> r = of_logits ? z : reference::softmax(z);
    for (std::size_t e = 0; e < sum.size(); ++e) sum[e] += weights[s] * r[e];
  }
  return of_logits ? reference::softmax(sum) : sum;
}
void check_dense(const RoutingPlan& plan, index_t token, const std::vector<double>& expected) {
  const std::vector<float> dense = dense_weights(plan, token);
  for (std::size_t e = 0; e < expected.size(); ++e) {
    CHECK(static_cast<double>(dense[e]) == Catch::Approx(expected[e]).margin(1e-6));
  }
}
double entropy(std::span<const double> p) {
  double sum = 0.0;
  for (const double x : p) sum -= x > 0.0 ? x * std::log(x) : 0.0;
  return sum;
}

using Probabilities = GraphOfTokens<MixDomain::probabilities, TopK, Keep>;
using Logits = GraphOfTokens<MixDomain::logits, TopK, Keep>;

}  // namespace

TEST_CASE("paper_graph_of_tokens: mixed distributions are those of the formula in double, in both domains") {
  for (const bool is_learned : {false, true}) {
    const TokenGraph graph = is_learned ? parts.learned() : TokenGraph{.temperature = 2.0f};
    const auto s = similarities(parts, is_learned ? 1.3 : 2.0, is_learned);
    const RoutingPlan of_probabilities = run(Probabilities::create(parts.weights(), {experts}, {}, graph).value(), 7);
    const RoutingPlan of_logits = run(Logits::create(parts.weights(), {experts}, {}, graph).value(), 7);
    for (index_t t = 0; t < tokens; ++t) {
      check_dense(of_probabilities, t, mixed(s[as_size(t)], false));
      check_dense(of_logits, t, mixed(s[as_size(t)], true));
    }
  }
  const std::vector<float> attention = random_attention(tokens, 5);
  const TokenGraph graph{.kind = Kind::attention};
  const RoutingPlan plan = run(Probabilities::create(parts.weights(), {experts}, {}, graph).value(), 7, &attention);
  for (index_t t = 0; t < tokens; ++t) {
    const float* const row = attention.data() + std::int64_t{t} * tokens;
    check_dense(plan, t, mixed({row, row + t + 1}, false));
  }
}

TEST_CASE("P8: where a token attends to itself alone, a graph of tokens is the plain router, in bits") {
  std::vector<float> identity(as_size(tokens * tokens), 0.0f);
  for (index_t t = 0; t < tokens; ++t) identity[as_size(t * tokens + t)] = 1.0f;
  const TokenGraph graph{.kind = Kind::attention};
  const auto plain = mixtral_router(parts.weights(), 2).value();
  CHECK(run(GraphOfTokens<>::create(parts.weights(), {2}, {}, graph).value(), 5, &identity) ==
        routed(plain, parts.rows()));
  CHECK(run(GraphOfTokens<MixDomain::logits>::create(parts.weights(), {2}, {}, graph).value(), 5, &identity) ==
        routed(plain, parts.rows()));
  // And the first token of a text has nobody else.
  const RoutingPlan first = run(GraphOfTokens<>::create(parts.weights(), {2}, {}).value(), tokens);
  CHECK(experts_of(first, 0) == experts_of(routed(plain, parts.rows()), 0));
  CHECK(weights_of(first, 0) == weights_of(routed(plain, parts.rows()), 0));
}

TEST_CASE("P7: a text at once, in chunks and token by token is routed alike by a graph of tokens, in bits") {
  const std::vector<float> attention = random_attention(tokens, 6);
  const auto check = [&](const auto& router, const std::vector<float>* rows) {
    const RoutingPlan whole = run(router, tokens, rows);
    for (const index_t chunk : {1, 2, 7, 16}) CHECK(run(router, chunk, rows) == whole);
    for (const index_t threads : {2, 3, 8}) CHECK(run(router, tokens, rows, threads) == whole);
  };
  const TokenGraph by_attention{.kind = Kind::attention};
  check(GraphOfTokens<>::create(parts.weights(), {2}, {}, parts.learned()).value(), nullptr);
  check(GraphOfTokens<MixDomain::logits>::create(parts.weights(), {2}, {}, {}).value(), nullptr);
  check(GraphOfTokens<>::create(parts.weights(), {2}, {}, by_attention).value(), &attention);
  check(GraphOfTokens<MixDomain::logits>::create(parts.weights(), {2}, {}, by_attention).value(), &attention);
}

TEST_CASE("the entropy of a mixed distribution lies between the mean entropy and that plus the entropy of the mixing") {
  const TokenGraph by_attention{.kind = Kind::attention};
  const auto router = Probabilities::create(parts.weights(), {experts}, {}, by_attention).value();
  index_t lower = 0;
  for (unsigned seed = 0; seed < 20; ++seed) {
    const std::vector<float> attention = random_attention(tokens, 100 + seed);
    const RoutingPlan plan = run(router, tokens, &attention);
    for (index_t t = 0; t < tokens; ++t) {
      const float* const row = attention.data() + std::int64_t{t} * tokens;
      const std::vector<double> s(row, row + t + 1);
      double mean = 0.0;
      for (std::size_t other = 0; other < s.size(); ++other) {
        mean += s[other] * entropy(reference::softmax(logits_of(static_cast<index_t>(other))));
      }
      const std::vector<float> dense = dense_weights(plan, t);
      const double found = entropy(std::vector<double>(dense.begin(), dense.end()));
      CHECK(found >= mean - 1e-5);
      CHECK(found <= entropy(s) + mean + 1e-5);
      lower += found < entropy(reference::softmax(logits_of(t))) ? 1 : 0;
    }
  }
  // "Mixing lowers the entropy" is no law.
  CHECK(lower > 0);
  CHECK(lower < 20 * tokens);
}

TEST_CASE("tokens that read the same tokens alike are routed alike, and later tokens change nothing") {
  std::vector<float> attention(as_size(tokens * tokens), 0.0f);
  for (index_t t = 0; t < tokens; ++t) {
    const index_t read = std::min(t + 1, 4);
    for (index_t s = 0; s < read; ++s) attention[as_size(t * tokens + s)] = 1.0f / static_cast<float>(read);
  }
  const auto router = GraphOfTokens<>::create(parts.weights(), {2}, {}, {.kind = Kind::attention}).value();
  const RoutingPlan plan = run(router, tokens, &attention);
  for (index_t t = 4; t < tokens; ++t) {
    CHECK(experts_of(plan, t) == experts_of(plan, 3));
    CHECK(weights_of(plan, t) == weights_of(plan, 3));
  }
  const auto similar = GraphOfTokens<>::create(parts.weights(), {2}, {}, parts.learned()).value();
  const RoutingPlan whole = run(similar, tokens);
  std::vector<float> changed = parts.x;
  for (std::size_t i = 12 * as_size(width); i < changed.size(); ++i) changed[i] = -changed[i];
  const RoutingPlan other = routed(similar, {changed.data(), tokens, width});
  for (index_t t = 0; t < 12; ++t) CHECK(weights_of(other, t) == weights_of(whole, t));
  CHECK_FALSE(other == whole);
  CHECK(similar.traits().batch_coupled);
  CHECK(similar.traits().causal);
  CHECK(similar.traits().state == StateScope::per_text);
}

TEST_CASE("the state of a graph of tokens goes back, begins anew, and is what it was where a pass fails") {
  const auto router = GraphOfTokens<>::create(parts.weights(), {2}, {}, parts.learned()).value();
  const RoutingPlan whole = run(router, tokens);
  Context ctx;
  GraphOfTokens<>::State state;
  RoutingPlan plan;
  throw_if_error(router.route({.hidden = parts.rows()}, state, plan, ctx));
  CHECK(plan == whole);
  CHECK(state.bytes() >= tokens * (experts + width) * 4);
  state.truncate(10);
  std::vector<float> bad(as_size(3 * width), 0.5f);
  bad[as_size(width)] = std::numeric_limits<float>::infinity();
  const Status status = router.route({.hidden = {bad.data(), 3, width}, .layer = 4}, state, plan, ctx);
  CHECK(said(status).starts_with("numeric: "));
  CHECK(status.token == 1);
  CHECK(status.layer == 4);
  CHECK(plan.tokens() == 0);
  CHECK(state.position() == 10);
  throw_if_error(router.route({.hidden = parts.rows().middle_rows(10, 13)}, state, plan, ctx));
  for (index_t t = 0; t < 13; ++t) CHECK(weights_of(plan, t) == weights_of(whole, 10 + t));
  throw_if_error(router.route({.hidden = parts.rows().middle_rows(0, 0)}, state, plan, ctx));
  CHECK(plan.tokens() == 0);
  CHECK(state.position() == tokens);
  state.reset(tokens);
  throw_if_error(router.route({.hidden = parts.rows()}, state, plan, ctx));
  CHECK(plan == whole);
}

TEST_CASE("attention that does not fit, or is none, is refused by token") {
  const auto router = GraphOfTokens<>::create(parts.weights(), {2}, {}, {.kind = Kind::attention}).value();
  GraphOfTokens<>::State state;
  RoutingPlan plan;
  Context ctx;
  std::vector<float> attention = {1.0f, 0.0f, 0.5f, 0.5f};
  const auto outcome = [&](index_t rows, index_t cols) {
    state.reset(2);
    state.attention = {attention.data(), rows, cols};
    return said(router.route({.hidden = parts.rows().middle_rows(0, 2)}, state, plan, ctx));
  };
  CHECK(outcome(2, 2) == "ok");
  CHECK(outcome(1, 2) == "usage: rows of attention against tokens (got 1, allowed 2)");
  CHECK(outcome(2, 1) == "usage: positions of attention, at least (got 1, allowed 2)");
  attention = {1.0f, 0.0f, 0.5f, 0.4f};
  CHECK(outcome(2, 2) == "usage: attention of a token is negative or does not add up to 1, layer 0, token 1");
  attention = {1.0f, 0.0f, 1.5f, -0.5f};
  CHECK(outcome(2, 2).ends_with("token 1"));
  attention = {std::numeric_limits<float>::quiet_NaN(), 0.0f, 0.5f, 0.5f};
  CHECK(outcome(2, 2).ends_with("token 0"));
}

TEST_CASE("a graph of tokens takes a call's mask and k, and checks its parts") {
  const auto router = GraphOfTokens<>::create(parts.weights(), {2}, {}, parts.learned()).value();
  const std::vector<std::uint8_t> mask = {0, 1, 1, 1, 0};
  Context ctx;
  const RoutingPlan plan = routed(router, parts.rows(), ctx, {}, {.expert_mask = mask, .k = 1});
  for (index_t t = 0; t < tokens; ++t) {
    REQUIRE(plan.experts(t).size() == 1);
    CHECK(mask[as_size(plan.experts(t)[0])] == 1);
  }
  GraphOfTokens<>::State state;
  RoutingPlan none;
  CHECK(said(router.route({.hidden = parts.rows(), .edits = {.expert_mask = mask, .mask_meaning = MaskMeaning::prune}},
                          state, none, ctx)) ==
        "usage: scores of this router depend on all experts, so that none can be pruned");
  CHECK((router.traits().takes & takes_prune) == 0);
  const auto outcome = [](const GateWeights& weights, const TokenGraph& graph) {
    return refused(GraphOfTokens<>::create(weights, {2}, {}, graph));
  };
  CHECK(outcome(parts.weights(), {}) == "made");
  CHECK(outcome(parts.weights(), {.temperature = 0.0f}) == "temperature of similarities is not a positive number");
  CHECK(outcome(parts.weights(), {.similarity = {parts.similarity.data(), 13, width}}) ==
        "rows of the matrix of similarities (got 13, allowed 14)");
  CHECK(outcome(parts.weights(), {.similarity = {parts.similarity.data(), width, 13}}) ==
        "columns of the matrix of similarities (got 13, allowed 14)");
  CHECK(outcome(parts.weights(), {.kind = Kind::attention, .similarity = {parts.similarity.data(), width, width}}) ==
        "matrix of similarities of a router that mixes by attention");
  CHECK(outcome({.gate = {parts.gate.data(), 1, width}}, {}) == "k of top-k against experts (got 2, allowed 1)");
  CHECK(outcome({}, {}) == "rows of a router's gate (experts), at least (got 0, allowed 1)");
  // It stands behind AnyRouter like any other.
  CHECK(routed(AnyRouter(router), parts.rows()) == run(router, tokens));
}
