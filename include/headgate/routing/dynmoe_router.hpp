// DynMoE, "top-any" (Guo et al. 2024, arXiv 2405.14297, section 3.1): each expert has a threshold of its own,
// and a token takes all that it comes close enough to:
//   s = sigmoid(scale cos(x, c_e)), theta_e = sigmoid(scale g_e), scale = exp(min(tau, ln 100))
//   A = all e with s_e > theta_e; where there is none, the one with the largest s;  w_e = 1 / |A|
// experts_mask says which of the prototypes are experts at present: they come and go while it trains, and so may here.
// Follows GAMoEGateT and topanygating_opt of DynMoE's DeepSpeed in evaluation mode, of which golden vectors come. There
// chosen experts have no order; here they stand by s_e - theta_e, which a call's k cuts. Scaling x changes nothing.
#pragma once

#include <cmath>
#include <vector>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/cosine_gate.hpp"
#include "headgate/routing/gated_router.hpp"
#include "headgate/routing/stages/positive.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Backend = NativeBackend>
using DynMoeRouter = GatedRouter<CosineGate<Backend>, SigmoidScore, Positive, EqualShares, Backend>;

struct DynMoeWeights {
  ConstRows prototypes;                     // c (num_experts, hidden_size); the module's sim_matrix is its transpose
  std::span<const float> thresholds;        // g (num_experts), gates
  std::span<const std::uint8_t> mask = {};  // (num_experts) experts_mask, 0: no expert now; empty: all are
  float temperature = 0.0f;                 // tau
};

// Table of routers: dynmoe_router | every expert whose cosine is above its own threshold, at least one |
//   Guo et al. 2024, 2405.14297
template <class Backend = NativeBackend>
Expected<DynMoeRouter<Backend>> dynmoe_router(const DynMoeWeights& weights) {
  Expected<CosineGate<Backend>> gate =
      CosineGate<Backend>::create({.prototypes = weights.prototypes, .temperature = weights.temperature});
  if (!gate) return gate.error();
  const auto size = static_cast<std::int64_t>(weights.thresholds.size());
  if (size != weights.prototypes.rows) {
    return Status::mismatch("thresholds of a router against experts", size, weights.prototypes.rows);
  }
  std::vector<float> bias;  // s + bias > 0 where s > theta
  for (const float g : weights.thresholds) {
    if (!std::isfinite(g)) {
      return Status::not_finite("threshold is not finite", -1, -1, static_cast<ExpertId>(bias.size()));
    }
    bias.push_back(-1.0f / (1.0f + std::exp(-gate.value().scale() * g)));
  }
  return DynMoeRouter<Backend>::create(std::move(gate), Positive{.or_best = true}, EqualShares{}, SigmoidScore{}, bias,
                                       weights.mask);
}

}  // namespace headgate::inline HEADGATE_ABI
