#include "headgate/analysis/row_likeness.hpp"

#include <vector>

#include "support/catch.hpp"

using namespace headgate;

namespace {

// Mean of the agreement of {0, ..., a - 1} with every set of b among E experts.
double enumerated_chance(index_t a, index_t b, index_t num_experts) {
  std::vector<ExpertId> first;
  for (ExpertId e = 0; e < a; ++e) first.push_back(e);
  double sum = 0;
  double count = 0;
  for (unsigned bits = 0; bits < 1u << num_experts; ++bits) {
    std::vector<ExpertId> second;
    for (ExpertId e = 0; e < num_experts; ++e) {
      if ((bits >> e & 1u) != 0) second.push_back(e);
    }
    if (static_cast<index_t>(second.size()) != b) continue;
    sum += agreement(first, second);
    count += 1;
  }
  return sum / count;
}

RoutingPlan plan_of(const std::vector<std::pair<std::vector<ExpertId>, std::vector<float>>>& rows) {
  RoutingPlan plan;
  plan.clear(4);
  for (const auto& [experts, weights] : rows) REQUIRE(plan.append_row(experts, weights).ok());
  return plan;
}

}  // namespace

TEST_CASE("agreement by chance is the mean over all sets of the same sizes") {
  for (index_t a = 0; a <= 7; ++a) {
    for (index_t b = 0; b <= 7; ++b) {
      INFO(a << " and " << b);
      CHECK(agreement_by_chance(a, b, 7) == Catch::Approx(enumerated_chance(a, b, 7)).margin(1e-12));
    }
  }
  CHECK(agreement_by_chance(2048, 2048, 4096) == Catch::Approx(1.0 / 3).epsilon(1e-3));
  CHECK(agreement_by_chance(1, 1, 1) == 1.0);
}

TEST_CASE("weights of two rows are as far apart as computed by hand") {
  const RoutingPlan a = plan_of({{{0, 1}, {0.75f, 0.25f}}, {{}, {}}, {{2}, {0.0f}}, {{3, 0}, {-0.5f, 0.5f}}});
  const RoutingPlan b = plan_of({{{1, 2}, {1.0f, 1.0f}}, {{}, {}}, {{3}, {4.0f}}, {{0, 3}, {1.0f, -1.0f}}});
  const WeightLikeness first = weight_likeness(a, 0, b, 0);
  CHECK(first.distance == Catch::Approx(0.75 + 0.75 + 1.0));
  CHECK(first.total_variation == Catch::Approx((0.75 + 0.25 + 0.5) / 2));
  CHECK(weight_likeness(a, 1, b, 1).distance == 0.0);
  CHECK(weight_likeness(a, 1, b, 1).total_variation == 0.0);
  CHECK(weight_likeness(a, 2, b, 2).distance == 4.0);
  CHECK(weight_likeness(a, 2, b, 2).total_variation == 1.0);  // a row that weighs nothing
  CHECK(weight_likeness(a, 1, b, 0).total_variation == 1.0);  // an empty row
  CHECK(weight_likeness(a, 3, b, 3).distance == Catch::Approx(1.0));
  CHECK(weight_likeness(a, 3, b, 3).total_variation == 0.0);
  CHECK(weight_likeness(a, 0, b, 2).total_variation == Catch::Approx(1.0));  // no expert in common
}

TEST_CASE("agreement is the share of the experts of either row that are in both") {
  const std::vector<ExpertId> a = {4, 0, 2}, b = {2, 3, 4, 1}, none;
  CHECK(common_experts(a, b) == 2);
  CHECK(common_experts(b, a) == 2);
  CHECK(agreement(a, b) == 0.4);
  CHECK(agreement(a, a) == 1.0);
  CHECK(agreement(a, none) == 0.0);
  CHECK(agreement(none, none) == 1.0);
  CHECK(agreement_by_chance(0, 0, 9) == 1.0);
  CHECK(agreement_by_chance(0, 3, 9) == 0.0);
  CHECK(agreement_by_chance(3, 0, 9) == 0.0);
  CHECK(agreement_by_chance(9, 3, 9) == Catch::Approx(3.0 / 9));
  // Of 100,000 experts all but two, twice: nothing overflows.
  CHECK(agreement_by_chance(99'998, 99'998, 100'000) == Catch::Approx(99'996.0 / 100'000).epsilon(1e-7));
}
