// ChainLayer: Chain-of-Experts (Wang et al. 2025, arXiv 2506.18945, section 3): a layer whose experts see what experts
// made, C times over one bank:
//   x_0 = x;  x_t = sum_i w_i E_i(x_{t-1}) [+ shared(x_{t-1})] [+ x_{t-1}],  w = router t of x_{t-1};  y = x_C
// The last summand is the inner residual. Each iteration has a router of its own, or all have one (use_igate false).
// Follows modeling_coe.py: x is the normalised stream, the shared experts run in every iteration, and with the inner
// residual on there is no outer one, so that y replaces the stream; where to add it is the caller's. C = 1 without
// inner residual is MoELayer in bits.
#pragma once

#include <optional>
#include <vector>

#include "headgate/experts/experts.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/layers/shared_expert.hpp"
#include "headgate/routing/router.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of structures: ChainLayer | experts see what experts made, C times over one bank | Wang et al. 2025, 2506.18945
template <Router R, Experts E, class Backend = NativeBackend>
class ChainLayer {
 public:
  struct Options {
    index_t iterations = 1;  // C, inner_iter
    bool inner_residual = true;
  };
  struct State {
    std::vector<RoutingPlan> plans;  // of the last forward, one per iteration
    RoutingPlan shared_plan;         // scratch
    typename R::State router;        // of routers that remember nothing

    void reset(index_t tokens) { router.reset(tokens); }
  };

  // routers: one for each iteration, or one for all.
  static Expected<ChainLayer> create(std::vector<R> routers, E experts, const Options& options,
                                     std::optional<SharedExpert<E>> shared = std::nullopt) {
    if (options.iterations < 1)
      return Status::mismatch("iterations of a chain of experts, at least", options.iterations, 1);
    const auto count = static_cast<std::int64_t>(routers.size());
    if (count != 1 && count != options.iterations) {
      return Status::mismatch("routers of a chain of experts against iterations", count, options.iterations);
    }
    for (const R& router : routers) {
      if (Status status = check_fit(router, experts); !status.ok()) return status;
      if (router.traits().state != StateScope::none) {
        return Status{ErrorCode::usage, "router of a chain of experts keeps a state across layers"};
      }
    }
    if (Status status = check_fit(shared, experts); !status.ok()) return status;
    return ChainLayer(std::move(routers), std::move(experts), options, std::move(shared));
  }

  index_t iterations() const noexcept { return options_.iterations; }
  // What a balancer writes between forwards, on the router of an iteration (0: of all, where they have one); on an
  // error nothing changes.
  Status set_selection_bias(index_t iteration, std::span<const float> bias)
    requires TakesSelectionBias<R>
  {
    const auto count = static_cast<index_t>(routers_.size());
    if (iteration < 0 || iteration >= count) {
      return Status::mismatch("iteration whose router takes a bias", iteration, count - 1);
    }
    return routers_[as_size(iteration)].set_selection_bias(bias);
  }

  // y (tokens, hidden_size) = x_C, every iteration routed as in.edits ask. A forced plan takes the place of a single
  // iteration only.
  Status forward(const RouterInput& in, State& state, Rows y, Context& ctx) const {
    Status status = compute(in, state, y, ctx);
    if (!status.ok() && status.layer < 0) status.layer = in.layer;
    return status;
  }

 private:
  ChainLayer(std::vector<R> routers, E experts, const Options& options, std::optional<SharedExpert<E>> shared)
      : routers_(std::move(routers)), experts_(std::move(experts)), options_(options), shared_(std::move(shared)) {}

  Status compute(const RouterInput& in, State& state, Rows y, Context& ctx) const {
    const ConstRows x = in.hidden;
    if (y.rows != x.rows) return Status::mismatch("rows of y against tokens", y.rows, x.rows);
    if (y.cols != experts_.hidden_size()) {
      return Status::mismatch("width of y against hidden_size", y.cols, experts_.hidden_size());
    }
    if (Status status = check_apart(x, y); !status.ok()) return status;
    if (in.edits.forced_plan != nullptr && iterations() > 1) {
      return {ErrorCode::usage, "a forced plan does not say which iteration of a chain of experts it is for"};
    }
    const FloatModes modes;
    const Workspace::Mark mark(ctx.workspace);
    RouterInput input = in;
    if (in.edits.forced_plan != nullptr && !state.plans.empty()) {
      state.plans[0] = *in.edits.forced_plan;  // it may be one of these, which a longer chain left
      input.edits.forced_plan = &state.plans[0];
    }
    state.plans.resize(as_size(iterations()));
    // Iterations write in turn to y and to scratch, so that the last one writes to y.
    const Rows scratch = ctx.workspace.take_rows(iterations() > 1 ? x.rows : 0, y.cols);
    for (index_t i = 0; i < iterations(); ++i) {
      const Rows out = (iterations() - i) % 2 == 1 ? y : scratch;
      if (Status status = iterate(i, input, state, out, ctx); !status.ok()) return status;
      input.hidden = out;
    }
    return Status::success();
  }

  Status iterate(index_t i, const RouterInput& in, State& state, Rows y, Context& ctx) const {
    RoutingPlan& plan = state.plans[as_size(i)];
    const R& router = routers_[routers_.size() == 1 ? 0 : as_size(i)];
    Status status = edited_routing(router, in, state.router, plan, state.shared_plan, ctx);
    if (!status.ok()) return status;
    fill(y, 0.0f);
    status = experts_.apply(plan, in.hidden, y, ctx);
    if (status.ok() && shared_) status = shared_->add(in.hidden, y, state.shared_plan, ctx);
    if (!status.ok() || !options_.inner_residual) return status;
    for (index_t t = 0; t < y.rows; ++t) Backend::axpy(1.0f, in.hidden.row_data(t), y.cols, y.row_data(t));
    return status;
  }

  std::vector<R> routers_;
  E experts_;
  Options options_;
  std::optional<SharedExpert<E>> shared_;
};

}  // namespace headgate::inline HEADGATE_ABI
