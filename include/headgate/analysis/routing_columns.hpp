// The numbers of RoutingMetrics as columns of a Comparison, for models and policies alike. Formulas and sources:
// analysis/README.md.
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
  return {
      {"mean_k", "mean k", 3, Better::neither, "experts chosen for a token in a layer, 0 to E"},
      {"experts_per_token", "FFN rows", 3, Better::lower, "of them those that compute: feed-forward rows of a token"},
      {"weight_bytes_per_token", "MB/token", 3, Better::lower, "weights read for a token, in 10^6 bytes", 1e6}};
}
inline std::vector<double> cost_values(const RoutingMetrics& m, const WeightCost& cost) {
  return {m.mean_k, m.experts_per_token, cost.fixed_bytes + cost.bytes_per_expert * m.experts_per_token};
}

inline std::vector<ComparisonColumn> balance_columns() {
  return {{"max_violation", "MaxVio", 3, Better::lower, "largest load / mean load - 1, 0 to E - 1"},
          {"variation", "CV", 3, Better::lower, "standard deviation of loads / mean load, from 0"},
          {"gini", "Gini", 3, Better::lower, "Gini coefficient of loads, 0 to 1"},
          {"jain", "Jain", 3, Better::higher, "Jain's fairness of loads, 1/E to 1"},
          {"entropy_ratio", "entropy", 3, Better::higher, "entropy of loads / ln E, 0 to 1"},
          {"dead_experts", "dead", 0, Better::lower, "experts without a token, of all layers together"}};
}
inline std::vector<double> balance_values(const RoutingMetrics& m) {
  return {m.max_violation, m.variation, m.gini, m.jain, m.entropy_ratio, m.dead};
}

inline std::vector<ComparisonColumn> overlap_columns() {
  return {{"adjacent_overlap", "overlap", 3, Better::neither,
           "share of a token's experts that the token before has, too, 0 to 1"},
          {"overlap_by_chance", "overlap\nby chance", 3, Better::neither,
           "the same expected of experts drawn uniformly, as many for each token"},
          {"overlap_by_load", "overlap\nby load", 3, Better::neither,
           "the same expected if the other token were any of the text: what popular experts alone bring"}};
}
inline std::vector<double> overlap_values(const RoutingMetrics& m) {
  return {m.overlap, m.overlap_by_chance, m.overlap_by_load};
}

// Against a reference.
inline std::vector<ComparisonColumn> likeness_columns() {
  return {{"agreement", "agree", 3, Better::neither,
           "experts that policy and reference both choose / that either chooses (Jaccard), 0 to 1"},
          {"agreement_by_chance", "agree\nby chance", 3, Better::neither,
           "the same expected of experts drawn uniformly, as many for each"},
          {"agreement_by_load", "agree\nby load", 3, Better::neither,
           "the same against the reference's experts for another token: what popular experts alone bring"},
          {"weight_total_variation", "weight\nTV", 3, Better::neither,
           "total variation between its shares of weight and the reference's, 0 (equal) to 1 (no expert shared)"},
          {"weight_distance", "weight\nL1", 3, Better::neither,
           "sum over experts of |weight - the reference's|, 0 to the sum of both rows' sizes"},
          {"weight_sum", "weight\nsum", 3, Better::neither, "sum of a token's weights"}};
}
inline std::vector<double> likeness_values(const RoutingMetrics& m) {
  return {m.agreement,       m.agreement_by_chance, m.agreement_by_load, m.weight_total_variation,
          m.weight_distance, m.weight_sum};
}

}  // namespace headgate::inline HEADGATE_ABI
