// SparseMixer in evaluation mode (Liu et al. 2024, "GRIN: GRadient-INformed MoE", arXiv 2409.12136): GRIN, Phi-3.5-MoE,
// Phi-mini and Phi-tiny-MoE. z = W x are the logits of a token, a_1, a_2 the two largest in their order:
//   w_i = exp(z_{a_i}) / sum of exp(z_e) over the e not in {a_1 ... a_{i-1}} with
//         (z_{a_i} - z_e) / max(|z_e|, z_{a_i}) <= 2 jitter
// So each is weighed against those that come near it, mostly none: weights are 1 then, and they add up to 2 rather than
// 1. jitter (router_jitter_noise, 0.01) is no noise here. Follows transformers' sparsemixer, of which golden vectors
// come; llama.cpp (softmax, divided by the sum) and mlx-lm (softmax over both) compute other functions. Differs: ties
// go to the lower id, and k may be any, each next expert weighed by the same rule; the models have 2.
#pragma once

#include <algorithm>
#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/staged_router.hpp"
#include "headgate/routing/stages/top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

struct SoftmaxOfRivals {
  float jitter;

  static constexpr bool needs_nonnegative_scores = false;
  static constexpr bool never_negative(bool /*scores*/) noexcept { return true; }
  WeightSum sum(WeightSum /*scores*/) const noexcept { return {RowSum::free}; }
  Status check() const noexcept {
    if (!(jitter >= 0.0f && std::isfinite(jitter))) {
      return {ErrorCode::usage, "jitter of a sparse mixer is negative or not finite"};
    }
    return Status::success();
  }
  template <class Backend>
  index_t apply(std::span<ExpertId> experts, std::span<float> weights, std::span<const float> logits) const noexcept {
    for (std::size_t i = 0; i < experts.size(); ++i) {
      const float best = weights[i];
      float total = 0.0f;
      for (std::size_t e = 0; e < logits.size(); ++e) {
        const float z = logits[e];
        // Also where all three are 0 or z is -inf the quotient is not larger, being no number.
        if ((best - z) / std::max(std::abs(z), best) > 2.0f * jitter) continue;
        const auto earlier = experts.first(i);
        if (std::find(earlier.begin(), earlier.end(), static_cast<ExpertId>(e)) != earlier.end()) continue;
        total += std::exp(z - best);
      }
      weights[i] = 1.0f / total;
    }
    return static_cast<index_t>(experts.size());
  }
};
static_assert(WeighStage<SoftmaxOfRivals>);

template <class Backend = NativeBackend>
using SparseMixer = StagedRouter<IdentityScore, TopK, SoftmaxOfRivals, Backend>;

// Table of routers: sparse_mixer_router | the two best, each weighed against those near it |
//   Liu et al. 2024, 2409.12136
template <class Backend = NativeBackend>
Expected<SparseMixer<Backend>> sparse_mixer_router(const GateWeights& weights, float jitter, index_t k = 2) {
  return SparseMixer<Backend>::create(weights, TopK{k}, SoftmaxOfRivals{jitter});
}

}  // namespace headgate::inline HEADGATE_ABI
