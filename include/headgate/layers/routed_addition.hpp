// RoutedAddition: a router and experts beside a projection of an attention (attention/added_projection.hpp), so that
//   q = W_q x + sum_i weight_i E_i(x),  and so k, v, and y of what the attention has mixed
// as LoRA-Mixer has them on the projections in and out of an attention (Li et al. 2025, arXiv 2507.00029, section 3)
// and MoLA on every one (Gao et al. 2024, 2402.08562). RoutedLinear without its base, for attentions keep theirs in
// panels of their own. The router reads what the projection reads, and remembers nothing: an attention has no place for
// its state. Each call has a plan of its own, which is memory.
#pragma once

#include <type_traits>
#include <utility>

#include "headgate/attention/added_projection.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/layers/routed_linear.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of structures: RoutedAddition | routed experts beside the projections inside an attention |
//   Li et al. 2025, 2507.00029
template <Router R, LinearExperts E>
  requires std::is_same_v<typename R::State, NoState>
class RoutedAddition final : public AddedProjection {
 public:
  // usage: the parts do not fit each other.
  static Expected<RoutedAddition> create(R router, E experts) {
    if (router.num_experts() != experts.num_experts()) {
      return Status::mismatch("experts of the router against experts of the bank", router.num_experts(),
                              experts.num_experts());
    }
    if (router.hidden_size() != experts.in_size()) {
      return Status::mismatch("hidden_size of the router against in_size of the experts", router.hidden_size(),
                              experts.in_size());
    }
    return RoutedAddition(std::move(router), std::move(experts), Checked{});
  }
  // Throws the same error.
  RoutedAddition(R router, E experts)
    requires has_exceptions
      : RoutedAddition(create(std::move(router), std::move(experts)).value()) {}

  index_t in_size() const noexcept override { return experts_.in_size(); }
  index_t out_size() const noexcept override { return experts_.out_size(); }
  Status add(ConstRows x, Rows y, Context& ctx) const override {
    NoState state;
    RoutingPlan plan;
    if (Status status = router_.route({.hidden = x}, state, plan, ctx); !status.ok()) return status;
    return experts_.apply(plan, x, y, ctx);
  }

 private:
  struct Checked {};
  RoutedAddition(R router, E experts, Checked) : router_(std::move(router)), experts_(std::move(experts)) {}

  R router_;
  E experts_;
};

}  // namespace headgate::inline HEADGATE_ABI
