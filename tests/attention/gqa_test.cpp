#include "headgate/attention/gqa.hpp"

#include <random>

#include "headgate/attention/rope.hpp"
#include "headgate/kernels/native.hpp"
#include "support/catch.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;

namespace {

std::vector<float> random_floats(std::size_t count, float scale, std::mt19937& rng) {
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(count);
  for (float& v : values) v = normal(rng);
  return values;
}

// Weights as plain rows, and the same attention in double, straight from the definition.
struct Reference {
  AttentionShape shape;
  std::vector<float> q, k, v, o, qkv_bias, o_bias, q_norm, k_norm;

  Reference(const AttentionShape& s, unsigned seed) : shape(s) {
    std::mt19937 rng(seed);
    const auto size = [](index_t a, index_t b) { return as_size(a) * as_size(b); };
    q = random_floats(size(s.query_size(), s.hidden_size), 0.3f, rng);
    k = random_floats(size(s.kv_size(), s.hidden_size), 0.3f, rng);
    v = random_floats(size(s.kv_size(), s.hidden_size), 0.3f, rng);
    o = random_floats(size(s.hidden_size, s.query_size()), 0.3f, rng);
    if (s.has_bias) {
      qkv_bias = random_floats(as_size(s.query_size() + 2 * s.kv_size()), 0.5f, rng);
      o_bias = random_floats(as_size(s.hidden_size), 0.5f, rng);
    }
    if (s.qk_norm) {
      q_norm = random_floats(as_size(s.head_dim), 1.0f, rng);
      k_norm = random_floats(as_size(s.head_dim), 1.0f, rng);
    }
  }

  template <class Format>
  GroupedQueryAttention<Format> packed() const {
    GroupedQueryAttention<Format> attention(shape);
    const auto row = [](const std::vector<float>& m, index_t r, index_t cols) { return m.data() + r * cols; };
    for (index_t r = 0; r < shape.query_size(); ++r) attention.set_query_row(r, row(q, r, shape.hidden_size));
    for (index_t r = 0; r < shape.kv_size(); ++r) attention.set_key_row(r, row(k, r, shape.hidden_size));
    for (index_t r = 0; r < shape.kv_size(); ++r) attention.set_value_row(r, row(v, r, shape.hidden_size));
    for (index_t r = 0; r < shape.hidden_size; ++r) attention.set_output_row(r, row(o, r, shape.query_size()));
    std::copy(qkv_bias.begin(), qkv_bias.end(), attention.qkv_bias().begin());
    std::copy(o_bias.begin(), o_bias.end(), attention.output_bias().begin());
    std::copy(q_norm.begin(), q_norm.end(), attention.query_norm().begin());
    std::copy(k_norm.begin(), k_norm.end(), attention.key_norm().begin());
    return attention;
  }

