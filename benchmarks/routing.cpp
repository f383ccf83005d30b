// What routing costs beside the product that makes its logits: softmax, the k best, divided by their sum (Mixtral,
// Qwen3-MoE), hidden size 2048, on one thread and, with an argument, on so many.
//   bench_routing [threads]
// Both are measured in turn, round by round, so that a slow moment of the machine meets both; the fastest round counts.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <vector>

#include "headgate/core/thread_pool.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/routing/topk_softmax.hpp"

namespace {

using namespace headgate;

std::vector<float> random_floats(std::int64_t n, std::mt19937& rng) {
  std::vector<float> values(at(n));
  for (float& value : values) value = static_cast<float>(rng() >> 8) * 0x1p-23f - 1.0f;
  return values;
}

// Nanoseconds of one call, averaged over so many calls.
template <class F>
double nanoseconds(int calls, F&& call) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) call();
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  return took.count() / calls;
}

void measure(index_t num_experts, index_t k, index_t tokens, ExecutorRef threads) {
  constexpr index_t hidden_size = 2048;
  std::mt19937 rng(1);
  const std::vector<float> gate = random_floats(std::int64_t{num_experts} * hidden_size, rng);
  const std::vector<float> x = random_floats(std::int64_t{tokens} * hidden_size, rng);
  std::vector<float> logits(at(std::int64_t{tokens} * num_experts));
  const ConstRows weights(gate.data(), num_experts, hidden_size);
  const ConstRows hidden(x.data(), tokens, hidden_size);
  const TopKSoftmax router({.gate = weights}, TopK{k}, Renormalize{});
  const Panel16<F32> packed(weights);
  Context ctx(threads);
  NoState state;
  RoutingPlan plan;
  const auto route = [&] { throw_if_error(router.route({.hidden = hidden}, state, plan, ctx)); };
  const auto multiply = [&] { product(packed.view(), hidden, Rows(logits.data(), tokens, num_experts), ctx); };

  route();                                                              // warms up
  const int calls = static_cast<int>(1 + 2e6 / nanoseconds(3, route));  // rounds of 2 ms or of one call
  double routing = std::numeric_limits<double>::infinity();
  double product_alone = routing;
  for (int round = 0; round < 60; ++round) {
    routing = std::min(routing, nanoseconds(calls, route));
    product_alone = std::min(product_alone, nanoseconds(calls, multiply));
  }
  std::printf("%8d %4d %6d %12.0f %12.0f %9.0f %7.3f\n", num_experts, k, tokens, routing / tokens,
              product_alone / tokens, (routing - product_alone) / tokens, routing / product_alone);
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  if (threads < 1) {
    std::fprintf(stderr, "usage: bench_routing [threads]\n");
    return 2;
  }
  headgate::ThreadPool pool(threads);
  std::printf("softmax top-k over %s, hidden 2048, threads %d; ns/token\n", headgate::NativeBackend::name(),
              pool.size());
  std::printf("%8s %4s %6s %12s %12s %9s %7s\n", "experts", "k", "tokens", "routing", "product", "rest", "ratio");
  for (const int experts : {8, 64, 256}) {
    for (const int k : {2, 8}) {
      for (const int tokens : {1, 512}) measure(experts, k, tokens, pool);
    }
  }
  return 0;
}
