// A Mixture-of-Experts layer on generated weights: what one token costs, and how fast its weights are read.
// 64 experts of width 256 on a hidden size of 1024, 8 of them per token, in bfloat16: 100 MB, of which a token reads 12
// MB.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "headgate/headgate.hpp"

using headgate::as_size, headgate::index_t;
using Layer = headgate::MoELayer<headgate::TopKSoftmax, headgate::SwiGluExperts<headgate::Bf16>>;

// Numbers of about the size that trained weights have; from -scale to scale.
std::vector<float> generate(std::size_t count, float scale, std::uint32_t seed) {
  std::vector<float> values(count);
  for (float& value : values) {
    seed = seed * 1664525u + 1013904223u;
    value = scale * (static_cast<float>(seed >> 8) / 8388608.0f - 1.0f);
  }
  return values;
}

int main() {
  const headgate::GluShape shape = {.num_experts = 64, .hidden_size = 1024, .ffn_size = 256};
  const index_t k = 8;

  // Experts are filled one after another, so that a checkpoint never lies in memory twice.
  headgate::SwiGluExperts<headgate::Bf16> experts(shape);
  for (index_t e = 0; e < shape.num_experts; ++e) {
    const auto weights =
        generate(as_size(3 * shape.hidden_size * shape.ffn_size), 0.03f, static_cast<std::uint32_t>(e));
    const float* const first = weights.data();
    const index_t matrix = shape.hidden_size * shape.ffn_size;
    headgate::throw_if_error(experts.set_expert(e, {.gate = {first, shape.ffn_size, shape.hidden_size},
                                                    .up = {first + matrix, shape.ffn_size, shape.hidden_size},
                                                    .down = {first + 2 * matrix, shape.hidden_size, shape.ffn_size}}));
  }
  const auto gate = generate(as_size(shape.num_experts * shape.hidden_size), 0.1f, 100);
  const Layer layer(
      headgate::qwen3_moe_router({.gate = {gate.data(), shape.num_experts, shape.hidden_size}}, k).value(),
      std::move(experts));

  const index_t tokens = 32;
  const auto hidden = generate(as_size(tokens * shape.hidden_size), 1.0f, 200);
  std::vector<float> output(hidden.size());
  const headgate::ConstRows x(hidden.data(), tokens, shape.hidden_size);
  const headgate::Rows y(output.data(), tokens, shape.hidden_size);
  Layer::State state;
  headgate::Context context;  // on this thread; Context(pool) for more

  const auto seconds = [&](index_t rows_per_call) {
    const auto start = std::chrono::steady_clock::now();
    for (index_t t = 0; t < tokens; t += rows_per_call) {
      headgate::throw_if_error(
          layer.forward({.hidden = x.middle_rows(t, rows_per_call)}, state, y.middle_rows(t, rows_per_call), context));
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / tokens;
  };
  const double bytes = static_cast<double>(k * layer.experts().expert_bytes());
  seconds(tokens);  // the first call makes the scratch memory
  const double alone = seconds(1);
  const double together = seconds(tokens);
  std::printf("one token at a time: %.1f us per token, %.1f GB/s of weights read\n", alone * 1e6, bytes / alone * 1e-9);
  // Of bfloat16, a byte read in the one case is an operation computed in the other: two of each per weight.
  std::printf("%d tokens together:  %.1f us per token, %.1f GFLOP/s\n", tokens, together * 1e6,
              bytes / together * 1e-9);
  std::printf("first output: %.6f\n", static_cast<double>(output[0]));
}
