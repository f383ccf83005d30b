// BlockFFN (Song et al. 2025, arXiv 2507.08771, section 3.1): a ReLU gate, RMS-normalised over all E experts, zeros
// included:
//   a = max(W x, 0);  w_e = g_e a_e / sqrt(mean_j a_j^2 + eps);  active where a_e > 0
// g is router_norm.weight (E), eps rms_norm_eps. Weights do not change when x is scaled; g may be negative, and so then
// are weights. Follows the Hugging Face module with norm_after_router "rms", as the released models have it; its sparse
// kernels leave out experts with w_e <= 0, its dense path does not, nor does this.
#pragma once

#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/relu_router.hpp"

namespace headgate::inline HEADGATE_ABI {

// a_e / sqrt(mean_j a_j^2 + eps): positive where the logit is.
struct ReluRmsScore {
  float eps;

  static constexpr RowSum sum = RowSum::free;
  static constexpr bool never_negative = true;
  static constexpr bool takes_minus_inf = false;  // the mean is over all experts
  template <class Backend>
  void apply(std::span<float> row) const noexcept {
    ReluScore{}.template apply<Backend>(row);
    const auto n = static_cast<index_t>(row.size());
    const float mean = Backend::dot(row.data(), row.data(), n) / static_cast<float>(n);
    const float factor = 1.0f / std::sqrt(mean + eps);
    for (float& s : row) s *= factor;
  }
};

// w_e = g_e s_e
struct Gain {
  std::vector<float> gain;  // (num_experts)

  static constexpr bool needs_nonnegative_scores = false;
  static constexpr bool never_negative(bool /*scores*/) noexcept { return false; }
  WeightSum sum(WeightSum /*scores*/) const noexcept { return {RowSum::free}; }
  Status check() const noexcept {
    for (ExpertId e = 0; as_size(e) < gain.size(); ++e) {
      if (!std::isfinite(gain[as_size(e)])) return Status::not_finite("gain of an expert is not finite", -1, -1, e);
    }
    return Status::success();
  }
  template <class Backend>
  index_t apply(std::span<ExpertId> experts, std::span<float> weights) const noexcept {
    for (std::size_t i = 0; i < experts.size(); ++i) weights[i] *= gain[as_size(experts[i])];
    return static_cast<index_t>(experts.size());
  }
};
static_assert(ScoreStage<ReluRmsScore> && WeighStage<Gain>);

// Table of routers: BlockFfnRouter, block_ffn_router | ReLU, then RMSNorm over all experts |
//   Song et al. 2025, 2507.08771
template <class Backend = NativeBackend>
using BlockFfnRouter = StagedRouter<ReluRmsScore, Positive, Gain, Backend>;

template <class Backend = NativeBackend>
Expected<BlockFfnRouter<Backend>> block_ffn_router(const GateWeights& weights, std::span<const float> gain, float eps) {
  if (!(eps >= 0.0f && std::isfinite(eps)))
    return Status{ErrorCode::usage, "eps of a router's norm is negative or not finite"};
  const auto size = static_cast<std::int64_t>(gain.size());
  if (size != weights.gate.rows)
    return Status::mismatch("size of router_norm against experts", size, weights.gate.rows);
  return BlockFfnRouter<Backend>::create(weights, Positive{}, Gain{std::vector(gain.begin(), gain.end())},
                                         ReluRmsScore{eps});
}

}  // namespace headgate::inline HEADGATE_ABI
