#include "headgate/analysis/policies.hpp"

#include <set>
#include <string>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("every policy has a name of its own, and can be made of a gate alone, small or large") {
  for (const index_t experts : {8, 16, 64}) {
    const std::vector<float> gate = uniform_floats(std::int64_t{experts} * 64, 0.02f, 3);
    const PolicyParameters parameters(ConstRows(gate.data(), experts, 64), 2);
    std::set<std::string> names;
    for (const Policy& policy : all_policies<Scalar>()) {
      INFO(policy.name);
      CHECK(names.insert(policy.name).second);
      CHECK(policy.make(parameters).num_experts() == experts);
    }
    CHECK(names.size() >= 20);
  }
}

TEST_CASE("no policy of the list leaves an expert out, whatever the token") {
  // Tokens along each expert's own row: every expert is the favourite of one of them.
  constexpr index_t experts = 16;
  const std::vector<float> eye = [] {
    std::vector<float> rows(experts * experts, 0.0f);
    for (index_t e = 0; e < experts; ++e) rows[as_size(e * experts + e)] = 4.0f;
    return rows;
  }();
  const PolicyParameters parameters(ConstRows(eye.data(), experts, experts), 2);
  std::vector<std::int32_t> ids;
  for (index_t t = 0; t < experts; ++t) ids.push_back(t);
  for (const Policy& policy : all_policies<Scalar>()) {
    INFO(policy.name);
    if (!policy.random_part.empty()) continue;  // whose favourites are random, too
    Context ctx;
    AnyRouter::State state;
    state.reset(experts);
    RoutingPlan plan;
    REQUIRE(policy.make(parameters)
                .route({.hidden = ConstRows(eye.data(), experts, experts), .token_ids = ids}, state, plan, ctx)
                .ok());
    const std::set<ExpertId> chosen(plan.experts().begin(), plan.experts().end());
    CHECK(chosen.size() == experts);
  }
}

TEST_CASE("as many groups compete as in the model, or as k experts need") {
  const PolicyParameters wide(64, 4, 8, 1);
  CHECK(groups_of(wide, 4).num_groups == 8);
  CHECK(groups_of(wide, 4).topk_group == 4);  // DeepSeek-V3
  CHECK(groups_of(wide, 3).topk_group == 3);  // DeepSeek-V2
  const PolicyParameters small_one(8, 4, 2, 1);
  CHECK(groups_of(small_one, 4).num_groups == 4);
  CHECK(groups_of(small_one, 4).topk_group == 2);
  const PolicyParameters full(65, 4, 64, 1);
  CHECK(groups_of(full, 3).topk_group == 5);
}
