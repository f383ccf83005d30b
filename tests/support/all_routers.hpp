// Every policy of analysis/policies.hpp, those of a header of your own (-DHEADGATE_POLICIES) and, for the laws alone,
// some that are masked or degenerate; with what the generic properties of routing/router_test.cpp do to its parameters.
// Behind one type, because a law written for each router's own type compiled for five minutes.
#pragma once

#include <functional>
#include <string>

#include "headgate/analysis/policies.hpp"
#include "headgate/routing/any_router.hpp"
#include "support/random.hpp"
#include HEADGATE_POLICIES

// Random parameters of a router, which a property can permute, shift and raise without knowing the router.
struct Instance : headgate::PolicyParameters {
  Instance(headgate::index_t experts, headgate::index_t hidden, headgate::index_t chosen, unsigned seed)
      : PolicyParameters(experts, hidden, chosen, seed), mask(headgate::as_size(experts), 1) {
    for (std::size_t e = 1; e < mask.size(); e += 3) mask[e] = 0;  // at least one expert stays
  }
  std::vector<std::uint8_t> mask;  // (num_experts)

  headgate::GateWeights masked() const {
    headgate::GateWeights weights = biased();
    weights.mask = mask;
    return weights;
  }

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
  using namespace headgate;
  using NormalizedThenScaled = Then<Renormalize, Scale>;
  using I = const Instance&;
  std::vector<NamedRouter> routers;
  Policies policies = all_policies<Backend>();
  add_policies(policies);
  for (const Policy& policy : policies) routers.push_back({policy.name, policy.laws, policy.make});
  // clang-format off
  routers.push_back({"test: masked top-k, softmax", shift_invariant, [](I i) { return granite_router<Backend>(i.masked(), i.k).value(); }});
  routers.push_back({"test: masked biased sigmoid", no_law, [](I i) { return StagedRouter<SigmoidScore, TopK, Renormalize, Backend>(i.masked(), {i.k}, {}); }});
  routers.push_back({"test: biased sigmoid, scaled", no_law, [](I i) { return StagedRouter<SigmoidScore, TopK, NormalizedThenScaled, Backend>(i.biased(), {i.k}, {{}, {2.5f}}); }});
  routers.push_back({"test: masked top-p", shift_invariant, [](I i) { return StagedRouter<SoftmaxScore, TopP, Renormalize, Backend>(i.masked(), {0.6f, i.k}, {}); }});
  routers.push_back({"test: AdaMoE without nulls", shift_invariant | logit_order, [](I i) { return adamoe_of<Backend>(i, 0); }});
  // clang-format on
  return routers;
}
