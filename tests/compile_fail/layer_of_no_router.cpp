// The first half of a layer is a router: something with route().
// expect: router\.route\(
#include "headgate/experts/any_experts.hpp"
#include "headgate/layers/moe_layer.hpp"

struct Fixed {
  using State = headgate::NoState;
  headgate::index_t num_experts() const noexcept { return 1; }
  headgate::index_t hidden_size() const noexcept { return 1; }
  headgate::RouterTraits traits() const noexcept { return {}; }
#ifndef HEADGATE_COMPILE_FAIL
  headgate::Status route(const headgate::RouterInput&, State&, headgate::RoutingPlan& plan, headgate::Context&) const {
    plan.clear(num_experts());
    return headgate::Status::success();
  }
#endif
};

using Layer = headgate::MoELayer<Fixed, headgate::AnyExperts>;
headgate::index_t width(const Layer& layer) { return layer.router().hidden_size(); }
