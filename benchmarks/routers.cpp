// What each router costs on the same tokens: 64 experts, 8 per token where the policy takes a number, hidden size 2048,
// one thread, 512 tokens together and one alone. The table of the README is this program's output.
//   bench_routers
// The fastest of many rounds counts; a round of each size takes about 2 ms or one call.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <limits>
#include <random>
#include <vector>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/stages/top_p.hpp"
#include "headgate/routing/topk_softmax.hpp"

namespace {

using namespace headgate;

constexpr index_t num_experts = 64;
constexpr index_t hidden_size = 2048;
constexpr index_t k = 8;

std::vector<float> normal_floats(std::int64_t n, float deviation, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(at(n));
  for (float& value : values) value = normal(generator);
  return values;
}

template <class F>
double nanoseconds(int calls, F&& call) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) call();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / calls;
}

template <Router R>
double per_token(const R& router, ConstRows hidden, RoutingPlan& plan) {
  Context ctx;
  typename R::State state;
  const auto route = [&] { throw_if_error(router.route({.hidden = hidden}, state, plan, ctx)); };
  route();  // makes the scratch memory
  const int calls = static_cast<int>(1 + 2e6 / nanoseconds(3, route));
  double fastest = std::numeric_limits<double>::infinity();
  for (int round = 0; round < 40; ++round) fastest = std::min(fastest, nanoseconds(calls, route));
  return fastest / hidden.rows;
}

template <Router R>
void measure(const char* name, Expected<R> router, ConstRows hidden) {
  RoutingPlan plan;
  const double alone = per_token(router.value(), hidden.middle_rows(0, 1), plan);
  const double together = per_token(router.value(), hidden, plan);
  std::printf("%-28s %10.0f %10.0f %10.2f\n", name, together, alone, static_cast<double>(plan.entries()) / hidden.rows);
}

}  // namespace

int main() {
  const std::vector<float> gate = normal_floats(std::int64_t{num_experts} * hidden_size, 0.02f, 1);
  const std::vector<float> tokens = normal_floats(std::int64_t{512} * hidden_size, 1.0f, 2);
  const GateWeights weights = {.gate = {gate.data(), num_experts, hidden_size}};
  const ConstRows hidden(tokens.data(), 512, hidden_size);

  std::printf("%d experts, hidden size %d, kernels %s, one thread\n", num_experts, hidden_size, NativeBackend::name());
  std::printf("%-28s %10s %10s %10s\n", "ns/token", "of 512", "alone", "experts");
  measure("switch_router", switch_router<>(weights), hidden);
  measure("mixtral_router", mixtral_router<>(weights, k), hidden);
  measure("olmoe_router", olmoe_router<>(weights, k), hidden);
  measure("qwen2_moe_router", qwen2_moe_router<>(weights, k), hidden);
  measure("qwen3_moe_router", qwen3_moe_router<>(weights, k), hidden);
  measure("granite_router", granite_router<>(weights, k), hidden);
  using SigmoidTopK = StagedRouter<SigmoidScore, TopK, Renormalize>;
  measure("SigmoidScore, TopK", SigmoidTopK::create(weights, TopK{k}, Renormalize{}), hidden);
  using SoftmaxTopP = StagedRouter<SoftmaxScore, TopP, Keep>;
  measure("SoftmaxScore, TopP{0.4}", SoftmaxTopP::create(weights, TopP{0.4f}, Keep{}), hidden);
}
