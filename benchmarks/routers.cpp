// What each router policy costs on the same tokens, one thread: 64 experts, 8 per token where the policy takes a
// number, hidden size 2048, 512 tokens together and one alone. The policies are those of
// headgate/analysis/policies.hpp: one added there appears here; each is called as AnyRouter, a virtual call a batch.
// The table in benchmarks/README.md is this program's output.
//   bench_routers [TEXT]     only policies whose name holds TEXT
// The fastest of many rounds counts; a round of each size takes about 2 ms or one call. The ratio is to plain top-k
// softmax (Mixtral's) measured in turns with the policy. A recurrent or two-layer gate multiplies more than a linear
// one, and that is part of its time: RMoE's projects 2048 to 128 and has 128 x 768 weights in its cell, MoE++'s
// projects 2048 to 512.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <limits>
#include <string_view>
#include <vector>

#include "headgate/analysis/policies.hpp"
#include "headgate/kernels/native.hpp"

namespace {

using namespace headgate;

constexpr index_t num_experts = 64;
constexpr index_t hidden_size = 2048;
constexpr index_t k = 8;
constexpr index_t tokens = 512;

// Calls of one router on the same rows, timed a round at a time.
class Timed {
 public:
  Timed(const AnyRouter& router, ConstRows hidden, std::span<const std::int32_t> token_ids)
      : router_(router), hidden_(hidden), token_ids_(token_ids.first(as_size(hidden.rows))) {
    route();  // makes the scratch memory
    calls_ = static_cast<int>(1 + 2e6 / std::max(round_of(3), 1.0));
  }
  void round() { fastest_ = std::min(fastest_, round_of(calls_)); }
  double per_token() const { return fastest_ / hidden_.rows; }
  const RoutingPlan& plan() const { return plan_; }

 private:
  void route() {
    state_.reset(hidden_.rows);
    throw_if_error(router_.route({.hidden = hidden_, .token_ids = token_ids_}, state_, plan_, ctx_));
  }
  // Nanoseconds of one call.
  double round_of(int calls) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) route();
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / calls;
  }

  const AnyRouter& router_;
  ConstRows hidden_;
  std::span<const std::int32_t> token_ids_;
  Context ctx_;
  AnyRouter::State state_;
  RoutingPlan plan_;
  int calls_ = 1;
  double fastest_ = std::numeric_limits<double>::infinity();
};

}  // namespace

int main(int argc, char** argv) {
  const std::string_view wanted = argc > 1 ? argv[1] : "";
  const std::vector<float> gate = uniform_floats(std::int64_t{num_experts} * hidden_size, 0.035f, 1);
  const std::vector<float> values = uniform_floats(std::int64_t{tokens} * hidden_size, 1.73f, 2);
  const PolicyParameters parameters(ConstRows(gate.data(), num_experts, hidden_size), k);
  const ConstRows hidden(values.data(), tokens, hidden_size);
  std::vector<std::int32_t> token_ids;
  for (index_t t = 0; t < tokens; ++t) token_ids.push_back(t * 37 % hidden_size);
  const AnyRouter plain = mixtral_router(parameters.plain(), k).value();

  std::printf("%d experts, hidden size %d, kernels %s, one thread\n", num_experts, hidden_size, NativeBackend::name());
  std::printf("%-32s %10s %9s %10s %9s %9s\n", "ns/token", "of 512", "of top-k", "alone", "of top-k", "mean k");
  for (const Policy& policy : all_policies()) {
    if (policy.name.find(wanted) == std::string::npos) continue;
    const AnyRouter router = policy.make(parameters);
    Timed together(router, hidden, token_ids);
    Timed alone(router, hidden.middle_rows(0, 1), token_ids);
    Timed plain_together(plain, hidden, token_ids);
    Timed plain_alone(plain, hidden.middle_rows(0, 1), token_ids);
    for (int round = 0; round < 30; ++round) {
      together.round();
      plain_together.round();
      alone.round();
      plain_alone.round();
    }
    std::printf("%-32s %10.0f %9.2f %10.0f %9.2f %9.2f\n", policy.name.c_str(), together.per_token(),
                together.per_token() / plain_together.per_token(), alone.per_token(),
                alone.per_token() / plain_alone.per_token(),
                static_cast<double>(together.plan().entries()) / static_cast<double>(tokens));
  }
}