  static std::vector<double> times(const std::vector<float>& w, const std::vector<double>& x, const float* bias) {
    const std::size_t rows = w.size() / x.size();
    std::vector<double> y(rows);
    for (std::size_t r = 0; r < rows; ++r) {
      y[r] = bias == nullptr ? 0.0 : static_cast<double>(bias[r]);
      for (std::size_t i = 0; i < x.size(); ++i) y[r] += static_cast<double>(w[r * x.size() + i]) * x[i];
    }
    return y;
  }
  void norm_and_turn(std::vector<double>& x, const std::vector<float>& norm, double theta, index_t position) const {
    const index_t d = shape.head_dim;
    for (std::size_t first = 0; first < x.size(); first += as_size(d)) {
      double* const head = x.data() + first;
      if (!norm.empty()) {
        double squares = 0.0;
        for (index_t i = 0; i < d; ++i) squares += head[i] * head[i];
        const double scale = 1.0 / std::sqrt(squares / d + static_cast<double>(shape.norm_epsilon));
        for (index_t i = 0; i < d; ++i) head[i] *= scale * static_cast<double>(norm[as_size(i)]);
      }
      for (index_t i = 0; i < d / 2; ++i) {
        const double angle = position * std::pow(theta, -2.0 * i / d);
        const double low = head[i];
        const double high = head[i + d / 2];
        head[i] = low * std::cos(angle) - high * std::sin(angle);
        head[i + d / 2] = high * std::cos(angle) + low * std::sin(angle);
      }
    }
  }
  // (tokens, hidden_size)
  std::vector<std::vector<double>> operator()(ConstRows x, double theta) const {
    std::vector<std::vector<double>> queries, keys, values, out;
    const auto bias = [&](index_t first) { return qkv_bias.empty() ? nullptr : qkv_bias.data() + first; };
    for (index_t t = 0; t < x.rows; ++t) {
      const std::vector<double> row(x.row_data(t), x.row_data(t) + x.cols);
      queries.push_back(times(q, row, bias(0)));
      keys.push_back(times(k, row, bias(shape.query_size())));
      values.push_back(times(v, row, bias(shape.query_size() + shape.kv_size())));
      norm_and_turn(queries.back(), q_norm, theta, t);
      norm_and_turn(keys.back(), k_norm, theta, t);
    }
    const index_t d = shape.head_dim;
    for (index_t t = 0; t < x.rows; ++t) {
      std::vector<double> mixed(as_size(shape.query_size()), 0.0);
      for (index_t h = 0; h < shape.num_heads; ++h) {
        const index_t kv = h / (shape.num_heads / shape.num_kv_heads);
        std::vector<double> weights;
        double total = 0.0;
        for (index_t s = 0; s <= t; ++s) {
          double score = 0.0;
          for (index_t i = 0; i < d; ++i)
            score += queries[as_size(t)][as_size(h * d + i)] * keys[as_size(s)][as_size(kv * d + i)];
          weights.push_back(std::exp(score / std::sqrt(static_cast<double>(d))));
          total += weights.back();
        }
        for (index_t s = 0; s <= t; ++s) {
          for (index_t i = 0; i < d; ++i) {
            mixed[as_size(h * d + i)] += weights[as_size(s)] / total * values[as_size(s)][as_size(kv * d + i)];
          }
        }
      }
      out.push_back(times(o, mixed, o_bias.empty() ? nullptr : o_bias.data()));
    }
    return out;
  }
};

// The attention's output for x, in chunks of so many rows, on so many threads.
template <class A>
std::vector<float> run(const A& attention, ConstRows x, const Rope& rope, index_t chunk, index_t threads) {
  ThreadExecutor executor(threads);
  Context ctx(executor);
  auto cache = attention.make_cache(x.rows);
  std::vector<float> y(as_size(x.rows) * as_size(x.cols));
  for (index_t first = 0; first < x.rows; first += chunk) {
    const index_t rows = std::min(chunk, x.rows - first);
    std::vector<float> cosines(as_size(rows) * as_size(rope.half()));
    std::vector<float> sines(cosines.size());
    rope.angles(first, x.rows, {cosines.data(), rows, rope.half()}, {sines.data(), rows, rope.half()});
    const AttentionInput in{
        x.middle_rows(first, rows), first, {cosines.data(), rows, rope.half()}, {sines.data(), rows, rope.half()}};
    throw_if_error(attention.forward(in, cache, {y.data() + first * x.cols, rows, x.cols}, ctx));
  }
  return y;
}

const AttentionShape shapes[] = {
    {.hidden_size = 40, .num_heads = 6, .num_kv_heads = 2, .head_dim = 26, .has_bias = false, .qk_norm = true},
    {.hidden_size = 24, .num_heads = 3, .num_kv_heads = 1, .head_dim = 24, .has_bias = true, .qk_norm = false},
    {.hidden_size = 17,
     .num_heads = 26,
     .num_kv_heads = 2,
     .head_dim = 4,
     .has_bias = true,
     .qk_norm = true,
     .norm_epsilon = 0.5f},
    {.hidden_size = 5, .num_heads = 1, .num_kv_heads = 1, .head_dim = 2, .has_bias = false, .qk_norm = false},
};

}  // namespace

TEST_CASE("grouped-query attention is its definition in double") {
  constexpr double theta = 100.0;
  for (const AttentionShape& shape : shapes) {
    const Reference reference(shape, 1);
    const Rope rope = Rope::create(theta, shape.head_dim).value();
    std::mt19937 rng(2);
    const index_t tokens = 37;
    const std::vector<float> x = random_floats(as_size(tokens) * as_size(shape.hidden_size), 1.0f, rng);
    const ConstRows rows(x.data(), tokens, shape.hidden_size);
    const std::vector<float> found = run(reference.packed<F32>(), rows, rope, tokens, 1);
    const auto expected = reference(rows, theta);
    double worst = 0.0;
    for (index_t t = 0; t < tokens; ++t) {
      for (index_t i = 0; i < shape.hidden_size; ++i) {
        const double e = expected[as_size(t)][as_size(i)];
        worst = std::max(
            worst, std::abs(static_cast<double>(found[as_size(t * shape.hidden_size + i)]) - e) / (1.0 + std::abs(e)));
      }
    }
    INFO("heads " << shape.num_heads << " of " << shape.head_dim);
    CHECK(worst < 1e-5);
  }
}

