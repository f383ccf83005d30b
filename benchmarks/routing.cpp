// What routing costs beside the product that makes its logits: softmax, the k best, divided by their sum (Mixtral,
// Qwen3-MoE), hidden size 2048. Both are measured in turn, so that a slow moment of the machine meets both; the fastest
// of the rounds counts.
//   bench_routing [--quick] [--threads N]
#include <cstdio>
#include <random>
#include <vector>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/bench.hpp"

namespace {

using namespace headgate;

std::vector<float> random_floats(std::int64_t n, std::mt19937& rng) {
  std::vector<float> values(as_size(n));
  for (float& value : values) value = static_cast<float>(rng() >> 8) * 0x1p-23f - 1.0f;
  return values;
}

void measure(index_t num_experts, index_t k, index_t tokens, int rounds, ExecutorRef threads) {
  constexpr index_t hidden_size = 2048;
  std::mt19937 rng(1);
  const std::vector<float> gate = random_floats(std::int64_t{num_experts} * hidden_size, rng);
  const std::vector<float> x = random_floats(std::int64_t{tokens} * hidden_size, rng);
  std::vector<float> logits(as_size(std::int64_t{tokens} * num_experts));
  const ConstRows weights(gate.data(), num_experts, hidden_size);
  const ConstRows hidden(x.data(), tokens, hidden_size);
  const TopKSoftmax router({.gate = weights}, TopK{k}, Renormalize{});
  const Panel16<F32> packed(weights);
  Context ctx(threads);
  NoState state;
  RoutingPlan plan;
  const auto route = [&] { throw_if_error(router.route({.hidden = hidden}, state, plan, ctx)); };
  const auto multiply = [&] { product(packed.view(), hidden, Rows(logits.data(), tokens, num_experts), ctx); };

  // A sample is one call, or so many that it lasts a millisecond or two.
  const int calls = 1 + static_cast<int>(2e-3 / bench::repeated(1, route).least);
  const auto often = [calls](const auto& work) {
    return [calls, &work] {
      for (int i = 0; i < calls; ++i) work();
    };
  };
  const std::vector<bench::Sample> samples = bench::interleaved(rounds, {often(route), often(multiply)});
  const double per_token = 1e9 / calls / tokens;
  const double routing = samples[0].least * per_token;
  const double product_alone = samples[1].least * per_token;
  std::printf("%8d %4d %6d %12.0f %12.0f %9.0f %7.3f\n", num_experts, k, tokens, routing, product_alone,
              routing - product_alone, routing / product_alone);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::options(argc, argv);
  ThreadPool pool(options.threads);
  std::printf("softmax top-k over %s, hidden 2048, threads %d; ns/token\n", NativeBackend::name(), pool.size());
  std::printf("%8s %4s %6s %12s %12s %9s %7s\n", "experts", "k", "tokens", "routing", "product", "rest", "ratio");
  for (const index_t num_experts : {8, 64, 256}) {
    for (const index_t k : {2, 8}) {
      for (const index_t tokens : {1, 512}) measure(num_experts, k, tokens, options.quick ? 8 : 60, pool);
    }
  }
  return 0;
}
