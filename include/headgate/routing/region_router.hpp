// RegionRouter: the first level of bi-level routing attention (BiFormer, Zhu et al., CVPR 2023, section 3.2, eq. 3-4).
// Tokens stand in regions; a query region is sent to the key regions whose mean key has the largest inner product with
// its own mean query. One choice for all heads. The plan's rows are query regions, its experts key regions, in order of
// affinity; weights are 1 and mean nothing.
#pragma once

#include <cmath>
#include <concepts>
#include <limits>

#include "headgate/core/best_k.hpp"
#include "headgate/core/context.hpp"
#include "headgate/core/matrix_view.hpp"
#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

class RegionRouter {
 public:
  // regions: how many key regions a query region attends to; as many as there are where there are no more.
  explicit constexpr RegionRouter(index_t regions) noexcept : regions_(regions) {}

  constexpr index_t regions() const noexcept { return regions_; }

  // The best regions of one query region, best first, ties to the lower index; -inf is never chosen. Returns how many.
  // affinity (key regions), order (at least min(regions, key regions)).
  template <std::floating_point T>
  index_t select(std::span<const T> affinity, index_t* order) const noexcept {
    BestK<T> best(affinity.data(), regions_, order);
    for (index_t j = 0; j < static_cast<index_t>(affinity.size()); ++j) best.offer(j);
    return best.size();
  }

  // queries (query regions, channels) and keys (key regions, channels): region means. allowed (key regions): 0 keeps a
  // region out, empty allows all. Replaces the plan by one row per query region.
  template <std::floating_point T>
  Status route(MatrixView<const T> queries, MatrixView<const T> keys, std::span<const std::uint8_t> allowed,
               RoutingPlan& plan, Context& ctx) const {
    plan.clear(keys.rows);
    if (Status status = check_view(queries); !status.ok()) return status;
    if (Status status = check_view(keys); !status.ok()) return status;
    if (regions_ < 1) return Status::mismatch("routed regions, at least", regions_, 1);
    if (queries.cols != keys.cols) return Status::mismatch("channels of the region keys", keys.cols, queries.cols);
    if (!allowed.empty() && allowed.size() != as_size(keys.rows)) {
      return Status::mismatch("size of allowed against key regions", static_cast<std::int64_t>(allowed.size()),
                              keys.rows);
    }
    const Workspace::Mark mark(ctx.workspace);
    const index_t most = regions_ < keys.rows ? regions_ : keys.rows;
    const std::span<T> affinity = ctx.workspace.take<T>(keys.rows);
    const std::span<index_t> order = ctx.workspace.take<index_t>(most);
    const std::span<float> ones = ctx.workspace.take<float>(most);
    for (float& one : ones) one = 1.0f;
    Status status = plan.reserve(queries.rows, std::int64_t{queries.rows} * most);
    for (index_t i = 0; i < queries.rows && status.ok(); ++i) {
      for (index_t j = 0; j < keys.rows; ++j) {
        T sum = 0;
        for (index_t c = 0; c < keys.cols; ++c) sum += queries.row_data(i)[c] * keys.row_data(j)[c];
        const bool out = !allowed.empty() && allowed[as_size(j)] == 0;
        affinity[as_size(j)] = out ? -std::numeric_limits<T>::infinity() : sum;
        if (out || std::isfinite(sum)) continue;
        plan.clear(keys.rows);
        return Status::not_finite("region affinity is not finite", -1, i, j);
      }
      const index_t count = select(std::span<const T>(affinity), order.data());
      status = plan.append_row(order.first(as_size(count)), ones.first(as_size(count)));
    }
    return status;
  }

 private:
  index_t regions_;
};

}  // namespace headgate::inline HEADGATE_ABI
