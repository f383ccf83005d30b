// MoELayer: a router and a bank joined by a plan, the whole of a Mixture-of-Experts layer:
//   y_t = sum_i weight_i * E_i(x_t)  [+ shared experts(x_t)]
// The layer is immutable; what a call leaves behind (the router's memory, the plan) is in a State that the caller owns.
// The shared experts may be a bank of another type, and the experts may read other rows than the router.
#pragma once

#include <optional>
#include <type_traits>

#include "headgate/experts/experts.hpp"
#include "headgate/layers/edited_routing.hpp"
#include "headgate/layers/shared_expert.hpp"
#include "headgate/routing/router.hpp"

namespace headgate::inline HEADGATE_ABI {

// Router and bank of one layer must agree on the number of experts and the hidden size.
template <Router R, Experts E>
Status check_fit(const R& router, const E& experts) noexcept {
  if (router.num_experts() != experts.num_experts()) {
    return Status::mismatch("experts of the router against experts of the bank", router.num_experts(),
                            experts.num_experts());
  }
  if (router.hidden_size() != experts.hidden_size()) {
    return Status::mismatch("hidden_size of the router against that of the bank", router.hidden_size(),
                            experts.hidden_size());
  }
  return Status::success();
}
// And so must a shared expert, where there is one.
template <Experts S, Experts E>
Status check_fit(const std::optional<SharedExpert<S>>& shared, const E& experts) noexcept {
  if (!shared || shared->hidden_size() == experts.hidden_size()) return Status::success();
  return Status::mismatch("hidden_size of the shared expert against that of the bank", shared->hidden_size(),
                          experts.hidden_size());
}

template <Router R, Experts E, Experts S = E>
class MoELayer {
 public:
  struct State {
    typename R::State router;
    RoutingPlan plan;         // of the last forward, edits included
    RoutingPlan shared_plan;  // scratch

    void reset(index_t tokens) { router.reset(tokens); }
  };

  // usage: the parts do not fit each other.
  static Expected<MoELayer> create(R router, E experts, std::optional<SharedExpert<S>> shared = std::nullopt) {
    if (Status status = check_fit(router, experts); !status.ok()) return status;
    if (Status status = check_fit(shared, experts); !status.ok()) return status;
    return MoELayer(std::move(router), std::move(experts), std::move(shared), Checked{});
  }
  // Throws the same error.
  MoELayer(R router, E experts, std::type_identity_t<std::optional<SharedExpert<S>>> shared = std::nullopt)
    requires has_exceptions
      : MoELayer(create(std::move(router), std::move(experts), std::move(shared)).value()) {}

  // y (tokens, hidden_size) = the layer's output for in.hidden, routed as in.edits ask; the residual is the caller's.
  // y does not overlap it.
  Status forward(const RouterInput& in, State& state, Rows y, Context& ctx) const {
    return forward(in, in.hidden, state, y, ctx);
  }
  // The same where the experts, shared ones too, read x (tokens, hidden_size), and only the router reads in.hidden, as
  // in models that route on the rows before a norm or before the attention. y overlaps neither.
  Status forward(const RouterInput& in, ConstRows x, State& state, Rows y, Context& ctx) const {
    Status status = compute(in, x, state, y, ctx);
    if (!status.ok() && status.layer < 0) status.layer = in.layer;
    return status;
  }

  // What a balancer writes between forwards (routing/balancing/); on an error nothing changes.
  Status set_selection_bias(std::span<const float> bias)
    requires TakesSelectionBias<R>
  {
    return router_.set_selection_bias(bias);
  }
  Status set_selection_factor(std::span<const float> factor)
    requires TakesSelectionFactor<R>
  {
    return router_.set_selection_factor(factor);
  }

  const R& router() const noexcept { return router_; }
  const E& experts() const noexcept { return experts_; }
  const std::optional<SharedExpert<S>>& shared() const noexcept { return shared_; }

 private:
  struct Checked {};
  MoELayer(R router, E experts, std::optional<SharedExpert<S>> shared, Checked)
      : router_(std::move(router)), experts_(std::move(experts)), shared_(std::move(shared)) {}

  Status compute(const RouterInput& in, ConstRows x, State& state, Rows y, Context& ctx) const {
    if (x.rows != in.hidden.rows)
      return Status::mismatch("rows of x against rows of the router", x.rows, in.hidden.rows);
    if (x.cols != experts_.hidden_size()) {
      return Status::mismatch("width of x against hidden_size", x.cols, experts_.hidden_size());
    }
    if (y.rows != x.rows) return Status::mismatch("rows of y against tokens", y.rows, x.rows);
    if (y.cols != x.cols) return Status::mismatch("width of y against hidden_size", y.cols, x.cols);
    if (Status status = check_apart(in.hidden, y); !status.ok()) return status;
    if (Status status = check_apart(x, y); !status.ok()) return status;
    const FloatModes modes;
    Status status = edited_routing(router_, in, state.router, state.plan, state.shared_plan, ctx);
    if (!status.ok()) return status;
    fill(y, 0.0f);
    status = experts_.apply(state.plan, x, y, ctx);
    if (status.ok() && shared_) status = shared_->add(x, y, state.shared_plan, ctx);
    return status;
  }

  R router_;
  E experts_;
  std::optional<SharedExpert<S>> shared_;
};

template <Router R, Experts E, Experts S>
MoELayer(R, E, SharedExpert<S>) -> MoELayer<R, E, S>;
template <Router R, Experts E, Experts S>
MoELayer(R, E, std::optional<SharedExpert<S>>) -> MoELayer<R, E, S>;

}  // namespace headgate::inline HEADGATE_ABI
