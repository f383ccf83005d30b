// A Status that nobody looks at is a lost error.
// expect: ignoring return(ed)? value
#include "headgate/routing/routing_plan.hpp"

#pragma GCC diagnostic error "-Wunused-result"

void reserve(headgate::RoutingPlan& plan) {
#ifdef HEADGATE_COMPILE_FAIL
  plan.reserve(8, 16);
#else
  (void)plan.reserve(8, 16);
#endif
}
