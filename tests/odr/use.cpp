#include "headgate/routing/routing_plan.hpp"

headgate::index_t count(const headgate::RoutingPlan& plan);

headgate::index_t count(const headgate::RoutingPlan& plan) { return plan.entries(); }
