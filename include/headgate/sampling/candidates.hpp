// Candidates: the tokens a sampler still considers, with their logits, and the steps that narrow them: each keeps at
// least one. Wherever order matters, the larger logit comes first and of equal ones the lower id.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "headgate/core/exactly_equal.hpp"
#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Candidate {
  std::int32_t token;
  float logit;
};

constexpr bool is_better(const Candidate& a, const Candidate& b) noexcept {
  return a.logit > b.logit || (exactly_equal(a.logit, b.logit) && a.token < b.token);
}

// The most likely token. Precondition: at least one logit, no NaN.
inline std::int32_t greedy(std::span<const float> logits) noexcept {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Repetition penalty (Keskar et al. 2019, "CTRL"): the logit of a token that occurs in recent is divided by the
// penalty, or multiplied where it is negative, once however often it occurs. Precondition: logits stand by token id.
inline void penalize_repeats(std::span<Candidate> by_token, std::span<const std::int32_t> recent, float penalty) {
  std::vector<std::int32_t> tokens(recent.begin(), recent.end());
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  for (const std::int32_t token : tokens) {
    if (token < 0 || as_size(token) >= by_token.size()) continue;
    float& logit = by_token[as_size(token)].logit;
    if (!std::isfinite(logit)) continue;
    constexpr float largest = std::numeric_limits<float>::max();
    logit = std::clamp(logit > 0.0f ? logit / penalty : logit * penalty, -largest, largest);
  }
}

// The k best (Fan et al. 2018), sorted. k <= 0: all, as they are.
inline void keep_top_k(std::vector<Candidate>& candidates, index_t k) {
  if (k <= 0) return;
  const std::size_t count = std::min(candidates.size(), as_size(k));
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(count), candidates.end(),
                    is_better);
  candidates.resize(count);
}

// exp(logit - largest), in the order of the candidates: probabilities before they are divided by their sum.
inline std::vector<double> unnormalized_probabilities(std::span<const Candidate> candidates, double temperature = 1.0) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const Candidate& c : candidates) largest = std::max(largest, static_cast<double>(c.logit));
  std::vector<double> weights;
  weights.reserve(candidates.size());
  for (const Candidate& c : candidates)
    weights.push_back(std::exp((static_cast<double>(c.logit) - largest) / temperature));
  return weights;
}

// Nucleus (Holtzman et al. 2020): the best that together have probability p or more, sorted. p >= 1: all, as they are.
inline void keep_top_p(std::vector<Candidate>& candidates, float p) {
  if (p >= 1.0f) return;
  std::sort(candidates.begin(), candidates.end(), is_better);
  const std::vector<double> weights = unnormalized_probabilities(candidates);
  double total = 0.0;
  for (const double w : weights) total += w;
  double kept = 0.0;
  std::size_t count = 0;
  while (count < weights.size() && (count == 0 || kept < static_cast<double>(p) * total)) kept += weights[count++];
  candidates.resize(count);
}

// Those at least p times as likely as the best (Nguyen et al. 2024). p <= 0: all.
inline void keep_min_p(std::vector<Candidate>& candidates, float p) {
  if (p <= 0.0f || candidates.empty()) return;
  const Candidate best = *std::min_element(candidates.begin(), candidates.end(), is_better);
  const double least = best.logit + std::log(static_cast<double>(p));
  std::erase_if(candidates, [&](const Candidate& c) { return c.token != best.token && c.logit < least; });
}

}  // namespace headgate::inline HEADGATE_ABI
