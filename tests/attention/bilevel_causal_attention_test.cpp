#include "headgate/attention/bilevel_causal_attention.hpp"

#include <algorithm>
#include <random>

#include "headgate/attention/gqa.hpp"
#include "headgate/attention/rope.hpp"
#include "headgate/kernels/native.hpp"
#include "support/catch.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;

namespace {

constexpr AttentionShape usual{.hidden_size = 20, .num_heads = 6, .num_kv_heads = 2, .head_dim = 26, .qk_norm = true};
constexpr index_t tokens = 61;

std::vector<float> random_values(std::size_t n, unsigned seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, 0.5f);
  std::vector<float> out(n);
  for (float& v : out) v = normal(rng);
  return out;
}

template <class A>
A filled(A attention) {
  const AttentionShape& shape = attention.shape();
  const auto rows = [](index_t count, index_t width, unsigned seed, auto set) {
    const std::vector<float> values = random_values(as_size(count * width), seed);
    for (index_t r = 0; r < count; ++r) set(r, values.data() + std::int64_t{r} * width);
  };
  rows(shape.query_size(), 20, 1, [&](index_t r, const float* v) { attention.set_query_row(r, v); });
  rows(shape.kv_size(), 20, 2, [&](index_t r, const float* v) { attention.set_key_row(r, v); });
  rows(shape.kv_size(), 20, 3, [&](index_t r, const float* v) { attention.set_value_row(r, v); });
  rows(20, shape.query_size(), 4, [&](index_t r, const float* v) { attention.set_output_row(r, v); });
  return attention;
}

using Bilevel = BilevelCausalAttention<F32>;

// The whole text in pieces of so many tokens; the cache is left to the caller.
template <class A>
std::vector<float> run(const A& attention, index_t piece, index_t threads, typename A::Cache& cache,
                       index_t count_of_tokens = tokens) {
  const std::vector<float> x = random_values(as_size(count_of_tokens * 20), 5);
  std::vector<float> y(x.size());
  const index_t half = attention.shape().head_dim / 2;
  const Rope rope = Rope::create(1e4, attention.shape().head_dim).value();
  ThreadExecutor executor(threads);
  Context ctx(executor);
  for (index_t first = 0; first < count_of_tokens; first += piece) {
    const index_t count = std::min(piece, count_of_tokens - first);
    std::vector<float> cosines(as_size(count * half)), sines(cosines.size());
    rope.angles(first, count_of_tokens, {cosines.data(), count, half}, {sines.data(), count, half});
    const AttentionInput in{
        {x.data() + first * 20, count, 20}, first, {cosines.data(), count, half}, {sines.data(), count, half}};
    REQUIRE(attention.forward(in, cache, {y.data() + first * 20, count, 20}, ctx).ok());
  }
  return y;
}
template <class A>
std::vector<float> run(const A& attention, index_t piece = tokens, index_t threads = 1) {
  typename A::Cache cache = attention.make_cache(64);
  return run(attention, piece, threads, cache);
}

Bilevel make(index_t region_size, index_t regions) {
  return filled(Bilevel::create(usual, {region_size, regions}).value());
}

}  // namespace

TEST_CASE("bi-level causal attention with as many regions as there are is causal attention, bit for bit") {
  const std::vector<float> dense = run(filled(GroupedQueryAttention<F32>(usual)));
  for (const index_t region_size : {1, 7, 16, 64}) CHECK(run(make(region_size, 64)) == dense);
  CHECK(run(make(7, 2)) != dense);
}

TEST_CASE("a number of regions or positions beyond any text costs no memory and is causal attention") {
  constexpr index_t largest = std::numeric_limits<index_t>::max();
  const std::vector<float> dense = run(filled(GroupedQueryAttention<F32>(usual)));
  CHECK(run(make(7, largest)) == dense);
  CHECK(run(make(largest, 1)) == dense);
  CHECK(run(make(largest, largest), 1, 2) == dense);
}

TEST_CASE("bi-level causal attention has the same bits in prefill, chunks and single steps, on any threads") {
  for (const auto& [region_size, regions] : {std::pair<index_t, index_t>{7, 2}, {16, 1}, {5, 3}}) {
    const Bilevel attention = make(region_size, regions);
    const std::vector<float> whole = run(attention);
    for (const index_t piece : {1, 2, 7, 32}) {
      for (const index_t threads : {1, 2, 3}) CHECK(run(attention, piece, threads) == whole);
    }
  }
}

