// MoRA's router (Lu et al. 2025, "Little By Little: Continual Learning via Self-Activated Sparse Mixture-of-Rank
// Adaptive Learning", arXiv 2506.21035): each rank of a LoRA is an expert, and its own activation says how
// relevant it is. There is no gate matrix: the gate is A. Of one token, over all ranks i:
//   z_i = a_i . x;  s_i = z_i / sqrt(sum_j z_j^2), 0 where all are 0;  w_i = exp(s_i / tau) / sum_j exp(s_j / tau)
//   chosen: the k ("activation budget") largest s_i, of these the ones with s_i >= delta; w_i is not divided again
// To be put beside a projection as RoutedLinear with RankExperts, whose a() is the gate. Weights do not change when x
// is scaled by a positive number. Reconstructed from descriptions of the paper; its code was not to be had.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/staged_router.hpp"

namespace headgate::inline HEADGATE_ABI {

// Logits divided by the length of their row, which neither overflows nor vanishes.
struct UnitLengthScore {
  static constexpr RowSum sum = RowSum::free;
  static constexpr bool never_negative = false;
  static constexpr bool takes_minus_inf = false;  // the length is of all
  template <class Backend>
  void apply(std::span<float> row) const noexcept {
    float largest = 0.0f;
    for (const float z : row) largest = std::max(largest, std::abs(z));
    if (!(largest > 0.0f)) return;
    for (float& z : row) z /= largest;
    const float length = std::sqrt(Backend::dot(row.data(), row.data(), static_cast<index_t>(row.size())));
    for (float& z : row) z /= length;
  }
};

// The k best of those whose score reaches a threshold.
struct TopKAbove {
  index_t k;
  float at_least;  // -infinity: no threshold

  static constexpr bool needs_nonnegative_scores = false;
  Status check(index_t num_experts) const noexcept {
    if (std::isnan(at_least)) return {ErrorCode::usage, "threshold of a router's scores is no number"};
    if (k < 1) return Status::mismatch("k of top-k, at least", k, 1);
    if (k > num_experts) return Status::mismatch("k of top-k against experts", k, num_experts);
    return Status::success();
  }
  index_t min_k(index_t num_experts) const noexcept {
    return at_least > -std::numeric_limits<float>::infinity() ? 0 : max_k(num_experts);
  }
  index_t max_k(index_t num_experts) const noexcept { return k < num_experts ? k : num_experts; }
  TopKAbove with_k(index_t other) const noexcept { return {other, at_least}; }

  template <class Backend>
  index_t choose(std::span<const float> keys, std::span<const float> scores,
                 std::span<ExpertId> chosen) const noexcept {
    const index_t found = Backend::top_k(keys.data(), static_cast<index_t>(keys.size()), k, chosen.data());
    const auto below = [&](ExpertId e) { return scores[as_size(e)] < at_least; };
    return static_cast<index_t>(std::remove_if(chosen.begin(), chosen.begin() + found, below) - chosen.begin());
  }
};

// w_i = exp(s_i / temperature) over the sum of it for all experts, chosen or not.
struct SoftmaxOverAll {
  float temperature;

  static constexpr bool needs_nonnegative_scores = false;
  static constexpr bool never_negative(bool /*scores*/) noexcept { return true; }
  WeightSum sum(WeightSum /*scores*/) const noexcept { return {RowSum::free}; }  // of none, 0
  Status check() const noexcept {
    if (temperature > 0.0f && std::isfinite(temperature)) return Status::success();
    return {ErrorCode::usage, "temperature of a softmax is not positive or not finite"};
  }
  template <class Backend>
  index_t apply(std::span<ExpertId> experts, std::span<float> weights, std::span<const float> scores) const noexcept {
    float part[64];
    const float largest = Backend::max(scores.data(), static_cast<index_t>(scores.size())) / temperature;
    const auto exp_sum = [&](std::span<const float> from) {
      std::transform(from.begin(), from.end(), part, [&](float s) { return s / temperature; });
      return Backend::exp_sum(part, static_cast<index_t>(from.size()), largest);
    };
    float total = 0.0f;
    for (std::size_t i = 0; i < scores.size(); i += std::size(part)) {
      total += exp_sum(scores.subspan(i, std::min(std::size(part), scores.size() - i)));
    }
    for (std::size_t i = 0; i < weights.size(); i += std::size(part)) {
      const std::span<float> some = weights.subspan(i, std::min(std::size(part), weights.size() - i));
      exp_sum(some);
      for (std::size_t j = 0; j < some.size(); ++j) some[j] = part[j] / total;
    }
    return static_cast<index_t>(experts.size());
  }
};
static_assert(ScoreStage<UnitLengthScore> && SelectStage<TopKAbove> && WeighStage<SoftmaxOverAll>);

struct MoraSettings {
  index_t k = 0;                                             // ranks of a token, at most
  float temperature = 1.0f;                                  // tau
  float at_least = -std::numeric_limits<float>::infinity();  // delta, of s, which lies in [-1, 1]
};

// Table of routers: mora_router | ranks of a LoRA choose themselves by their activations | Lu et al. 2025, 2506.21035
template <class Backend = NativeBackend>
using MoraRouter = StagedRouter<UnitLengthScore, TopKAbove, SoftmaxOverAll, Backend>;

// a: (ranks, in_size), of all LoRAs one after the other; the router keeps a copy.
template <class Backend = NativeBackend>
Expected<MoraRouter<Backend>> mora_router(ConstRows a, const MoraSettings& settings) {
  return MoraRouter<Backend>::create({.gate = a}, TopKAbove{settings.k, settings.at_least},
                                     SoftmaxOverAll{settings.temperature});
}

}  // namespace headgate::inline HEADGATE_ABI
