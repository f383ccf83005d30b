// Staged routers once more, in double and with a sort: independent of the library's stages and kernels.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "headgate/core/matrix_view.hpp"

namespace reference {

struct Choice {
  std::int32_t expert;
  double weight;
};

struct Routed {
  std::vector<Choice> chosen;  // best first
  double margin;               // least distance of two keys whose order decides who is chosen, and in which order
};

struct StagedPolicy {
  enum class Score { softmax, sigmoid, logit } score = Score::softmax;
  std::size_t k = 1;
  double p = 0.0;  // above 0: top-p, at most k
  enum class Weigh { keep, renormalize, softmax_of_selected, sigmoid_of_selected } weigh = Weigh::keep;
  double add = 0.0;
  double at_least = 0.0;
  bool keep_single = false;
  double scale = 1.0;
  bool renormalize_after = false;  // of sigmoid_of_selected
};

inline std::vector<double> softmax(std::vector<double> x) {
  const double largest = x.empty() ? 0.0 : *std::max_element(x.begin(), x.end());
  for (double& v : x) v = std::exp(v - largest);
  const double sum = std::accumulate(x.begin(), x.end(), 0.0);
  for (double& v : x) v /= sum;
  return x;
}

// W x + bias
inline std::vector<double> logits(headgate::ConstRows gate, const std::vector<float>& bias, const float* x) {
  std::vector<double> z;
  for (std::int32_t e = 0; e < gate.rows; ++e) {
    double sum = bias.empty() ? 0.0 : static_cast<double>(bias[static_cast<std::size_t>(e)]);
    for (std::int32_t i = 0; i < gate.cols; ++i) {
      sum += static_cast<double>(gate.row_data(e)[i]) * static_cast<double>(x[i]);
    }
    z.push_back(sum);
  }
  return z;
}

inline Routed route(const StagedPolicy& policy, const std::vector<double>& z, const std::vector<float>& key_bias = {},
                    const std::vector<std::uint8_t>& mask = {}) {
  std::vector<double> scores = z;
  if (policy.score == StagedPolicy::Score::softmax) scores = softmax(z);
  if (policy.score == StagedPolicy::Score::sigmoid) {
    for (double& s : scores) s = 1.0 / (1.0 + std::exp(-s));
  }
  std::vector<double> keys = scores;
  for (std::size_t e = 0; e < key_bias.size(); ++e) keys[e] += static_cast<double>(key_bias[e]);
  std::vector<std::size_t> order;
  for (std::size_t e = 0; e < keys.size(); ++e) {
    if (mask.empty() || mask[e] != 0) order.push_back(e);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return keys[a] > keys[b]; });

  Routed routed{{}, std::numeric_limits<double>::infinity()};
  std::size_t count = std::min(policy.k, order.size());
  if (policy.p > 0.0) {
    double sum = 0.0;
    std::size_t n = 0;
    while (n < count && sum < policy.p) {
      sum += scores[order[n++]];
      routed.margin = std::min(routed.margin, std::fabs(sum - policy.p));
    }
    count = n;
  }
  for (std::size_t i = 0; i < count && i + 1 < order.size(); ++i) {
    routed.margin = std::min(routed.margin, keys[order[i]] - keys[order[i + 1]]);
  }

  std::vector<double> w;
  for (std::size_t i = 0; i < count; ++i) w.push_back(scores[order[i]]);
  using Weigh = StagedPolicy::Weigh;
  if (policy.weigh == Weigh::softmax_of_selected) w = softmax(w);
  if (policy.weigh == Weigh::sigmoid_of_selected) {
    for (double& v : w) v = 1.0 / (1.0 + std::exp(-v));
  }
  const bool divide = policy.weigh == Weigh::renormalize || policy.renormalize_after;
  if (divide && !(policy.keep_single && w.size() == 1)) {
    const double sum = std::max(std::accumulate(w.begin(), w.end(), 0.0) + policy.add, policy.at_least);
    for (double& v : w) v /= sum;
  }
  for (std::size_t i = 0; i < count; ++i) {
    routed.chosen.push_back({static_cast<std::int32_t>(order[i]), w[i] * policy.scale});
  }
  return routed;
}

}  // namespace reference
