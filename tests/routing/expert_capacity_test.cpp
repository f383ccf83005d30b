#include "headgate/routing/expert_capacity.hpp"

#include <algorithm>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/plan_transform.hpp"
#include "headgate/routing/tutel_cosine_router.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/reference_moe.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"
#include "support/transposed.hpp"

namespace {
using namespace headgate;
}

TEST_CASE("Tutel's capacity and what it leaves of a plan: the same number, the same entries, also by priority") {
  const auto cases = golden("tutel");
  REQUIRE(cases.size() == 6);
  int dropped = 0;
  for (const auto& c : cases) {
    const auto n = c["experts"].get<index_t>();
    const auto k = c["k"].get<index_t>();
    INFO(n << " experts, k " << k << ", capacity factor " << c["capacity_factor"] << ", margin " << c["margin"]);
    const std::vector<float> prototypes = transposed(values(c["sim_matrix"]), n);
    const std::vector<float> projector = values(c["projector"]);
    const std::vector<float> bias = values(c["projector_bias"]);
    const std::vector<float> x = values(c["hidden"]);
    const auto width = static_cast<index_t>(bias.size());
    const auto router = tutel_cosine_router({.prototypes = {prototypes.data(), n, width},
                                             .temperature = c["temperature"],
                                             .projector = {projector.data(), width, 10},
                                             .projector_bias = bias},
                                            k)
                            .value();
    const RoutingPlan plan = routed(router, {x.data(), 8, 10});
    Workspace workspace;
    const index_t capacity = tutel_capacity(8, n, k, c["capacity_factor"], largest_load(plan, workspace));
    CHECK(capacity == c["capacity"].get<index_t>());
    RoutingPlan left;
    constexpr auto as_is = WeightsAfterDrop::as_they_are;
    if (c["by_priority"]) {
      std::vector<float> z = values(c["logits"]);
      std::vector<float> priorities;
      for (index_t t = 0; t < 8; ++t) {
        const std::span<float> row = std::span(z).subspan(as_size(t * n), as_size(n));
        NativeBackend::softmax(row.data(), n);
        priorities.push_back(*std::max_element(row.begin(), row.end()));
      }
      throw_if_error(limit_capacity(plan, capacity, priorities, as_is, left));
    } else {
      throw_if_error(limit_capacity(plan, capacity, CapacityOrder::token, as_is, left));
    }
    const auto kept = values<int>(c["kept"]);
    for (index_t t = 0; t < 8; ++t) {
      std::vector<ExpertId> expected;
      for (index_t i = 0; i < k; ++i) {
        if (kept[as_size(t * k + i)] != 0) expected.push_back(plan.experts(t)[as_size(i)]);
      }
      CHECK(experts_of(left, t) == expected);
    }
    dropped += plan.entries() - left.entries();
  }
  CHECK(dropped > 10);
}

TEST_CASE("DeepSpeed's capacity of two choices, for a hundred shapes") {
  const auto cases = golden("capacity");
  REQUIRE(cases.size() == 100);
  for (const auto& c : cases) {
    INFO(c);
    CHECK(gshard_capacity(c[0], c[1], c[2], 4) == c[3].get<index_t>());
  }
}

TEST_CASE("capacities of Switch, Tutel and OpenMoE by hand") {
  CHECK(switch_capacity(100, 8, 1.0) == 12);   // 12.5, to even
  CHECK(switch_capacity(108, 8, 1.0) == 14);   // 13.5
  CHECK(switch_capacity(100, 8, 1.25) == 16);  // 15.625
  CHECK(switch_capacity(10, 8, 1.25) == 4);
  CHECK(switch_capacity(10, 8, 1.25, 1) == 2);  // 1.5625
  CHECK(switch_capacity(0, 8, 1.25, 0) == 0);
  CHECK(tutel_capacity(10, 4, 2, 1.0, 0) == 6);   // ceil(2.5) = 3, twice
  CHECK(tutel_capacity(10, 4, 2, 1.25, 0) == 6);  // 3.75
  CHECK(tutel_capacity(10, 4, 2, 1.25, 0, 4) == 8);
  CHECK(tutel_capacity(10, 4, 2, 0.0, 9) == 9);
  CHECK(tutel_capacity(10, 4, 2, 0.0, 9, 8) == 16);
  CHECK(tutel_capacity(10, 4, 2, -1.0, 9) == 6);
  CHECK(tutel_capacity(10, 4, 2, -1.0, 5) == 5);
  CHECK(openmoe_capacity(100, 32, 2, 1.25) == 8);  // 7.8: 7, even 8
  CHECK(openmoe_capacity(100, 32, 2, 2.0) == 12);  // 12.5
  CHECK(openmoe_capacity(10, 32, 2, 2.0) == 4);
  CHECK(openmoe_capacity(10, 32, 2, 2.0, 2) == 2);  // 1.25: 1, even 2
  // Beyond what a count holds.
  CHECK(switch_capacity(max_index, 1, 1e9) == max_index);
  CHECK(openmoe_capacity(max_index, 1, 8, 1e9) == max_index - 1);
  CHECK(gshard_capacity(max_index, 1, 1e9f, 4) == max_index);
  CHECK(tutel_capacity(max_index, 1, 8, 1e9, 0, 8) == max_index);
}

TEST_CASE("what capacity drops in token order lies towards the end of the sequences") {
  const RoutingPlan plan = reference::random_plan(128, 7, [](index_t) { return 2; }, 8);
  RoutingPlan left;
  throw_if_error(limit_capacity(plan, 20, CapacityOrder::token, WeightsAfterDrop::as_they_are, left));
  std::vector<std::int64_t> dropped(4);
  throw_if_error(count_dropped(plan, left, 128, dropped));
  CHECK(dropped[0] + dropped[1] + dropped[2] + dropped[3] == plan.entries() - left.entries());
  CHECK(dropped[0] < dropped[3]);
  CHECK(dropped[3] > 20);
  // Two sequences: parts of each are added up. Five parts of 64 rows: 13 or 12 rows each.
  std::vector<std::int64_t> of_two(2);
  throw_if_error(count_dropped(plan, left, 64, of_two));
  CHECK(of_two[0] == dropped[0] + dropped[2]);
  CHECK(of_two[1] == dropped[1] + dropped[3]);
  throw_if_error(count_dropped(plan, plan, 128, dropped));
  CHECK(dropped == std::vector<std::int64_t>(4, 0));
}

TEST_CASE("counting what was dropped refuses plans that are not one of the other, and no parts") {
  const RoutingPlan plan = reference::random_plan(9, 5, [](index_t t) { return t % 3; }, 2);
  const RoutingPlan shorter = reference::random_plan(8, 5, [](index_t) { return 0; }, 2);
  const RoutingPlan fewer = reference::random_plan(9, 5, [](index_t) { return 0; }, 2);
  std::vector<std::int64_t> dropped(2);
  CHECK(said(count_dropped(plan, fewer, 9, dropped)) == "ok");
  CHECK(said(count_dropped(plan, shorter, 9, dropped)) ==
        "usage: rows of a plan after dropping against before (got 8, allowed 9)");
  CHECK(said(count_dropped(fewer, plan, 9, dropped)) ==
        "usage: a row has more entries after dropping than before, token 1");
  CHECK(said(count_dropped(plan, fewer, 0, dropped)) == "usage: rows of a sequence, at least (got 0, allowed 1)");
  CHECK(said(count_dropped(plan, fewer, 9, {})) == "usage: parts of a sequence, at least (got 0, allowed 1)");
}
