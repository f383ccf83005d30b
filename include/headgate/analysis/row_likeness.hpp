// How alike two routers treat one token. A and B are its experts in the two plans, a and b how many, v and w their
// weights as vectors over all E experts:
// clang-format off
//   agreement          |A and B| / |A or B| (Jaccard 1901)                          0 ... 1; both empty: 1
//   chance             the same expected of two sets of a and b experts drawn independently and uniformly:
//                      sum_i P(i) i / (a + b - i),  P(i) = C(a, i) C(E - a, b - i) / C(E, b)
//   weight distance    sum_e |v_e - w_e|, L1                                        0 ... sum |v| + sum |w|
//   total variation    sum_e |v_e / sum |v| - w_e / sum |w|| / 2                     0 ... 1
//                      a row that weighs nothing has its share outside the experts: 1 to others, 0 to its like
// clang-format on
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

// Experts of both rows; ids of a row are distinct.
inline index_t common_experts(std::span<const ExpertId> a, std::span<const ExpertId> b) noexcept {
  index_t count = 0;
  for (const ExpertId e : a) count += std::find(b.begin(), b.end(), e) != b.end() ? 1 : 0;
  return count;
}
inline double agreement(std::span<const ExpertId> a, std::span<const ExpertId> b) noexcept {
  const index_t both = common_experts(a, b);
  const auto either = static_cast<index_t>(a.size() + b.size()) - both;
  return either == 0 ? 1.0 : static_cast<double>(both) / either;
}

// 0 <= a, b <= num_experts.
inline double agreement_by_chance(index_t a, index_t b, index_t num_experts) noexcept {
  if (a == 0 && b == 0) return 1.0;
  const index_t least = std::max(0, a + b - num_experts);
  const index_t most = std::min(a, b);
  // P(i + 1) / P(i). From the likeliest i in both directions, so that nothing overflows.
  const auto ratio = [&](index_t i) {
    return static_cast<double>(a - i) * (b - i) / (static_cast<double>(i + 1) * (num_experts - a - b + i + 1));
  };
  const auto likeliest =
      static_cast<index_t>((std::int64_t{a} + 1) * (std::int64_t{b} + 1) / (std::int64_t{num_experts} + 2));
  const index_t start = std::clamp(likeliest, least, most);
  double total = 0;
  double sum = 0;
  const auto add = [&](index_t i, double p) {
    total += p;
    sum += p * i / (a + b - i);
  };
  double p = 1;
  add(start, p);
  for (index_t i = start; i < most; ++i) add(i + 1, p *= ratio(i));
  p = 1;
  for (index_t i = start - 1; i >= least; --i) add(i, p /= ratio(i));
  return sum / total;
}

struct WeightLikeness {
  double distance = 0;
  double total_variation = 0;
};
// Token t of a and token u of b.
inline WeightLikeness weight_likeness(const RoutingPlan& a, index_t t, const RoutingPlan& b, index_t u) noexcept {
  const auto size = [](std::span<const float> weights) {
    double sum = 0;
    for (const float w : weights) sum += std::abs(static_cast<double>(w));
    return sum;
  };
  const double v_size = size(a.weights(t));
  const double w_size = size(b.weights(u));
  WeightLikeness likeness;
  const auto add = [&](double v, double w) {
    likeness.distance += std::abs(v - w);
    likeness.total_variation += std::abs((v_size > 0 ? v / v_size : 0.0) - (w_size > 0 ? w / w_size : 0.0)) / 2.0;
  };
  const std::span<const ExpertId> of_a = a.experts(t);
  const std::span<const ExpertId> of_b = b.experts(u);
  for (std::size_t i = 0; i < of_a.size(); ++i) {
    const auto place = std::find(of_b.begin(), of_b.end(), of_a[i]) - of_b.begin();
    add(static_cast<double>(a.weights(t)[i]),
        place == std::ssize(of_b) ? 0.0 : static_cast<double>(b.weights(u)[static_cast<std::size_t>(place)]));
  }
  for (std::size_t i = 0; i < of_b.size(); ++i) {
    if (std::find(of_a.begin(), of_a.end(), of_b[i]) == of_a.end()) add(0.0, static_cast<double>(b.weights(u)[i]));
  }
  if ((v_size > 0) != (w_size > 0)) likeness.total_variation = 1.0;
  return likeness;
}

}  // namespace headgate::inline HEADGATE_ABI
