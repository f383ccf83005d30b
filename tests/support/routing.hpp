// Routing in one line, for tests of single policies.
#pragma once

#include <vector>

#include "headgate/routing/router.hpp"
#include "support/catch.hpp"

// The plan of one call of a router that remembers nothing, or of the first layer of one that does.
template <headgate::Router R>
headgate::RoutingPlan routed(const R& router, headgate::ConstRows x, headgate::Context& ctx,
                             std::span<const std::int32_t> token_ids = {}, const headgate::RouteEdits& edits = {}) {
  typename R::State state;
  state.reset(x.rows);
  headgate::RoutingPlan plan;
  const headgate::Status status = router.route({.hidden = x, .token_ids = token_ids, .edits = edits}, state, plan, ctx);
  INFO(headgate::Error::describe(status));
  REQUIRE(status.ok());
  REQUIRE(plan.tokens() == x.rows);
  return plan;
}
template <headgate::Router R>
headgate::RoutingPlan routed(const R& router, headgate::ConstRows x, std::span<const std::int32_t> token_ids = {}) {
  headgate::Context ctx;
  return routed(router, x, ctx, token_ids);
}

// As the call's edits ask.
template <headgate::Router R>
headgate::RoutingPlan routed(const R& router, headgate::ConstRows x, const headgate::RouteEdits& edits) {
  headgate::Context ctx;
  return routed(router, x, ctx, {}, edits);
}

// Rows of these experts, each of weight 1.
inline headgate::RoutingPlan plan_of(headgate::index_t num_experts,
                                     const std::vector<std::vector<headgate::ExpertId>>& rows) {
  headgate::RoutingPlan plan;
  plan.clear(num_experts);
  for (const std::vector<headgate::ExpertId>& row : rows) {
    REQUIRE(plan.append_row(row, std::vector<float>(row.size(), 1.0f)).ok());
  }
  return plan;
}

inline std::vector<headgate::ExpertId> experts_of(const headgate::RoutingPlan& plan, headgate::index_t token) {
  return {plan.experts(token).begin(), plan.experts(token).end()};
}
inline std::vector<float> weights_of(const headgate::RoutingPlan& plan, headgate::index_t token) {
  return {plan.weights(token).begin(), plan.weights(token).end()};
}
// By expert; 0 where it is not chosen.
inline std::vector<float> dense_weights(const headgate::RoutingPlan& plan, headgate::index_t token) {
  std::vector<float> dense(headgate::as_size(plan.num_experts()), 0.0f);
  for (std::size_t i = 0; i < plan.experts(token).size(); ++i) {
    dense[headgate::as_size(plan.experts(token)[i])] = plan.weights(token)[i];
  }
  return dense;
}

// A gate that makes its input the logits.
inline std::vector<float> identity_gate(headgate::index_t n) {
  std::vector<float> gate(headgate::as_size(n) * headgate::as_size(n), 0.0f);
  for (headgate::index_t i = 0; i < n; ++i) gate[headgate::as_size(i * n + i)] = 1.0f;
  return gate;
}