TEST_CASE("chunks and threads change no bit of an attention") {
  for (const AttentionShape& shape : shapes) {
    const Reference reference(shape, 3);
    const Rope rope = Rope::create(10000.0, shape.head_dim).value();
    std::mt19937 rng(4);
    const index_t tokens = 35;
    const std::vector<float> x = random_floats(as_size(tokens) * as_size(shape.hidden_size), 1.0f, rng);
    const ConstRows rows(x.data(), tokens, shape.hidden_size);
    const auto check = [&](const auto& attention) {
      const std::vector<float> whole = run(attention, rows, rope, tokens, 1);
      for (const index_t chunk : {1, 2, 7, 16, tokens}) {
        for (const index_t threads : {1, 2, 3}) {
          INFO("chunk " << chunk << ", threads " << threads);
          CHECK(run(attention, rows, rope, chunk, threads) == whole);
        }
      }
    };
    check(reference.packed<F32>());
    check(reference.packed<Bf16>());
  }
}

TEST_CASE("an attention refuses input that does not fit") {
  const AttentionShape shape = shapes[0];
  const GroupedQueryAttention<F32> attention(shape);
  KvCache cache = attention.make_cache(4);
  Context ctx;
  std::vector<float> x(as_size(5 * shape.hidden_size));
  std::vector<float> angles(as_size(5 * shape.head_dim));
  const auto forward = [&](index_t tokens, index_t width, index_t first, index_t half, index_t y_rows) {
    const AttentionInput in{
        {x.data(), tokens, width}, first, {angles.data(), tokens, half}, {angles.data(), tokens, half}};
    return attention.forward(in, cache, {x.data(), y_rows, shape.hidden_size}, ctx);
  };
  CHECK(forward(4, shape.hidden_size, 0, 13, 4).ok());
  CHECK(forward(0, shape.hidden_size, 4, 13, 0).ok());
  CHECK(forward(4, shape.hidden_size - 1, 0, 13, 4).code == ErrorCode::usage);
  CHECK(forward(4, shape.hidden_size, 0, 12, 4).code == ErrorCode::usage);
  CHECK(forward(4, shape.hidden_size, 0, 13, 3).code == ErrorCode::usage);
  CHECK(forward(4, shape.hidden_size, -1, 13, 4).code == ErrorCode::usage);
  const Status full = forward(4, shape.hidden_size, 1, 13, 4);
  CHECK(full.code == ErrorCode::limit);
  CHECK(full.found == 5);
  CHECK(full.allowed == 4);
}

TEST_CASE("a score that is not finite is an error with the row, whichever thread meets it") {
  for (const AttentionShape& shape : shapes) {
    const Reference reference(shape, 1);
    const auto attention = reference.packed<F32>();
    const index_t half = shape.head_dim / 2;
    std::mt19937 rng(2);
    std::vector<float> x = random_floats(as_size(20) * as_size(shape.hidden_size), 1.0f, rng);
    x[as_size(13 * shape.hidden_size)] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> angles(as_size(20) * as_size(half), 0.5f);
    std::vector<float> y(x.size());
    for (const index_t threads : {1, 2, 3}) {
      ThreadExecutor executor(threads);
      Context ctx(executor);
      KvCache cache = attention.make_cache(20);
      const ConstRows turned(angles.data(), 20, half);
      const Status status = attention.forward({{x.data(), 20, shape.hidden_size}, 0, turned, turned}, cache,
                                              {y.data(), 20, shape.hidden_size}, ctx);
      CHECK(status.code == ErrorCode::numeric);
      CHECK(status.token == 13);
    }
  }
}

TEST_CASE("an attention of an impossible shape is not made") {
  const auto fails = [](AttentionShape shape) {
    const auto made = GroupedQueryAttention<F32>::create(shape);
    return !made.has_value() && made.error().code() == ErrorCode::usage;
  };
  AttentionShape shape = shapes[0];
  CHECK(!fails(shape));
  shape.hidden_size = 0;
  CHECK(fails(shape));
  shape = shapes[0];
  shape.num_heads = 0;
  CHECK(fails(shape));
  shape = shapes[0];
  shape.num_kv_heads = 4;
  CHECK(fails(shape));
  shape.num_kv_heads = -2;
  CHECK(fails(shape));
  shape = shapes[0];
  shape.head_dim = 7;
  CHECK(fails(shape));
  shape = shapes[0];
  shape.num_heads = 1 << 20;
  CHECK(fails(shape));
  CHECK_THROWS_AS(GroupedQueryAttention<Bf16>(shape), Error);
}

