#include <array>

#include "headgate/routing/routing_plan.hpp"

headgate::index_t count(const headgate::RoutingPlan& plan);  // use.cpp

int main() {
  headgate::RoutingPlan plan;
  plan.clear(2);
  const std::array<headgate::ExpertId, 2> experts{1, 0};
  const std::array<float, 2> weights{0.5f, 0.5f};
  return plan.append_row(experts, weights).ok() && count(plan) == 2 ? 0 : 1;
}
