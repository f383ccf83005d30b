// MonetLayer: a layer whose experts are pairs (Park et al. 2024, arXiv 2412.04139): y_t = sum over h, i, j of g1_hi
// g2_hj E_ij(x_t). Some layers have a router (every fourth, moe_groups); the others use the plan of the last one before
// them, which a State carries from layer to layer of a pass. Nothing of it outlives the pass.
#pragma once

#include <optional>

#include "headgate/layers/monet_experts.hpp"
#include "headgate/routing/monet_router.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of structures: MonetLayer | experts that are pairs, weighed by two sides' gates, a router for several layers |
//   Park et al. 2024, 2412.04139
template <FactoredExperts Bank, class Backend = NativeBackend>
class MonetLayer {
 public:
  struct State {
    FactoredPlan plan;    // of the last layer with a router, without edits
    FactoredPlan edited;  // of the last call that had any

    // Before the first layer of a pass of so many tokens.
    void reset(index_t tokens) noexcept {
      tokens_ = tokens;
      layer_ = -1;
      is_routed_ = false;
    }

   private:
    friend class MonetLayer;
    index_t tokens_ = 0;
    index_t layer_ = -1;  // the last
    bool is_routed_ = false;
  };

  // usage: the parts do not fit each other. router: empty for a layer that uses another's plan.
  static Expected<MonetLayer> create(std::optional<MonetRouter<Backend>> router, Bank experts) {
    for (index_t s = 0; s < 2 && router; ++s) {
      if (router->side(s) != experts.side(s)) {
        return Status::mismatch("side of the router against that of the bank", router->side(s), experts.side(s));
      }
    }
    if (router && router->hidden_size() != experts.hidden_size()) {
      return Status::mismatch("hidden_size of the router against that of the bank", router->hidden_size(),
                              experts.hidden_size());
    }
    return MonetLayer(std::move(router), std::move(experts));
  }

  // y (tokens, hidden_size) = the layer's output for in.hidden; the residual is the caller's. The edits are this
  // layer's alone: the plan that the next ones use is without them. in.edits, which are of other plans, are to be
  // empty. After an error the state is to be reset.
  Status forward(const RouterInput& in, const FactoredEdits& edits, State& state, Rows y, Context& ctx) const {
    Status status = compute(in, edits, state, y, ctx);
    if (!status.ok() && status.layer < 0) status.layer = in.layer;
    return status;
  }
  Status forward(const RouterInput& in, State& state, Rows y, Context& ctx) const {
    return forward(in, {}, state, y, ctx);
  }

  const std::optional<MonetRouter<Backend>>& router() const noexcept { return router_; }
  const Bank& experts() const noexcept { return experts_; }

 private:
  MonetLayer(std::optional<MonetRouter<Backend>> router, Bank experts)
      : router_(std::move(router)), experts_(std::move(experts)) {}

  Status compute(const RouterInput& in, const FactoredEdits& edits, State& state, Rows y, Context& ctx) const {
    const ConstRows x = in.hidden;
    if (!in.edits.empty()) return {ErrorCode::usage, "edits of a routing plan for a layer whose plan is factored"};
    if (Status status = check_apart(x, y); !status.ok()) return status;
    if (x.rows != state.tokens_) {
      return Status::mismatch("rows of hidden against tokens of the layer's state", x.rows, state.tokens_);
    }
    if (in.layer <= state.layer_) {
      return Status::mismatch("layer of a state, which ascends within a pass and begins with a reset, at least",
                              in.layer, std::int64_t{state.layer_} + 1);
    }
    if (!router_ && !state.is_routed_) return {ErrorCode::usage, "no layer before this one has a router"};
    const FloatModes modes;
    state.layer_ = in.layer;
    if (router_) {
      state.is_routed_ = false;
      if (Status status = router_->route(x, in.layer, state.plan, ctx); !status.ok()) return status;
      state.is_routed_ = true;
    }
    if (!edits.empty()) {
      if (Status status = edit(state.plan, edits, state.edited); !status.ok()) return status;
    }
    fill(y, 0.0f);
    return experts_.apply(edits.empty() ? state.plan : state.edited, x, y, ctx);
  }

  std::optional<MonetRouter<Backend>> router_;
  Bank experts_;
};

}  // namespace headgate::inline HEADGATE_ABI
