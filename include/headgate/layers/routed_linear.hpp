// RoutedLinear: a linear layer with routed experts beside it, in the place of a Linear:
//   y_t = W x_t + b + sum_i weight_i E_i(x_t)
// What MoLA and AdaMoE's exp_1 make of each projection (Gao et al. 2024, arXiv 2402.08562; a router of its own for
// each, in exp_1 with null experts) and LoRA-Mixer of the projections in and out of an attention (Li et al. 2025,
// 2507.00029). Any router, and any bank whose apply adds to rows of another width. The bits are those of the base layer
// where a token has no expert. Tested against AdaMoE's code (CengZihao/AdaMoE, exp_1).
#pragma once

#include <concepts>
#include <utility>

#include "headgate/core/expected.hpp"
#include "headgate/layers/edited_routing.hpp"
#include "headgate/layers/linear.hpp"

namespace headgate::inline HEADGATE_ABI {

// Experts that add to rows of another width than they read.
template <class B>
concept LinearExperts = requires(const B& bank, const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) {
  { bank.num_experts() } noexcept -> std::same_as<index_t>;
  { bank.in_size() } noexcept -> std::same_as<index_t>;
  { bank.out_size() } noexcept -> std::same_as<index_t>;
  { bank.apply(plan, x, y, ctx) } -> std::same_as<Status>;
};

// Table of structures: RoutedLinear | a linear layer with routed experts beside it, attention's projections too |
//   Gao et al. 2024, 2402.08562; Li et al. 2025, 2507.00029
template <Router R, LinearExperts E, WeightFormat Format = F32, class Backend = NativeBackend>
class RoutedLinear {
 public:
  struct State {
    typename R::State router;
    RoutingPlan plan;     // of the last forward, edits included
    RoutingPlan scratch;  // of edits

    void reset(index_t tokens) { router.reset(tokens); }
  };

  // usage: the parts do not fit each other. The width of what the router reads is its own (see forward).
  static Expected<RoutedLinear> create(Linear<Format, Backend> base, R router, E experts) {
    if (router.num_experts() != experts.num_experts()) {
      return Status::mismatch("experts of the router against experts of the bank", router.num_experts(),
                              experts.num_experts());
    }
    if (experts.in_size() != base.cols()) {
      return Status::mismatch("in_size of the experts against columns of a linear layer", experts.in_size(),
                              base.cols());
    }
    if (experts.out_size() != base.rows()) {
      return Status::mismatch("out_size of the experts against rows of a linear layer", experts.out_size(),
                              base.rows());
    }
    return RoutedLinear(std::move(base), std::move(router), std::move(experts), Checked{});
  }
  // Throws the same error.
  RoutedLinear(Linear<Format, Backend> base, R router, E experts)
    requires has_exceptions
      : RoutedLinear(create(std::move(base), std::move(router), std::move(experts)).value()) {}

  index_t rows() const noexcept { return base_.rows(); }
  index_t cols() const noexcept { return base_.cols(); }
  const Linear<Format, Backend>& base() const noexcept { return base_; }
  const R& router() const noexcept { return router_; }
  const E& experts() const noexcept { return experts_; }

  // in.hidden (tokens, cols) -> y (tokens, rows), routed as in.edits ask. y does not overlap it.
  Status forward(const RouterInput& in, State& state, Rows y, Context& ctx) const {
    return forward(in, in.hidden, state, y, ctx);
  }
  // The same where the layer maps x (tokens, cols) and the router reads in.hidden: the projection out of an attention
  // that is routed by what went into it.
  Status forward(const RouterInput& in, ConstRows x, State& state, Rows y, Context& ctx) const {
    Status status = compute(in, x, state, y, ctx);
    if (!status.ok() && status.layer < 0) status.layer = in.layer;
    return status;
  }

 private:
  struct Checked {};
  RoutedLinear(Linear<Format, Backend> base, R router, E experts, Checked)
      : base_(std::move(base)), router_(std::move(router)), experts_(std::move(experts)) {}

  Status compute(const RouterInput& in, ConstRows x, State& state, Rows y, Context& ctx) const {
    if (x.rows != in.hidden.rows)
      return Status::mismatch("rows of x against rows of the router", x.rows, in.hidden.rows);
    if (Status status = check_apart(in.hidden, y); !status.ok()) return status;
    const FloatModes modes;
    if (Status status = base_.forward(x, y, ctx); !status.ok()) return status;
    Status status = edited_routing(router_, in, state.router, state.plan, state.scratch, ctx);
    return status.ok() ? experts_.apply(state.plan, x, y, ctx) : status;
  }

  Linear<Format, Backend> base_;
  R router_;
  E experts_;
};

template <Router R, LinearExperts E, WeightFormat Format, class Backend>
RoutedLinear(Linear<Format, Backend>, R, E) -> RoutedLinear<R, E, Format, Backend>;

}  // namespace headgate::inline HEADGATE_ABI
