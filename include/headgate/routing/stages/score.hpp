// Score: what becomes of the logits z of one token before experts are chosen by them.
//   SoftmaxScore    s_e = exp(z_e) / sum_j exp(z_j)     Switch, GShard, Mixtral, OLMoE, Qwen, DeepSeek-V1/V2
//   SigmoidScore    s_e = 1 / (1 + exp(-z_e))           DeepSeek-V3, Moonlight, LFM2, MiniMax-M2
//   IdentityScore   s_e = z_e                           Shazeer 2017, Granite, gpt-oss, Llama 4: choose by logit
#pragma once

#include <concepts>
#include <span>

#include "headgate/kernels/kernel_backend.hpp"
#include "headgate/routing/router.hpp"

namespace headgate::inline HEADGATE_ABI {

// apply<Backend>(row) turns finite logits (num_experts) into scores in place. sum says what any chosen scores add up
// to; never_negative allows stages that add scores up; takes_minus_inf says that a logit of -inf leaves the other
// scores as they would be if its expert were not there (MaskMeaning::prune).
template <class S>
concept ScoreStage =
    std::is_copy_constructible_v<S> && std::is_copy_assignable_v<S> && requires(const S& score, std::span<float> row) {
      { S::sum } -> std::convertible_to<RowSum>;
      { S::never_negative } -> std::convertible_to<bool>;
      { S::takes_minus_inf } -> std::convertible_to<bool>;
      { score.template apply<NativeBackend>(row) } noexcept;
    };

struct SoftmaxScore {
  static constexpr RowSum sum = RowSum::at_most_one;
  static constexpr bool never_negative = true;
  static constexpr bool takes_minus_inf = true;
  template <class Backend>
  void apply(std::span<float> row) const noexcept {
    Backend::softmax(row.data(), static_cast<index_t>(row.size()));
  }
};

struct SigmoidScore {
  static constexpr RowSum sum = RowSum::free;
  static constexpr bool never_negative = true;
  static constexpr bool takes_minus_inf = true;
  template <class Backend>
  void apply(std::span<float> row) const noexcept {
    Backend::sigmoid(row.data(), static_cast<index_t>(row.size()));
  }
};

struct IdentityScore {
  static constexpr RowSum sum = RowSum::free;
  static constexpr bool never_negative = false;
  static constexpr bool takes_minus_inf = true;
  template <class Backend>
  void apply(std::span<float> /*row*/) const noexcept {}
};
static_assert(ScoreStage<SoftmaxScore> && ScoreStage<SigmoidScore> && ScoreStage<IdentityScore>);

}  // namespace headgate::inline HEADGATE_ABI
