// Experts: the expert weights of one layer (a bank) and how to apply a plan to them. A bank, not an expert, is what the
// layer calls: gathering rows, weighing and combining are the bank's, because they decide the speed.
#pragma once

#include <concepts>

#include "headgate/core/context.hpp"
#include "headgate/core/matrix_view.hpp"
#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

// apply adds sum over the row's entries of weight * E_expert(x_t) to y_t. The entries of a token are added in ascending
// expert id, so the bits depend on nothing but the row. x and y are (tokens, hidden_size) and do not overlap.
template <class B>
concept Experts = requires(const B& bank, const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) {
  { bank.num_experts() } noexcept -> std::same_as<index_t>;
  { bank.hidden_size() } noexcept -> std::same_as<index_t>;
  { bank.expert_bytes() } noexcept -> std::same_as<std::int64_t>;  // weights read for one row of one expert
  { bank.apply(plan, x, y, ctx) } -> std::same_as<Status>;
};

// A bank that also takes a checked plan by expert, or the first experts of one: what a bank around a bank needs.
template <class B>
concept ExpertMajorBank =
    Experts<B> && requires(const B& bank, const ExpertMajor& plan, ConstRows x, Rows y, Context& ctx) {
      { bank.apply(plan, x, y, ctx) } -> std::same_as<Status>;
    };

// What every bank checks before it computes. y may be of another width than x where no layer of experts is meant.
inline Status check_apply(const RoutingPlan& plan, ConstRows x, Rows y, index_t num_experts, index_t x_size,
                          index_t y_size) noexcept {
  if (plan.num_experts() != num_experts && plan.entries() != 0) {
    return Status::mismatch("experts of the plan against experts of the bank", plan.num_experts(), num_experts);
  }
  if (x.rows != plan.tokens()) return Status::mismatch("rows of x against tokens of the plan", x.rows, plan.tokens());
  if (y.rows != plan.tokens()) return Status::mismatch("rows of y against tokens of the plan", y.rows, plan.tokens());
  if (x.cols != x_size) return Status::mismatch("width of x against hidden_size", x.cols, x_size);
  if (y.cols != y_size) return Status::mismatch("width of y against hidden_size", y.cols, y_size);
  return check_apart(x, y);
}
inline Status check_apply(const RoutingPlan& plan, ConstRows x, Rows y, index_t num_experts,
                          index_t hidden_size) noexcept {
  return check_apply(plan, x, y, num_experts, hidden_size, hidden_size);
}

// And the rows that experts will see: NaN and infinity must not reach an activation that would hide them.
template <class Backend>
Status check_finite(const RoutingPlan& plan, ConstRows x) noexcept {
  for (index_t t = 0; t < x.rows; ++t) {
    const std::span<const ExpertId> experts = plan.experts(t);
    if (!experts.empty() && !Backend::all_finite(x.row_data(t), x.cols)) {
      return Status::not_finite("input of an expert is not finite", -1, t, experts[0]);
    }
  }
  return Status::success();
}

// How a bank that takes plans by expert applies any other.
template <class Backend, class Bank>
Status apply_by_expert(const Bank& bank, const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) {
  if (Status status = check_apply(plan, x, y, bank.num_experts(), bank.hidden_size()); !status.ok()) return status;
  if (Status status = check_finite<Backend>(plan, x); !status.ok()) return status;
  const Workspace::Mark mark(ctx.workspace);
  return bank.apply(ExpertMajor::of(plan, ctx.workspace), x, y, ctx);
}

}  // namespace headgate::inline HEADGATE_ABI
