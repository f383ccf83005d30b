#include "exchange.hpp"

headgate::index_t count(const headgate::RoutingPlan& plan) { return plan.entries(); }
headgate::RoutingPlan empty() {
  headgate::RoutingPlan plan;
  plan.clear(2);
  return plan;
}
std::vector<headgate::RoutingPlan> several() { return std::vector<headgate::RoutingPlan>(3); }
headgate::index_t of_shared() { return shared.entries(); }
