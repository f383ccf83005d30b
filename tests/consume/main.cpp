// Routes two tokens to the two best of three experts.
#include <cstdio>
#include <vector>

#include "headgate/headgate.hpp"

int main() {
  const std::vector<float> gate = {1, 0, 0, 1, -1, 0};  // (3 experts, hidden size 2)
  const headgate::TopKSoftmax router({.gate = {gate.data(), 3, 2}}, headgate::TopK{2}, {});
  const std::vector<float> tokens = {0.5f, 2.0f, -1.0f, 0.25f};
  headgate::RoutingPlan plan;
  headgate::NoState state;
  headgate::Context ctx;
  headgate::throw_if_error(router.route({.hidden = {tokens.data(), 2, 2}}, state, plan, ctx));
  for (headgate::index_t t = 0; t < plan.tokens(); ++t) {
    std::printf("token %d: experts %d, %d\n", t, plan.experts(t)[0], plan.experts(t)[1]);
  }
  return plan.experts(0)[0] == 1 && plan.experts(0)[1] == 0 && plan.experts(1)[0] == 2 && plan.experts(1)[1] == 1 ? 0
                                                                                                                  : 1;
}
