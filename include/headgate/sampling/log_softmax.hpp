// LogSoftmax: natural log-probabilities of logits, in double: log p_i = x_i - log sum_j exp(x_j).
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "headgate/core/exactly_equal.hpp"
#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

struct TokenLogprob {
  std::int32_t token;
  double logprob;
};

// Precondition: no NaN, no +inf. All -inf: every log-probability is -inf. The logits outlive it.
class LogSoftmax {
 public:
  explicit LogSoftmax(std::span<const float> logits) : logits_(logits) {
    if (logits.empty()) return;
    const double largest = *std::max_element(logits.begin(), logits.end());
    if (std::isinf(largest)) return;
    double total = 0.0;
    for (const float x : logits) total += std::exp(static_cast<double>(x) - largest);
    largest_ = largest;
    log_total_ = std::log(total);
  }

  explicit LogSoftmax(const std::vector<float>&&) = delete;  // it would be gone

  double operator[](std::int32_t token) const noexcept {
    return (static_cast<double>(logits_[as_size(token)]) - largest_) - log_total_;
  }

  // The k most likely tokens, best first, ties to the lower id; fewer where there are fewer.
  std::vector<TokenLogprob> top(index_t k) const {
    std::vector<std::int32_t> order(logits_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>(i);
    const std::size_t count = std::min(order.size(), as_size(k < 0 ? 0 : k));
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                      [&](std::int32_t a, std::int32_t b) {
                        const float x = logits_[as_size(a)];
                        const float y = logits_[as_size(b)];
                        return x > y || (exactly_equal(x, y) && a < b);
                      });
    std::vector<TokenLogprob> best;
    best.reserve(count);
    for (std::size_t i = 0; i < count; ++i) best.push_back({order[i], (*this)[order[i]]});
    return best;
  }

 private:
  std::span<const float> logits_;
  double largest_ = 0.0;    // apart, for next to a large one the logarithm would be lost
  double log_total_ = 0.0;  // of exp(logit - largest)
};

}  // namespace headgate::inline HEADGATE_ABI
