// CompressedExperts: of the k chosen experts of a token the first main_k compute, each of the others is one vector (He
// et al. 2025, "Efficiently Editing Mixture-of-Experts Models with Compressed Experts", arXiv 2503.00634, section 3):
//   x'_t = x_t * sum over the others i of (w_i / sum of their w) theta_i      element by element; x_t where there are
//   none y_t += sum over the main ones i of w_i E_i(x'_t)
// Rank decides, as the router ordered them, and main weights stay what they are in the plan. theta_i = 1 (where
// training starts) is the layer without the others. Follows the paper; its code was not to be had.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "headgate/core/exactly_equal.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/experts/experts.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/routing/plan_transform.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of structures: CompressedExperts | the first chosen experts compute, of each other one a vector scales their
//   input | He et al. 2025, 2503.00634
template <Experts Bank, class Backend = NativeBackend>
class CompressedExperts {
 public:
  // theta: (num_experts, hidden_size), finite.
  static Expected<CompressedExperts> create(Bank bank, index_t main_k, ConstRows theta) {
    if (main_k < 1) return Status::mismatch("main experts of compressed ones, at least", main_k, 1);
    if (Status status = check_view(theta); !status.ok()) return status;
    if (theta.rows != bank.num_experts()) {
      return Status::mismatch("rows of theta against experts", theta.rows, bank.num_experts());
    }
    if (theta.cols != bank.hidden_size()) {
      return Status::mismatch("columns of theta against hidden_size", theta.cols, bank.hidden_size());
    }
    for (index_t e = 0; e < theta.rows; ++e) {
      for (index_t i = 0; i < theta.cols; ++i) {
        if (!std::isfinite(theta.row_data(e)[i])) return Status::not_finite("theta is not finite", -1, -1, e);
      }
    }
    return CompressedExperts(std::move(bank), main_k, theta);
  }

  index_t num_experts() const noexcept { return bank_.num_experts(); }
  index_t hidden_size() const noexcept { return bank_.hidden_size(); }
  std::int64_t expert_bytes() const noexcept { return bank_.expert_bytes(); }
  index_t main_k() const noexcept { return main_k_; }
  const Bank& bank() const noexcept { return bank_; }

  // usage: weights of a token's others that add up to 0, and so weigh nothing.
  Status apply(const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) const {
    if (Status status = check_apply(plan, x, y, num_experts(), hidden_size()); !status.ok()) return status;
    RoutingPlan main_plan;
    RoutingPlan others;
    if (Status status = split_by_rank(plan, main_k_, main_plan, others); !status.ok()) return status;
    if (others.entries() == 0) return bank_.apply(main_plan, x, y, ctx);
    const Workspace::Mark mark(ctx.workspace);
    const Rows scaled = ctx.workspace.take_rows(x.rows, x.cols);
    for (index_t t = 0; t < x.rows; ++t) {
      if (Status status = scale(others, t, x.row_data(t), scaled.row_data(t)); !status.ok()) return status;
    }
    return bank_.apply(main_plan, scaled, y, ctx);
  }

 private:
  CompressedExperts(Bank bank, index_t main_k, ConstRows theta) : bank_(std::move(bank)), main_k_(main_k) {
    theta_.reserve(as_size(theta.rows) * as_size(theta.cols));
    for (index_t e = 0; e < theta.rows; ++e) {
      theta_.insert(theta_.end(), theta.row_data(e), theta.row_data(e) + theta.cols);
    }
  }

  Status scale(const RoutingPlan& others, index_t token, const float* x, float* out) const {
    const index_t width = hidden_size();
    const std::span<const ExpertId> ids = others.experts(token);
    const std::span<const float> weights = others.weights(token);
    if (ids.empty()) {
      std::copy_n(x, width, out);
      return Status::success();
    }
    float total = 0.0f;
    for (const float w : weights) total += w;
    if (exactly_equal(total, 0.0f)) {
      Status status{ErrorCode::usage, "weights of compressed experts add up to 0"};
      status.token = token;
      return status;
    }
    std::fill_n(out, width, 0.0f);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      Backend::axpy(weights[i] / total, theta_.data() + std::int64_t{ids[i]} * width, width, out);
    }
    for (index_t c = 0; c < width; ++c) out[c] *= x[c];
    return Status::success();
  }

  Bank bank_;
  index_t main_k_;
  std::vector<float> theta_;  // (num_experts, hidden_size)
};

}  // namespace headgate::inline HEADGATE_ABI
