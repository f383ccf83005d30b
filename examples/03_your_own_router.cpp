// Three tokens through a router of your own, which prototype_router.hpp writes in forty lines.
#include <cstdio>
#include <vector>

#include "prototype_router.hpp"

int main() {
  const PrototypeRouter router({1, 0, 0, 1, -1, 0}, 2, 0.25f);  // three experts: east, north, west
  const std::vector<float> tokens = {0.9f, 0.1f, 0.6f, 0.5f, -0.2f, 0.8f};
  headgate::Context ctx;
  headgate::NoState state;
  headgate::RoutingPlan plan;
  headgate::throw_if_error(router.route({.hidden = {tokens.data(), 3, 2}}, state, plan, ctx));
  for (index_t t = 0; t < plan.tokens(); ++t) {
    std::printf("token %d:", t);
    for (const headgate::ExpertId e : plan.experts(t)) std::printf(" expert %d", e);
    std::printf(", weight %.2f each\n", plan.weights(t)[0]);
  }
}
