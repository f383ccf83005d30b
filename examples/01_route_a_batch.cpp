// Routes a batch of three tokens to four experts and prints the plan: which experts, with which weights.
#include <cstdio>
#include "headgate/headgate.hpp"

int main() {
  const float gate[] = {1, 0, 0, 1, -1, 0, 0, -1};  // four experts, two numbers each: (4, 2)
  const float tokens[] = {3, 1, -1, 2, 0, -5};      // three tokens: (3, 2)
  const auto router = headgate::mixtral_router({.gate = {gate, 4, 2}}, /*k=*/2).value();
  headgate::NoState state;  // what a router remembers is yours; this one remembers nothing
  headgate::RoutingPlan plan;
  headgate::Context context;  // threads and scratch memory are yours, too
  headgate::throw_if_error(router.route({.hidden = {tokens, 3, 2}}, state, plan, context));
  for (auto i = 0u; i < 6; ++i) std::printf("token %u: expert %d, %.3f\n", i / 2, plan.experts()[i], plan.weights()[i]);
}
