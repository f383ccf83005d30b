// What two objects exchange in check_link.py: our types as a parameter, as a result, in a result and as a variable.
#pragma once

#include <vector>

#include "headgate/routing/routing_plan.hpp"

headgate::index_t count(const headgate::RoutingPlan& plan);
headgate::RoutingPlan empty();
std::vector<headgate::RoutingPlan> several();
extern headgate::RoutingPlan shared;  // in make.cpp
headgate::index_t of_shared();
