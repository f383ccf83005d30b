#include "headgate/attention/bilevel_causal_attention.hpp"

#include <algorithm>

#include "headgate/attention/gqa.hpp"
#include "headgate/attention/rope.hpp"
#include "headgate/kernels/native.hpp"
#include "support/catch.hpp"
#include "support/mixer_run.hpp"
#include "support/random.hpp"
#include "support/reference_attention.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

const GqaShape usual{.hidden_size = 20,
                     .num_heads = 6,
                     .num_kv_heads = 2,
                     .head_dim = 26,
                     .qk_norm = QkNorm::per_head,
                     .scale = GqaShape::default_scale(26)};
constexpr index_t tokens = 61;
constexpr double theta = 1e4;

std::shared_ptr<const Rope> rope_of(const GqaShape& shape) {
  return std::make_shared<const Rope>(Rope::create(theta, shape.head_dim).value());
}
std::vector<float> text_of(index_t rows, unsigned seed = 5) { return random_floats(as_size(rows * 20), 0.9f, seed); }

using Bilevel = BilevelCausalAttention<F32>;
ReferenceAttention reference_of(const GqaShape& shape) { return {shape, theta, shape.head_dim / 2, 1}; }
Bilevel make(index_t region_size, index_t regions, const GqaShape& shape = usual) {
  return reference_of(shape).fill(Bilevel::create({shape, region_size, regions}, rope_of(shape)).value());
}
std::vector<float> dense_of(const std::vector<float>& text) {
  return mixed(reference_of(usual).fill(GroupedQueryAttention<F32>(usual, rope_of(usual))), text, tokens);
}

}  // namespace

static_assert(Mixer<Bilevel>);

TEST_CASE("bi-level causal attention with as many regions as there are is causal attention, bit for bit") {
  const std::vector<float> text = text_of(tokens);
  const std::vector<float> dense = dense_of(text);
  for (const index_t region_size : {1, 7, 16, 64}) CHECK(mixed(make(region_size, 64), text, tokens) == dense);
  CHECK(mixed(make(7, 2), text, tokens) != dense);
}

TEST_CASE("a number of regions or positions beyond any text costs no memory and is causal attention") {
  constexpr index_t largest = std::numeric_limits<index_t>::max();
  const std::vector<float> text = text_of(tokens);
  const std::vector<float> dense = dense_of(text);
  CHECK(mixed(make(7, largest), text, tokens) == dense);
  CHECK(mixed(make(largest, 1), text, tokens) == dense);
  CHECK(mixed(make(largest, largest), text, 1, 2) == dense);
}

TEST_CASE("bi-level causal attention has the same bits in prefill, chunks and single steps, on any threads") {
  for (const auto& [region_size, regions] : {std::pair<index_t, index_t>{7, 2}, {16, 1}, {5, 3}}) {
    const Bilevel attention = make(region_size, regions);
    const std::vector<float> text = text_of(tokens);
    const std::vector<float> whole = mixed(attention, text, tokens);
    for (const index_t piece : {1, 2, 7, 32}) {
      for (const index_t threads : {1, 2, 3}) CHECK(mixed(attention, text, piece, threads) == whole);
    }
  }
}

TEST_CASE("regions of several chunks, in any cache, are the same however a text is cut, and all of them are the text") {
  const index_t length = 600;
  const std::vector<float> text = text_of(length);
  for (const CacheType type : {CacheType::f32, CacheType::f16, CacheType::q8_0}) {
    INFO(name_of(type));
    for (const auto& [region_size, regions] : {std::pair<index_t, index_t>{1, 200}, {7, 40}, {48, 5}, {300, 1}}) {
      const Bilevel attention = make(region_size, regions);
      CHECK(attention.holds(type));
      const std::vector<float> whole = mixed(attention, text, length, 1, 0, type);
      for (const index_t chunk : {1, 129}) CHECK(mixed(attention, text, chunk, 2, 0, type) == whole);
    }
    const GroupedQueryAttention<F32> all = reference_of(usual).fill(GroupedQueryAttention<F32>(usual, rope_of(usual)));
    const std::vector<float> causal = mixed(all, text, length, 1, 0, type);
    for (const index_t region_size : {1, 7, 256}) {
      CHECK(mixed(make(region_size, length), text, length, 1, 0, type) == causal);
    }
    CHECK((type == CacheType::f32) == (causal == mixed(all, text, length)));
  }
}