namespace {

void check_plain_loops(const AttentionShape& shape, index_t region_size, index_t routed, index_t length) {
  const index_t d = shape.head_dim;
  const index_t group = shape.num_heads / shape.num_kv_heads;
  const Bilevel attention = filled(Bilevel::create(shape, {region_size, routed}).value());
  Bilevel::Cache cache = attention.make_cache(length);
  const std::vector<float> y = run(attention, length, 1, cache, length);

  // Queries come from the definition, keys and values from the cache, which other tests compare with formulas.
  const std::vector<float> x = random_values(as_size(length * 20), 5);
  const std::vector<float> query_rows = random_values(as_size(shape.query_size() * 20), 1);
  const std::vector<float> output_rows = random_values(as_size(20 * shape.query_size()), 4);
  int ties = 0;
  for (index_t t = 0; t < length; ++t) {
    std::vector<double> q(as_size(shape.query_size()));
    for (index_t h = 0; h < shape.num_heads; ++h) {
      double squares = 0.0;
      for (index_t i = 0; i < d; ++i) {
        double& value = q[as_size(h * d + i)];
        for (index_t c = 0; c < 20; ++c)
          value += double(query_rows[as_size((h * d + i) * 20 + c)]) * double(x[as_size(t * 20 + c)]);
        squares += value * value;
      }
      const double norm = 1.0 / std::sqrt(squares / d + double(shape.norm_epsilon));
      for (index_t i = 0; i < d; ++i) q[as_size(h * d + i)] *= norm;
      for (index_t i = 0; i < d / 2; ++i) {
        const double angle = t * std::pow(1e4, -2.0 * i / d);
        const double low = q[as_size(h * d + i)];
        const double high = q[as_size(h * d + i + d / 2)];
        q[as_size(h * d + i)] = low * std::cos(angle) - high * std::sin(angle);
        q[as_size(h * d + i + d / 2)] = high * std::cos(angle) + low * std::sin(angle);
      }
    }
    const auto key = [&](index_t position, index_t h, index_t i) {
      return double(cache.kv().keys(h / group)(position, i));
    };
    const index_t own = t / region_size;
    std::vector<std::pair<double, index_t>> affinity;
    for (index_t j = 0; j < own; ++j) {
      double sum = 0.0;
      for (index_t h = 0; h < shape.num_heads; ++h) {
        for (index_t i = 0; i < d; ++i) {
          double mean = 0.0;
          for (index_t p = j * region_size; p < (j + 1) * region_size; ++p) mean += key(p, h, i) / region_size;
          sum += q[as_size(h * d + i)] * mean;
        }
      }
      affinity.emplace_back(-sum, j);
    }
    std::sort(affinity.begin(), affinity.end());
    if (own > routed && affinity[as_size(routed)].first - affinity[as_size(routed - 1)].first < 1e-4) {
      ++ties;
      continue;
    }
    std::vector<index_t> positions;
    for (index_t j = 0; j < std::min(own, routed); ++j) {
      for (index_t p = 0; p < region_size; ++p) positions.push_back(affinity[as_size(j)].second * region_size + p);
    }
    for (index_t p = own * region_size; p <= t; ++p) positions.push_back(p);
    CHECK(attention.positions_read(t) == static_cast<index_t>(positions.size()));

    std::vector<double> mixed(q.size());
    for (index_t h = 0; h < shape.num_heads; ++h) {
      std::vector<double> weights;
      double total = 0.0;
      for (const index_t p : positions) {
        double score = 0.0;
        for (index_t i = 0; i < d; ++i) score += q[as_size(h * d + i)] * key(p, h, i);
        weights.push_back(std::exp(score / std::sqrt(double(d))));
        total += weights.back();
      }
      for (std::size_t n = 0; n < positions.size(); ++n) {
        const float* const value = cache.kv().values(h / group).row_data(positions[n]);
        for (index_t i = 0; i < d; ++i) mixed[as_size(h * d + i)] += weights[n] / total * double(value[i]);
      }
    }
    for (index_t o = 0; o < 20; ++o) {
      double expected = 0.0;
      for (std::size_t i = 0; i < mixed.size(); ++i)
        expected += double(output_rows[as_size(o) * mixed.size() + i]) * mixed[i];
      CHECK(std::abs(double(y[as_size(t * 20 + o)]) - expected) < 1e-4);
    }
  }
  CHECK(ties < length / 10);
}

}  // namespace

