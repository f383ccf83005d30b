// PolicyParameters: what the policies of analysis/policies.hpp make their routers from, the same for all: a gate, its
// biases, k.
#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "headgate/routing/staged_router.hpp"

namespace headgate::inline HEADGATE_ABI {

// n floats, uniform in [-scale, scale), the same on every machine and standard library.
inline std::vector<float> uniform_floats(std::int64_t n, float scale, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<float> values(as_size(n));
  for (float& value : values) value = scale * (static_cast<float>(rng() >> 8) * 0x1p-23f - 1.0f);
  return values;
}

// What routers are made from. Whatever belongs to one expert stands in its row or place. Parts that only some policies
// have, and that are not here, are random (null experts, recurrent cell, two-layer gate).
struct PolicyParameters {
  // All of them random.
  PolicyParameters(index_t experts, index_t hidden, index_t chosen, unsigned seed)
      : num_experts(experts),
        hidden_size(hidden),
        k(chosen),
        gate(uniform_floats(std::int64_t{experts} * hidden, 0.5f, seed)),
        gate_bias(uniform_floats(experts, 0.5f, seed + 1)),
        selection_bias(uniform_floats(experts, 0.3f, seed + 2)),
        gain(selection_bias) {}
  // Of a gate (experts, hidden): no biases, gains of 1.
  PolicyParameters(ConstRows of_gate, index_t chosen) : PolicyParameters(of_gate.rows, of_gate.cols, chosen, 0) {
    for (index_t e = 0; e < num_experts; ++e) {
      for (index_t j = 0; j < hidden_size; ++j)
        gate[as_size(std::int64_t{e} * hidden_size + j)] = of_gate.row_data(e)[j];
    }
    gate_bias.assign(as_size(num_experts), 0.0f);
    selection_bias.assign(as_size(num_experts), 0.0f);
    gain.assign(as_size(num_experts), 1.0f);
    double squares = 0;
    for (const float w : gate) squares += static_cast<double>(w) * static_cast<double>(w);
    gate_bound = static_cast<float>(std::sqrt(3.0 * squares / static_cast<double>(gate.size())));
  }

  index_t num_experts;
  index_t hidden_size;
  index_t k;
  std::vector<float> gate;            // (num_experts, hidden_size)
  std::vector<float> gate_bias;       // (num_experts)
  std::vector<float> selection_bias;  // (num_experts)
  std::vector<float> gain;            // (num_experts), of routers that normalise scores
  float gate_bound = 0.5f;            // uniform numbers below it are as large as the gate's
  float null_bias = 0.0f;             // added to the logits of null experts

  GateWeights plain() const { return {.gate = {gate.data(), num_experts, hidden_size}, .gate_bias = gate_bias}; }
  GateWeights biased() const {
    GateWeights weights = plain();
    weights.selection_bias = selection_bias;
    return weights;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
