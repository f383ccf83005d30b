// PrototypeRouter: a router of your own, in 40 lines. It needs four things and a State; then every layer, transform and
// test takes it. This one compares a token with a prototype of each expert and chooses all that are nearly as close as
// the closest, so an easy token costs one expert and a doubtful one several.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "headgate/core/context.hpp"
#include "headgate/routing/router.hpp"

using headgate::as_size, headgate::index_t;

class PrototypeRouter {
 public:
  using State = headgate::NoState;  // it remembers nothing

  // prototypes: (num_experts, hidden_size). An expert is chosen if its similarity is within `margin` of the best.
  PrototypeRouter(std::vector<float> prototypes, index_t hidden_size, float margin)
      : prototypes_(std::move(prototypes)), hidden_size_(hidden_size), margin_(margin) {}

  index_t num_experts() const noexcept { return static_cast<index_t>(prototypes_.size()) / hidden_size_; }
  index_t hidden_size() const noexcept { return hidden_size_; }
  headgate::RouterTraits traits() const noexcept {
    return {.k_min = 1, .k_max = num_experts(), .row_sum = headgate::RowSum::one};
  }
  headgate::Status route(const headgate::RouterInput& in, State&, headgate::RoutingPlan& plan,
                         headgate::Context&) const {
    if (in.hidden.cols != hidden_size_) {
      return headgate::Status::mismatch("width of hidden", in.hidden.cols, hidden_size_);
    }
    plan.clear(num_experts());
    std::vector<float> scores(as_size(num_experts()));
    for (index_t t = 0; t < in.hidden.rows; ++t) {
      std::vector<headgate::ExpertId> chosen;
      for (index_t e = 0; e < num_experts(); ++e) {
        scores[as_size(e)] = 0.0f;
        for (index_t i = 0; i < hidden_size_; ++i) {
          scores[as_size(e)] += in.hidden.row(t)[as_size(i)] * prototypes_[as_size(e * hidden_size_ + i)];
        }
        if (!std::isfinite(scores[as_size(e)])) {
          plan.clear(num_experts());  // no half of a plan
          return headgate::Status::not_finite("similarity", in.layer, t, e);
        }
      }
      const float best = *std::max_element(scores.begin(), scores.end());
      for (index_t e = 0; e < num_experts(); ++e) {
        if (scores[as_size(e)] >= best - margin_) chosen.push_back(e);
      }
      std::stable_sort(chosen.begin(), chosen.end(),
                       [&](auto a, auto b) { return scores[as_size(a)] > scores[as_size(b)]; });
      const std::vector<float> weights(chosen.size(), 1.0f / static_cast<float>(chosen.size()));
      if (auto status = plan.append_row(chosen, weights); !status.ok()) return status;
    }
    return headgate::Status::success();
  }

 private:
  std::vector<float> prototypes_;
  index_t hidden_size_;
  float margin_;
};
static_assert(headgate::Router<PrototypeRouter>);
