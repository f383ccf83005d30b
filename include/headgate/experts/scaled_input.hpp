// ScaledInput: a bank whose experts see factor * x in place of x, as MoE++'s released code has it (factor 2, its
// top k):
//   y_t += sum_i w_i E_i(factor * x_t)
// Its copy experts then give 2 w x, and its constant experts weigh by 2 x.
#pragma once

#include <cmath>

#include "headgate/core/expected.hpp"
#include "headgate/experts/experts.hpp"

namespace headgate::inline HEADGATE_ABI {

template <Experts Bank>
class ScaledInput {
 public:
  static Expected<ScaledInput> create(Bank bank, float factor) {
    if (!std::isfinite(factor)) return Status{ErrorCode::usage, "factor of an expert's input is not finite"};
    return ScaledInput(std::move(bank), factor);
  }

  index_t num_experts() const noexcept { return bank_.num_experts(); }
  index_t hidden_size() const noexcept { return bank_.hidden_size(); }
  std::int64_t expert_bytes() const noexcept { return bank_.expert_bytes(); }
  const Bank& bank() const noexcept { return bank_; }

  Status apply(const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) const {
    if (Status status = check_apply(plan, x, y, num_experts(), hidden_size()); !status.ok()) return status;
    const Workspace::Mark mark(ctx.workspace);
    const Rows scaled = ctx.workspace.take_rows(x.rows, x.cols);
    for (index_t t = 0; t < x.rows; ++t) {
      for (index_t i = 0; i < x.cols; ++i) scaled.row_data(t)[i] = factor_ * x.row_data(t)[i];
    }
    return bank_.apply(plan, scaled, y, ctx);
  }

 private:
  ScaledInput(Bank bank, float factor) : bank_(std::move(bank)), factor_(factor) {}

  Bank bank_;
  float factor_;
};

}  // namespace headgate::inline HEADGATE_ABI
