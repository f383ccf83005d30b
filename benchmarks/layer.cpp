// The Mixture-of-Experts layer at the shapes of OLMoE-1B-7B and Granite-3.0-1B, one token and 512, against what the
// machine can read and multiply. Weights are cold: there are more of them than caches hold, and no token chooses an
// expert of the token before. Random weights; the router is the model's own.
#include <random>

#include "headgate/experts/glu_experts.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/bench.hpp"

using namespace headgate;

namespace {

struct Shape {
  const char* name;
  index_t hidden_size, ffn_size, num_experts, k;
};
constexpr Shape shapes[] = {{"OLMoE", 2048, 1024, 64, 8}, {"Granite-1B", 1024, 512, 32, 8}};
constexpr index_t prefill_tokens = 512;

std::vector<float> random_floats(std::int64_t count, float scale) {
  static std::mt19937 rng(1);
  std::vector<float> values(as_size(count));
  for (float& value : values) value = scale * (static_cast<float>(rng() >> 8) * 0x1p-23f - 1.0f);
  return values;
}

// A bank that costs nothing: what is left of a layer is routing and the layer's own work.
struct NoExperts {
  Shape shape;
  index_t num_experts() const noexcept { return shape.num_experts; }
  index_t hidden_size() const noexcept { return shape.hidden_size; }
  std::int64_t expert_bytes() const noexcept { return 0; }
  Status apply(const RoutingPlan&, ConstRows, Rows, Context&) const { return Status::success(); }
};

template <class Format>
GluExperts<Format> random_bank(const Shape& shape, Context& ctx) {
  GluExperts<Format> bank(GluShape{shape.num_experts, shape.hidden_size, shape.ffn_size});
  constexpr index_t variety = 1000;  // rows are windows into one random array
  const std::vector<float> source = random_floats(std::max(shape.hidden_size, shape.ffn_size) + variety, 0.05f);
  ctx.parallel(shape.num_experts, [&](index_t e) {
    const auto row = [&](index_t r) { return source.data() + (e * 37 + r) % variety; };
    for (index_t r = 0; r < shape.ffn_size; ++r) {
      bank.set_gate_row(e, r, row(r));
      bank.set_up_row(e, r, row(r + 11));
    }
    for (index_t r = 0; r < shape.hidden_size; ++r) bank.set_down_row(e, r, row(r + 23));
  });
  return bank;
}

using Router = SoftmaxTopK<Keep>;
template <class E>
using Layer = MoELayer<Router, E>;

// Rows such that no row chooses an expert of the row before.
std::vector<float> cold_rows(const Router& router, index_t count, Context& ctx) {
  std::vector<float> rows;
  RoutingPlan plan;
  NoState state;
  std::vector<char> last(as_size(router.num_experts()), 0);
  while (static_cast<std::int64_t>(rows.size()) < std::int64_t{count} * router.hidden_size()) {
    const std::vector<float> x = random_floats(router.hidden_size(), 1.0f);
    throw_if_error(router.route({.hidden = {x.data(), 1, router.hidden_size()}}, state, plan, ctx));
    bool fresh = true;
    for (const ExpertId e : plan.experts()) fresh = fresh && last[as_size(e)] == 0;
    if (!fresh) continue;
    rows.insert(rows.end(), x.begin(), x.end());
    last.assign(last.size(), 0);
    for (const ExpertId e : plan.experts()) last[as_size(e)] = 1;
  }
  return rows;
}

void print(const Shape& shape, const char* format, index_t tokens, const bench::Sample& sample, const char* unit,
           double work, double limit) {
  std::printf("%-10s %-4s T=%-3d  median %9.3f ms  best %9.3f ms  %6.1f %s, %3.0f %% of the limit (best %3.0f %%)\n",
              shape.name, format, static_cast<int>(tokens), sample.median * 1e3, sample.least * 1e3,
              work / sample.median * 1e-9, unit, 100.0 * work / sample.median / limit,
              100.0 * work / sample.least / limit);
}

template <class Format>
void run(const Shape& shape, const bench::Limits& limits, bool quick, Context& ctx) {
  const std::vector<float> gate = random_floats(std::int64_t{shape.num_experts} * shape.hidden_size, 0.05f);
  const GateWeights gate_weights{.gate = {gate.data(), shape.num_experts, shape.hidden_size}};
  std::vector<Layer<GluExperts<Format>>> layers;
  std::int64_t bytes = 0;
  while (bytes < std::int64_t{256} << 20) {
    layers.emplace_back(olmoe_router(gate_weights, shape.k).value(), random_bank<Format>(shape, ctx));
    bytes += layers.back().experts().bytes();
  }
  const index_t rows = 32;
  const std::vector<float> x = cold_rows(layers[0].router(), rows, ctx);
  const std::vector<float> many = random_floats(std::int64_t{prefill_tokens} * shape.hidden_size, 1.0f);
  std::vector<float> y(many.size());
  typename Layer<GluExperts<Format>>::State state;
  bench::Rotation layer(static_cast<index_t>(layers.size()));
  bench::Rotation row(rows);
  const auto forward = [&](const float* from, index_t tokens) {
    const RouterInput in{.hidden = {from, tokens, shape.hidden_size}};
    throw_if_error(layers[as_size(layer.next())].forward(in, state, {y.data(), tokens, shape.hidden_size}, ctx));
  };

  const std::vector<bench::Sample> one = bench::interleaved(
      quick ? 50 : 300, {[&] { forward(x.data() + std::int64_t{row.next()} * shape.hidden_size, 1); }});
  const double decode_bytes =
      static_cast<double>(shape.k * layers[0].experts().expert_bytes()) + 4.0 * static_cast<double>(gate.size());
  print(shape, Format::name(), 1, one[0], "GB/s", decode_bytes, limits.read_bytes);
  const std::vector<bench::Sample> all =
      bench::interleaved(quick ? 3 : 15, {[&] { forward(many.data(), prefill_tokens); }});
  const double flops = 6.0 * shape.hidden_size * shape.ffn_size * static_cast<double>(state.plan.entries());
  print(shape, Format::name(), prefill_tokens, all[0], "GFLOP/s", flops, limits.flops);

  // What a token costs beside its experts and the router's product.
  const Layer<NoExperts> bare(olmoe_router(gate_weights, shape.k).value(), NoExperts{shape});
  const Panel16<F32> packed(gate_weights.gate);
  Layer<NoExperts>::State bare_state;
  std::vector<float> logits(as_size(shape.num_experts));
  const ConstRows in(x.data(), 1, shape.hidden_size);
  const bench::Sample routed = bench::repeated(
      15, [&] { throw_if_error(bare.forward({.hidden = in}, bare_state, {y.data(), 1, shape.hidden_size}, ctx)); });
  const bench::Sample logits_only =
      bench::repeated(15, [&] { product(packed.view(), in, {logits.data(), 1, shape.num_experts}, ctx); });
  const double beside = routed.least - logits_only.least;
  std::printf("%-10s %-4s T=1    beside experts and logits: %.2f us, %.2f %% of the layer\n", shape.name,
              Format::name(), beside * 1e6, 100.0 * beside / one[0].median);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::options(argc, argv);
  ThreadPool pool(options.threads);
  Context ctx(pool);
  const bench::Limits limits = bench::header(pool, options.quick);
  for (const Shape& shape : shapes) {
    run<F32>(shape, limits, options.quick, ctx);
    run<Bf16>(shape, limits, options.quick, ctx);
  }
}
