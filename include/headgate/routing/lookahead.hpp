// How early a plan is known, so that weights can be fetched before they are needed; and a router asked ahead of time.
//   PlanKnown         when its layer routes, so many layers before, or before the model runs
//   LookaheadGates    the gate of layer l + n applied to what the router of layer l reads, as a guess of that layer's
//                     plan (n = 1: Eliseev and Mazur 2023, "Fast Inference of MoE Language Models with Offloading",
//                     arXiv 2312.17238, section 3.2). M2R2 (Bhendawade et al. 2025, arXiv 2502.02040) reads an
//                     accelerated stream there instead: rows of the caller's.
// A guess only says what to fetch: layers route as ever. How good it is: analysis/expert_cache.hpp.
#pragma once

#include <compare>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/routing/router.hpp"

namespace headgate::inline HEADGATE_ABI {

// Later is less: when_routed() < layers_ahead(1) < layers_ahead(2) < before_the_model().
class PlanKnown {
 public:
  static constexpr PlanKnown when_routed() noexcept { return PlanKnown(0); }
  // Precondition: 0 <= n < max_index; 0 is when_routed().
  static constexpr PlanKnown layers_ahead(index_t n) noexcept { return PlanKnown(n); }
  static constexpr PlanKnown before_the_model() noexcept { return PlanKnown(max_index); }

  // The first layer during which the plan of `layer` is known; -1: before the model runs.
  constexpr index_t since(index_t layer) const noexcept {
    if (ahead_ == max_index) return -1;
    return layer > ahead_ ? layer - ahead_ : 0;
  }
  friend constexpr auto operator<=>(PlanKnown, PlanKnown) = default;

 private:
  constexpr explicit PlanKnown(index_t ahead) noexcept : ahead_(ahead) {}
  index_t ahead_;
};

// Of any router: what it says itself (`known()`); else what it reads tells. Token ids are there before the model runs,
// hidden states when their layer is reached.
template <class R>
constexpr PlanKnown plan_known(const R& router) noexcept {
  if constexpr (requires { router.known(); }) {
    return router.known();
  } else {
    return (router.traits().needs & needs_hidden) == 0 ? PlanKnown::before_the_model() : PlanKnown::when_routed();
  }
}

// Table of structures: LookaheadGates | the gate of a later layer applied now, to fetch its experts early |
//   Eliseev and Mazur 2023, 2312.17238; Bhendawade et al. 2025, 2502.02040
template <Router R>
class LookaheadGates {
 public:
  // routers: those of all routed layers in their order; they keep no state across layers. distance: n, 0 is the layer's
  // own plan.
  static Expected<LookaheadGates> create(std::vector<R> routers, index_t distance) {
    if (routers.empty()) return Status::mismatch("routers to look ahead with, at least", 0, 1);
    if (distance < 0) return Status::mismatch("layers to look ahead, at least", distance, 0);
    for (const R& router : routers) {
      if (router.traits().state != StateScope::none)
        return Status{ErrorCode::usage, "router to look ahead with keeps a state across layers"};
      if (router.hidden_size() != routers.front().hidden_size())
        return Status::mismatch("hidden_size of a router to look ahead with", router.hidden_size(),
                                routers.front().hidden_size());
    }
    return LookaheadGates(std::move(routers), distance);
  }

  index_t num_layers() const noexcept { return static_cast<index_t>(routers_.size()); }
  index_t distance() const noexcept { return distance_; }
  PlanKnown known() const noexcept { return PlanKnown::layers_ahead(distance_); }
  // Whether there is a layer so far behind `layer`.
  bool reaches(index_t layer) const noexcept { return layer >= 0 && layer < num_layers() - distance_; }

  // plan = what the router of the layer in.layer + distance() makes of in.hidden, rows that the router of in.layer
  // reads. Layers are counted among the routed ones. usage: there is no such layer.
  Status guess(const RouterInput& in, RoutingPlan& plan, Context& ctx) const {
    if (!reaches(in.layer)) {
      plan.clear(routers_.front().num_experts());
      return Status::mismatch("layer to look ahead from", in.layer, std::int64_t{num_layers()} - 1 - distance_);
    }
    RouterInput later = in;
    later.layer = in.layer + distance_;
    typename R::State state;
    state.reset(in.hidden.rows);
    return routers_[as_size(later.layer)].route(later, state, plan, ctx);
  }

 private:
  LookaheadGates(std::vector<R> routers, index_t distance) : routers_(std::move(routers)), distance_(distance) {}

  std::vector<R> routers_;
  index_t distance_;
};

}  // namespace headgate::inline HEADGATE_ABI
