// The exhaustive oracle: what a choice of one expert in every layer could be at best. Every path of choices through the
// layers is tried, so layers and choices are few: choices^layers runs (Alizadeh et al. 2024, "Duo-LLM", 2410.10846,
// where the choices are a small network, a big one and none). What a router's loss is compared with.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

struct ExpertPath {
  std::vector<ExpertId> experts;  // of every layer
  std::int64_t cost = 0;
  double loss = 0.0;
};

// The most paths that all_paths tries.
inline constexpr std::int64_t max_paths = std::int64_t{1} << 24;

// All paths, the last layer's choice changing first. costs: of each choice, in any unit; those of a path add up.
// loss(experts): of one path, called once for each, in order; what it throws passes through. usage: no choice; limit:
// more than max_paths; numeric: a loss that is NaN.
inline Expected<std::vector<ExpertPath>> all_paths(index_t layers, std::span<const std::int64_t> costs,
                                                   const std::function<double(std::span<const ExpertId>)>& loss) {
  if (layers < 0) return Status::mismatch("layers of a path, at least", layers, 0);
  if (costs.empty()) return Status{ErrorCode::usage, "no experts to choose from"};
  const auto choices = static_cast<std::int64_t>(costs.size());
  std::int64_t count = 1;
  for (index_t l = 0; l < layers; ++l) {
    if (count > max_paths / choices) return Status{ErrorCode::limit, "paths through all layers", -1, max_paths};
    count *= choices;
  }
  std::vector<ExpertPath> paths;
  ExpertPath path{.experts = std::vector<ExpertId>(as_size(layers), 0)};
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t rest = i;
    path.cost = 0;
    for (index_t l = layers - 1; l >= 0; --l) {
      path.experts[as_size(l)] = static_cast<ExpertId>(rest % choices);
      path.cost += costs[static_cast<std::size_t>(rest % choices)];
      rest /= choices;
    }
    path.loss = loss(path.experts);
    if (std::isnan(path.loss)) return Status::not_finite("loss of a path is not a number", -1, -1);
    paths.push_back(path);
  }
  return paths;
}

// The paths to which no other is better: with each the loss is smaller than with every path that costs no more. By
// cost; of equal ones the first. The last is the best of all.
inline std::vector<ExpertPath> best_paths(std::vector<ExpertPath> paths) {
  std::stable_sort(paths.begin(), paths.end(), [](const ExpertPath& a, const ExpertPath& b) {
    return a.cost != b.cost ? a.cost < b.cost : a.loss < b.loss;
  });
  std::vector<ExpertPath> best;
  for (ExpertPath& path : paths) {
    if (best.empty() || path.loss < best.back().loss) best.push_back(std::move(path));
  }
  return best;
}

}  // namespace headgate::inline HEADGATE_ABI
