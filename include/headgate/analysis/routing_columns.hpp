// The numbers of RoutingMetrics as columns of a Comparison, for models and policies alike.
#pragma once

#include <vector>

#include "headgate/analysis/comparison.hpp"
#include "headgate/analysis/routing_trace.hpp"

namespace headgate::inline HEADGATE_ABI {

// bytes: of an expert, read for each of the experts per token; fixed: read for every token besides. Both may be of all
// layers together or of one.
struct WeightCost {
  double bytes_per_expert = 0;
  double fixed_bytes = 0;
};

inline std::vector<ComparisonColumn> cost_columns() {
  return {{"mean_k", "mean k", 3}, {"experts_per_token", "FFN rows", 3}, {"weight_bytes_per_token", "bytes/token", 0}};
}
inline std::vector<double> cost_values(const RoutingMetrics& m, const WeightCost& cost) {
  return {m.mean_k, m.experts_per_token, cost.fixed_bytes + cost.bytes_per_expert * m.experts_per_token};
}
inline std::vector<ComparisonColumn> balance_columns() {
  return {{"max_violation", "MaxVio", 4},
          {"variation", "CV", 4},
          {"gini", "Gini", 4},
          {"jain", "Jain", 4},
          {"entropy_ratio", "entropy", 4},
          {"dead_experts", "dead", 0},
          {"adjacent_overlap", "overlap", 4}};
}
inline std::vector<double> balance_values(const RoutingMetrics& m) {
  return {m.max_violation, m.variation, m.gini, m.jain, m.entropy_ratio, m.dead, m.overlap};
}

}  // namespace headgate::inline HEADGATE_ABI
