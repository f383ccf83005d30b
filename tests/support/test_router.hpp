// The smallest router with logits: the k largest of W x, weighed by the softmax over all of them. For tests of layers.
#pragma once

#include <cmath>

#include "headgate/kernels/scalar.hpp"
#include "headgate/routing/router.hpp"
#include "support/reference_moe.hpp"

struct TestRouter {
  using State = headgate::NoState;

  TestRouter(headgate::index_t num_experts, headgate::index_t hidden_size, headgate::index_t k_of_row, unsigned seed)
      : k(k_of_row) {
    std::mt19937 rng(seed);
    gate = reference::Matrix::random(num_experts, hidden_size, 0.5f, rng);
  }
  headgate::index_t num_experts() const noexcept { return gate.rows; }
  headgate::index_t hidden_size() const noexcept { return gate.cols; }
  headgate::RouterTraits traits() const noexcept {
    return {.k_min = k, .k_max = k, .row_sum = headgate::RowSum::at_most_one};
  }

  headgate::Status route(const headgate::RouterInput& in, State&, headgate::RoutingPlan& plan,
                         headgate::Context&) const {
    plan.clear(num_experts());
    std::vector<float> scores(headgate::as_size(num_experts()));
    std::vector<headgate::ExpertId> ids(headgate::as_size(k));
    std::vector<float> weights;
    for (headgate::index_t t = 0; t < in.hidden.rows; ++t) {
      for (headgate::index_t e = 0; e < num_experts(); ++e) {
        scores[headgate::as_size(e)] =
            headgate::Scalar::dot(in.hidden.row_data(t), gate.view().row_data(e), hidden_size());
        if (!std::isfinite(scores[headgate::as_size(e)])) return headgate::Status::not_finite("router logit", -1, t);
      }
      headgate::Scalar::softmax(scores.data(), num_experts());
      headgate::Scalar::top_k(scores.data(), num_experts(), k, ids.data());
      weights.clear();
      for (const headgate::ExpertId e : ids) weights.push_back(scores[headgate::as_size(e)]);
      if (headgate::Status status = plan.append_row(ids, weights); !status.ok()) return status;
    }
    return headgate::Status::success();
  }

  headgate::index_t k;
  reference::Matrix gate;  // (num_experts, hidden_size)
};
static_assert(headgate::Router<TestRouter>);
