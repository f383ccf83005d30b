// The router of example 03 as a policy: what a header for -DHEADGATE_POLICIES looks like, and what the tests add where
// none is given.
#pragma once

#include "../../examples/prototype_router.hpp"
#include "headgate/analysis/policies.hpp"

inline void add_policies(headgate::Policies& policies) {
  policies.push_back({"prototypes", headgate::no_law, [](const headgate::PolicyParameters& p) {
                        return PrototypeRouter(p.gate, p.hidden_size, /*margin=*/1.5f);
                      }});
}
