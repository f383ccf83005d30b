#include <array>
#include <utility>

#include "exchange.hpp"

headgate::RoutingPlan shared;

int main() {
  headgate::RoutingPlan plan = empty();
  shared.clear(2);
  const std::array<headgate::ExpertId, 2> experts{1, 0};
  const std::array<float, 2> weights{0.5f, 0.5f};
  return plan.append_row(experts, weights).ok() && count(plan) == 2 && of_shared() == 0 && several().size() == 3 ? 0
                                                                                                                 : 1;
}
