// Every router of analysis/policies.hpp behind AnyRouter, with what the generic properties of routing/router_test.cpp
// do to its parameters. Behind one type, because a law written for each router's own type compiled for five minutes.
#pragma once

#include <functional>
#include <string>

#include "headgate/analysis/policies.hpp"
#include "headgate/routing/any_router.hpp"
#include "support/random.hpp"

// Random parameters of a router, which a property can permute, shift and raise without knowing the router.
struct Instance : headgate::PolicyParameters {
  using PolicyParameters::PolicyParameters;

  // Expert order[i] stands at place i.
  Instance permuted(const std::vector<std::int32_t>& order) const {
    Instance copy = *this;
    for (std::size_t i = 0; i < order.size(); ++i) {
      const std::size_t e = headgate::as_size(order[i]);
      const std::size_t width = headgate::as_size(hidden_size);
      for (std::size_t j = 0; j < width; ++j) copy.gate[i * width + j] = gate[e * width + j];
      copy.gate_bias[i] = gate_bias[e];
      copy.selection_bias[i] = selection_bias[e];
      copy.gain[i] = gain[e];
      copy.mask[i] = mask[e];
    }
    return copy;
  }
  Instance with_logits_shifted(float by) const {
    Instance copy = *this;
    for (float& b : copy.gate_bias) b += by;
    return copy;
  }
  Instance with_logits_scaled(float by) const {
    Instance copy = *this;
    for (float& w : copy.gate) w *= by;
    for (float& b : copy.gate_bias) b *= by;
    return copy;
  }
  Instance with_logit_raised(headgate::ExpertId expert, float by) const {
    Instance copy = *this;
    copy.gate_bias[headgate::as_size(expert)] += by;
    return copy;
  }
};

struct NamedRouter {
  std::string name;
  unsigned laws;
  std::function<headgate::AnyRouter(const Instance&)> make;
};

template <class Backend>
std::vector<NamedRouter> all_routers() {
  std::vector<NamedRouter> routers;
  headgate::for_each_policy<Backend>([&](const char* name, unsigned laws, auto make) {
    routers.push_back({name, laws, [make](const Instance& instance) { return headgate::AnyRouter(make(instance)); }});
  });
  return routers;
}