TEST_CASE("the norm of queries and keys adds the epsilon of the shape") {
  const AttentionShape shape{
      .hidden_size = 2, .num_heads = 1, .num_kv_heads = 1, .head_dim = 2, .qk_norm = true, .norm_epsilon = 1.0f};
  GroupedQueryAttention<F32> attention(shape);
  const float identity[2][2] = {{1.0f, 0.0f}, {0.0f, 1.0f}};
  for (index_t r = 0; r < 2; ++r) {
    attention.set_query_row(r, identity[r]);
    attention.set_key_row(r, identity[r]);
    attention.set_value_row(r, identity[r]);
    attention.set_output_row(r, identity[r]);
  }
  KvCache cache = attention.make_cache(1);
  const float x[] = {1.0f, 1.0f};
  const float cosine = 1.0f;
  const float sine = 0.0f;
  float y[2] = {};
  Context ctx;
  throw_if_error(attention.forward({{x, 1, 2}, 0, {&cosine, 1, 1}, {&sine, 1, 1}}, cache, {y, 1, 2}, ctx));
  CHECK(cache.keys(0)(0, 0) == Catch::Approx(std::sqrt(0.5)));
  CHECK(cache.keys(0)(0, 1) == Catch::Approx(std::sqrt(0.5)));
  CHECK(cache.values(0).row(0)[0] == 1.0f);
  CHECK(y[1] == 1.0f);
}

TEST_CASE("an attention's shape is taken at its bounds, and beyond them the bound is named") {
  const auto outcome = [](AttentionShape shape) { return said(shape.check()); };
  const AttentionShape good{.hidden_size = 1, .num_heads = 1, .num_kv_heads = 1, .head_dim = 2};
  CHECK(good.norm_epsilon == 1e-6f);
  CHECK(outcome(good) == "ok");
  const auto with = [&](auto change) {
    AttentionShape shape = good;
    change(shape);
    return outcome(shape);
  };
  CHECK(with([](AttentionShape& s) { s.hidden_size = 0; }) == "usage: hidden_size, at least (got 0, allowed 1)");
  CHECK(with([](AttentionShape& s) { s.num_heads = 0; }) == "usage: attention heads, at least (got 0, allowed 1)");
  CHECK(with([](AttentionShape& s) { s.num_kv_heads = 0; }) == "usage: KV heads, at least (got 0, allowed 1)");
  CHECK(with([](AttentionShape& s) {
          s.num_heads = 5;
          s.num_kv_heads = 3;
        }) == "usage: attention heads left over by KV heads (got 2, allowed 0)");
  CHECK(with([](AttentionShape& s) { s.head_dim = 0; }) == "usage: head_dim, even and at least (got 0, allowed 2)");
  CHECK(with([](AttentionShape& s) { s.head_dim = 1; }) == "usage: head_dim, even and at least (got 1, allowed 2)");
  CHECK(with([](AttentionShape& s) { s.head_dim = 5; }) == "usage: head_dim, even and at least (got 5, allowed 2)");
  CHECK(with([](AttentionShape& s) { s.hidden_size = 1 << 20; }) == "ok");
  CHECK(with([](AttentionShape& s) { s.hidden_size = (1 << 20) + 1; }) ==
        "usage: hidden_size (got 1048577, allowed 1048576)");
  CHECK(with([](AttentionShape& s) { s.num_heads = 1 << 19; }) == "ok");
  CHECK(with([](AttentionShape& s) {
          s.num_heads = 1 << 19;
          s.head_dim = 4;
        }) == "usage: attention heads times head_dim (got 2097152, allowed 1048576)");
}

TEST_CASE("an attention counts the bytes of all its weights") {
  const AttentionShape plain{.hidden_size = 16, .num_heads = 4, .num_kv_heads = 2, .head_dim = 8};
  AttentionShape all = plain;
  all.has_bias = true;
  all.qk_norm = true;
  const std::int64_t matrices = GroupedQueryAttention<F32>(plain).weight_bytes();
  CHECK(matrices == (64 * 16 + 16 * 32) * 4);  // in whole panels
  CHECK(GroupedQueryAttention<F32>(all).weight_bytes() == matrices + (64 + 16 + 8 + 8) * 4);
  CHECK(GroupedQueryAttention<Bf16>(plain).weight_bytes() == matrices / 2);
}

TEST_CASE("the first of several bad rows is named, of every pass") {
  const AttentionShape shape = shapes[3];
  const auto attention = Reference(shape, 1).packed<F32>();
  std::vector<float> x(6 * 5, 0.5f);
  for (const index_t row : {4, 2, 5}) x[as_size(row * 5 + 1)] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> angles(6, 0.5f);
  std::vector<float> y(x.size());
  for (const index_t threads : {1, 2, 5}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    KvCache cache = attention.make_cache(9);
    const ConstRows turned(angles.data(), 6, 1);
    CHECK(said(attention.forward({{x.data(), 6, 5}, 3, turned, turned}, cache, {y.data(), 6, 5}, ctx)) ==
          "numeric: attention score is not finite, token 2");
  }
}
