// LoadStats: how evenly tokens are spread over experts. With c_e the tokens sent to expert e, m their mean, E experts:
//   MaxVio = max c / m - 1        Wang et al. 2024 (arXiv 2408.15664), eq. 4
//   CV     = sd / m               population standard deviation
//   entropy ratio = -sum p ln p / ln E with p = c / sum c;  1 for equal loads
//   Gini   = sum_e sum_f |c_e - c_f| / (2 E^2 m);           0 for equal loads
//   Jain   = (sum c)^2 / (E sum c^2);                       1 for equal loads, 1/E for one expert alone
// All are computed in double from integers. Of no token at all every expert has the mean load: equal, and all dead.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

struct LoadStats {
  std::int64_t total = 0;
  double max_violation = 0;
  double variation = 0;
  double entropy_ratio = 1;
  double gini = 0;
  double jain = 1;
  index_t dead = 0;  // experts without a token

  static LoadStats of(std::span<const std::int64_t> loads) {
    LoadStats stats;
    const auto size = static_cast<double>(loads.size());
    double squares = 0;
    for (const std::int64_t c : loads) {
      stats.total += c;
      stats.dead += c == 0 ? 1 : 0;
      squares += static_cast<double>(c) * static_cast<double>(c);
    }
    if (stats.total == 0) return stats;
    const auto total = static_cast<double>(stats.total);
    const double mean = total / size;
    std::vector<std::int64_t> sorted(loads.begin(), loads.end());
    std::sort(sorted.begin(), sorted.end());
    double spread = 0;
    double entropy = 0;
    double ranked = 0;  // sum of (2 rank - E - 1) c, which is half the sum of all |differences|
    for (std::size_t i = 0; i < sorted.size(); ++i) {
      const auto c = static_cast<double>(sorted[i]);
      spread += (c - mean) * (c - mean);
      if (c > 0) entropy -= c / total * std::log(c / total);
      ranked += (2.0 * static_cast<double>(i + 1) - size - 1.0) * c;
    }
    stats.max_violation = static_cast<double>(sorted.back()) / mean - 1.0;
    stats.variation = std::sqrt(spread / size) / mean;
    stats.entropy_ratio = loads.size() > 1 ? entropy / std::log(size) : 1.0;
    stats.gini = ranked / (size * total);
    stats.jain = total * total / (size * squares);
    return stats;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
