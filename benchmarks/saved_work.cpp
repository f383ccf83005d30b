// What adaptive policies save, as time: a Mixture-of-Experts layer with null experts whose logits rise, and one step of
// causal attention over a long text, dense and bi-level. One thread; the variants are run in turns, the median counts.
//   bench_saved_work [--quick]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "headgate/attention/bilevel_causal_attention.hpp"
#include "headgate/attention/gqa.hpp"
#include "headgate/headgate.hpp"

namespace {

using namespace headgate;

std::vector<float> random_floats(std::int64_t n, float scale, unsigned seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(as_size(n));
  for (float& value : values) value = normal(rng);
  return values;
}

// Median milliseconds of each, run in turns.
std::vector<double> medians(const std::vector<std::function<void()>>& works, int rounds) {
  std::vector<std::vector<double>> times(works.size());
  for (int round = -1; round < rounds; ++round) {
    for (std::size_t i = 0; i < works.size(); ++i) {
      const auto start = std::chrono::steady_clock::now();
      works[i]();
      const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
      if (round >= 0) times[i].push_back(taken.count());
    }
  }
  std::vector<double> result;
  for (std::vector<double>& t : times) {
    std::nth_element(t.begin(), t.begin() + static_cast<std::ptrdiff_t>(t.size() / 2), t.end());
    result.push_back(t[t.size() / 2]);
  }
  return result;
}

// The null experts' rows of the gate are the true ones' moved along a direction that every token has.
void null_experts(int rounds) {
  constexpr index_t hidden = 1024, ffn = 512, experts = 32, nulls = 32, k = 8, tokens = 256;
  GluExperts<F32> bank(GluShape{.num_experts = experts, .hidden_size = hidden, .ffn_size = ffn});
  const std::vector<float> row = random_floats(std::max(hidden, ffn), 0.03f, 1);
  for (ExpertId e = 0; e < experts; ++e) {
    for (index_t r = 0; r < ffn; ++r) {
      bank.set_gate_row(e, r, row.data());
      bank.set_up_row(e, r, row.data());
    }
    for (index_t r = 0; r < hidden; ++r) bank.set_down_row(e, r, row.data());
  }
  std::vector<float> x = random_floats(std::int64_t{tokens} * hidden, 1.0f, 2);
  for (index_t t = 0; t < tokens; ++t) x[as_size(std::int64_t{t} * hidden)] = 1.0f;

  using R = NullExpertRouter<SoftmaxScore, TopK, Renormalize>;
  std::vector<R> routers;
  for (const float raised : {-100.0f, -1.0f, 0.0f, 1.0f, 100.0f}) {
    std::vector<float> gate = random_floats(std::int64_t{experts + nulls} * hidden, 0.03f, 3);
    for (index_t e = experts; e < experts + nulls; ++e) gate[as_size(std::int64_t{e} * hidden)] = raised;
    routers.push_back(adamoe_router({.gate = {gate.data(), experts + nulls, hidden}}, nulls, k).value());
  }
  std::vector<RoutingPlan> plans(routers.size());
  std::vector<float> y(x.size());
  Context ctx;
  std::vector<std::function<void()>> works;
  for (std::size_t i = 0; i < routers.size(); ++i) {
    works.push_back([&, i] {
      NoState state;
      const ConstRows rows(x.data(), tokens, hidden);
      throw_if_error(routers[i].route({.hidden = rows}, state, plans[i], ctx));
      throw_if_error(bank.apply(plans[i], rows, {y.data(), tokens, hidden}, ctx));
    });
  }
  const std::vector<double> ms = medians(works, rounds);
  std::printf("null experts: %d tokens, %d + %d experts of %d x %d, f32, top %d\n", tokens, experts, nulls, hidden, ffn,
              k);
  std::printf("  true experts per token   FFN rows   layer ms   of the first\n");
  for (std::size_t i = 0; i < routers.size(); ++i) {
    NullExpertCount count(k);
    count.add(plans[i]);
    std::printf("  %22.2f %10lld %10.3f %13.2f\n", count.true_experts_per_token(),
                static_cast<long long>(count.ffn_rows()), ms[i], ms[i] / ms[0]);
  }
}

void bilevel_attention(int rounds) {
  const GqaShape shape{
      .hidden_size = 512, .num_heads = 8, .num_kv_heads = 2, .head_dim = 64, .scale = GqaShape::default_scale(64)};
  constexpr index_t size = 64, regions = 4;
  const GroupedQueryAttention<F32> dense(shape, nullptr);
  const auto bilevel = BilevelCausalAttention<F32>::create({shape, size, regions}, nullptr).value();
  std::printf("one step of causal attention: %d heads on %d of %d, f32; bi-level: %d regions of %d\n", shape.num_heads,
              shape.num_kv_heads, shape.head_dim, regions, size);
  std::printf("  positions   read: dense   bi-level   ms: dense   bi-level   ratio\n");
  for (const index_t position : {255, 1023, 4095, 16383}) {
    KvCache dense_cache = dense.make_state({position + 1, 1, 0});
    RegionCache region_cache = bilevel.make_state({position + 1, 1, 0});
    const std::vector<float> key = random_floats(shape.head_dim, 1.0f, 4);
    for (index_t p = 0; p < position; ++p) {
      for (index_t h = 0; h < shape.num_kv_heads; ++h) {
        dense_cache.store(p, h, key.data(), key.data());
        region_cache.store(p, h, key.data(), key.data());
      }
    }
    Context ctx;
    dense_cache.append(position);
    region_cache.append(position, ctx);
    const std::vector<float> x = random_floats(shape.hidden_size, 1.0f, 5);
    std::vector<float> y(x.size());
    const SequenceRows text{1, position};
    const MixerInput in{{x.data(), 1, shape.hidden_size}, {&text, 1}, {}, {}};
    const Rows out(y.data(), 1, shape.hidden_size);
    const auto step = [&](const auto& attention, auto& cache) {
      cache.truncate(position);
      auto* const state = &cache;
      throw_if_error(attention.forward(in, {&state, 1}, out, ctx));
    };
    const std::vector<double> ms =
        medians({[&] { step(dense, dense_cache); }, [&] { step(bilevel, region_cache); }}, 10 * rounds);
    std::printf("  %9d %13d %10d %11.4f %10.4f %7.2f\n", position + 1, position + 1, bilevel.positions_read(position),
                ms[0], ms[1], ms[1] / ms[0]);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 && std::strcmp(argv[1], "--quick") == 0 ? 5 : 25;
  null_experts(rounds);
  bilevel_attention(rounds);
}