TEST_CASE("bi-level causal attention equals plain loops in double over the regions of largest affinity") {
  check_plain_loops(usual, 6, 2, tokens);
  // Regions that lie across panels, and as many heads on one KV head as a tile takes and more.
  AttentionShape wide{
      .hidden_size = 20, .num_heads = 12, .num_kv_heads = 1, .head_dim = 8, .qk_norm = true, .norm_epsilon = 0.01f};
  check_plain_loops(wide, 9, 1, 90);
  check_plain_loops(wide, 9, 3, 90);
  check_plain_loops(wide, 15, 1, 60);  // two regions of 15 from position 15 on lie in three panels
  wide.num_heads = 50;
  check_plain_loops(wide, 9, 2, 60);
}

TEST_CASE("a position of bi-level causal attention reads no more than its own region and the routed ones") {
  const Bilevel attention = make(8, 2);
  CHECK(attention.positions_read(0) == 1);
  CHECK(attention.positions_read(7) == 8);
  CHECK(attention.positions_read(8) == 9);
  CHECK(attention.positions_read(31) == 24);
  CHECK(attention.positions_read(1000) == 17);
}

TEST_CASE("bi-level causal attention goes on from a clone and from an overwritten end") {
  const Bilevel attention = make(7, 2);
  Bilevel::Cache cache = attention.make_cache(64);
  const std::vector<float> whole = run(attention, tokens, 1, cache);
  CHECK(run(attention, 9, 2, cache) == whole);  // written over from the start
  Bilevel::Cache copy = cache.clone(tokens);
  CHECK(std::equal(copy.means().row_data(0), copy.means().row_data(tokens / 7), cache.means().row_data(0)));
  CHECK(run(attention, 4, 1, copy) == whole);
}

TEST_CASE("bi-level causal attention refuses sizes that cannot be, and a score that is not finite") {
  CHECK_FALSE(Bilevel::create(usual, {0, 1}).has_value());
  CHECK_FALSE(Bilevel::create(usual, {4, 0}).has_value());
  CHECK_FALSE(Bilevel::create({}, {4, 1}).has_value());

  const Bilevel attention = make(4, 1);
  Bilevel::Cache cache = attention.make_cache(16);
  std::vector<float> x(9 * 20, 1.0f), y(x.size()), ones(9 * 13, 1.0f), zeros(9 * 13, 0.0f);
  x[8 * 20] = std::numeric_limits<float>::quiet_NaN();
  Context ctx;
  const AttentionInput in{{x.data(), 9, 20}, 0, {ones.data(), 9, 13}, {zeros.data(), 9, 13}};
  const Status status = attention.forward(in, cache, {y.data(), 9, 20}, ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.token == 8);
}

TEST_CASE("bi-level causal attention names the first of several bad rows, wherever the pass starts") {
  const Bilevel attention = make(4, 1);
  std::vector<float> x(5 * 20, 1.0f), y(x.size()), ones(5 * 13, 1.0f), zeros(5 * 13, 0.0f);
  x[3 * 20] = x[1 * 20 + 19] = std::numeric_limits<float>::quiet_NaN();
  for (const index_t threads : {1, 2, 7}) {
    for (const index_t first : {0, 6}) {
      Bilevel::Cache cache = attention.make_cache(16);
      ThreadExecutor executor(threads);
      Context ctx(executor);
      const AttentionInput in{{x.data(), 5, 20}, first, {ones.data(), 5, 13}, {zeros.data(), 5, 13}};
      CHECK(said(attention.forward(in, cache, {y.data(), 5, 20}, ctx)) ==
            "numeric: attention score is not finite, token 1");
    }
  }
}

TEST_CASE("bi-level causal attention says of its regions what is allowed, and of its input what fits") {
  CHECK(refused(Bilevel::create(usual, {1, 1})) == "made");
  CHECK(refused(Bilevel::create(usual, {0, 1})) == "positions of a region, at least (got 0, allowed 1)");
  CHECK(refused(Bilevel::create(usual, {1, 0})) == "routed regions, at least (got 0, allowed 1)");
  CHECK(refused(Bilevel::create({}, {1, 1})) == "hidden_size, at least (got 0, allowed 1)");
  const Bilevel attention = make(4, 1);
  Bilevel::Cache cache = attention.make_cache(4);
  std::vector<float> x(5 * 20, 1.0f), y(x.size()), ones(5 * 13, 1.0f);
  Context ctx;
  const AttentionInput in{{x.data(), 5, 20}, 0, {ones.data(), 5, 13}, {ones.data(), 5, 13}};
  CHECK(said(attention.forward(in, cache, {y.data(), 5, 20}, ctx)) ==
        "limit: positions against the size of the context (got 5, allowed 4)");
}