namespace {

void check_plain_loops(const GqaShape& shape, index_t region_size, index_t routed, index_t length) {
  const index_t d = shape.head_dim;
  const index_t group = shape.num_heads / shape.num_kv_heads;
  const Bilevel attention = make(region_size, routed, shape);
  const ReferenceAttention reference = reference_of(shape);
  const std::vector<float> x = text_of(length);
  std::vector<RegionCache> states;
  states.push_back(attention.make_state({length, length, 0}));
  Texts texts{x};
  Context ctx;
  throw_if_error(mix_next(attention, states, {length}, texts, ctx));
  const std::vector<float>& y = texts[0];
  const RegionCache& cache = states[0];

  // Queries come from the definition, keys and values from the cache, which other tests compare with formulas.
  const std::vector<float>& query_rows = reference.q;
  const std::vector<float>& output_rows = reference.o;
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
      for (index_t i = 0; i < d; ++i) q[as_size(h * d + i)] *= norm * double(reference.q_norm[as_size(i)]);
      for (index_t i = 0; i < d / 2; ++i) {
        const double angle = t * std::pow(1e4, -2.0 * i / d);
        const double low = q[as_size(h * d + i)];
        const double high = q[as_size(h * d + i + d / 2)];
        q[as_size(h * d + i)] = low * std::cos(angle) - high * std::sin(angle);
        q[as_size(h * d + i + d / 2)] = high * std::cos(angle) + low * std::sin(angle);
      }
    }
    const auto key = [&](index_t position, index_t h, index_t i) {
      return double(cache.kv().view(h / group).key(position, i));
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
        for (index_t i = 0; i < d; ++i) {
          mixed[as_size(h * d + i)] += weights[n] / total * double(cache.kv().view(h / group).value(positions[n], i));
        }
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
  GqaShape wide = usual;
  wide.num_heads = 12;
  wide.num_kv_heads = 1;
  wide.head_dim = 8;
  wide.norm_epsilon = 0.01f;
  wide.scale = GqaShape::default_scale(8);
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

TEST_CASE("texts of different lengths in one pass choose the regions that each chooses alone") {
  for (const auto& [region_size, regions] : {std::pair<index_t, index_t>{7, 2}, {16, 1}, {5, 3}}) {
    const Bilevel attention = make(region_size, regions);
    const std::vector<index_t> lengths{59, 2, 40};
    Texts texts, alone;
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      texts.push_back(text_of(lengths[s], static_cast<unsigned>(5 + s)));
      alone.push_back(mixed(attention, texts[s], lengths[s]));
    }
    for (const index_t threads : {1, 3}) {
      ThreadExecutor executor(threads);
      Context ctx(executor);
      Texts found = texts;
      std::vector<RegionCache> states;
      for (int s = 0; s < 3; ++s) states.push_back(attention.make_state({60, 60, 0}));
      throw_if_error(mix_next(attention, states, {57, 1, 0}, found, ctx));
      throw_if_error(mix_next(attention, states, {1, 1, 33}, found, ctx));
      throw_if_error(mix_next(attention, states, {1, 0, 7}, found, ctx));
      CHECK(found == alone);
    }
  }
}

TEST_CASE("bi-level causal attention goes on from a clone and from a truncated text") {
  const Bilevel attention = make(7, 2);
  const std::vector<float> text = text_of(tokens);
  const std::vector<float> whole = mixed(attention, text, tokens);
  Context ctx;
  std::vector<RegionCache> states;
  states.push_back(attention.make_state({64, 64, 0}));
  const auto forward_to = [&](index_t end) {
    Texts texts{text};
    const index_t first = states[0].position();
    throw_if_error(mix_next(attention, states, {end - first}, texts, ctx));
    CHECK(std::equal(texts[0].begin() + first * 20, texts[0].begin() + end * 20, whole.begin() + first * 20));
  };
  forward_to(40);
  RegionCache copy = states[0].clone();
  forward_to(tokens);
  states[0].truncate(31);
  forward_to(tokens);
  states[0].truncate(0);
  forward_to(tokens);
  states[0] = std::move(copy);
  CHECK(states[0].position() == 40);
  forward_to(50);
  forward_to(tokens);
}

TEST_CASE("bi-level causal attention names the first of several bad rows, wherever the pass starts") {
  const Bilevel attention = make(4, 1);
  for (const index_t threads : {1, 2, 7}) {
    for (const index_t first : {0, 6}) {
      ThreadExecutor executor(threads);
      Context ctx(executor);
      Texts texts{text_of(11), text_of(2)};
      texts[0][as_size((first + 3) * 20)] = std::numeric_limits<float>::quiet_NaN();
      texts[0][as_size((first + 1) * 20 + 19)] = std::numeric_limits<float>::quiet_NaN();
      std::vector<RegionCache> states;
      for (int s = 0; s < 2; ++s) states.push_back(attention.make_state({16, 16, 0}));
      throw_if_error(mix_next(attention, states, {first, 0}, texts, ctx));
      CHECK(said(mix_next(attention, states, {5, 2}, texts, ctx)) == "numeric: attention score is not finite, token 1");
    }
  }
}

TEST_CASE("bi-level causal attention says of its regions what is allowed, and of its input what fits") {
  const auto outcome = [](auto change) {
    BilevelCausalShape shape{usual, 1, 1};
    change(shape);
    return refused(Bilevel::create(shape, nullptr));
  };
  CHECK(outcome([](BilevelCausalShape&) {}) == "made");
  CHECK(outcome([](BilevelCausalShape& s) { s.region_size = 0; }) ==
        "positions of a region, at least (got 0, allowed 1)");
  CHECK(outcome([](BilevelCausalShape& s) { s.regions = 0; }) == "routed regions, at least (got 0, allowed 1)");
  CHECK(outcome([](BilevelCausalShape& s) { s.attention = {}; }) == "hidden_size, at least (got 0, allowed 1)");
  const char* const neither = "bi-level attention has neither a window nor sinks";
  CHECK(outcome([](BilevelCausalShape& s) { s.attention.window = 3; }) == neither);
  CHECK(outcome([](BilevelCausalShape& s) { s.attention.has_sinks = true; }) == neither);
  CHECK(refused(Bilevel::create({usual, 1, 1}, std::make_shared<const Rope>(Rope::create(1e4, 28).value()))) ==
        "half of the rotary width against half of head_dim (got 14, allowed 13)");

  const Bilevel attention = make(4, 1);
  Context ctx;
  Texts texts{text_of(5)};
  const auto forward = [&](RegionCache cache) {
    std::vector<RegionCache> states;
    states.push_back(std::move(cache));
    return said(mix_next(attention, states, {5}, texts, ctx));
  };
  CHECK(forward(attention.make_state({4, 4, 0})) ==
        "limit: positions against the size of the context (got 5, allowed 4), token 0");
  const char* const other = "usage: the state was made by an attention of another shape";
  CHECK(forward(make(3, 1).make_state({5, 5, 0})) == other);
  CHECK(forward(RegionCache({5, 5, 0}, 1, 26, 4)) == other);
  CHECK(forward(RegionCache({5, 5, 0}, 2, 24, 4)) == other);
}

TEST_CASE("bi-level causal attention holds and takes what its shape says") {
  for (const auto& [region_size, regions] : {std::pair<index_t, index_t>{7, 2}, {16, 1000}, {1000, 1}}) {
    const BilevelCausalShape shape{usual, region_size, regions};
    const Bilevel attention = make(region_size, regions);
    for (const StateSize& size : {StateSize{0, 1, 0}, {200, 64, 0}}) {
      CHECK(attention.make_state(size).bytes() == shape.state_bytes(size));
    }
    for (const index_t threads : {1, 3}) {
      ThreadExecutor executor(threads);
      Context ctx(executor);
      std::vector<RegionCache> states;
      Texts texts;
      for (int s = 0; s < 2; ++s) {
        states.push_back(attention.make_state({192, 64, 0}));
        texts.push_back(text_of(192));
      }
      for (int pass = 0; pass < 3; ++pass) throw_if_error(mix_next(attention, states, {64, 64}, texts, ctx));
      const std::int64_t bytes =
          4 * shape.scratch_floats({.rows = 128, .sequences = 2, .positions = 192, .threads = threads});
      CHECK(ctx.workspace.capacity() <= Workspace::held_for(as_size(bytes)));
      CHECK(static_cast<std::int64_t>(ctx.workspace.capacity()) * 4 >= bytes * 3);
    }
  }
}
