#include "headgate/analysis/routing_columns.hpp"

#include "support/catch.hpp"

using namespace headgate;

namespace {

// One number a column, under the keys that CSV and JSON carry.
void check_keys(const std::vector<ComparisonColumn>& columns, const std::vector<std::string>& keys) {
  REQUIRE(columns.size() == keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) CHECK(columns[i].key == keys[i]);
}

}  // namespace

TEST_CASE("every column of cost, balance, overlap and likeness has its value") {
  RoutingMetrics m;
  m.mean_k = 3;
  m.experts_per_token = 1.5;
  m.max_violation = 1;
  m.variation = 2;
  m.gini = 4;
  m.jain = 5;
  m.entropy_ratio = 6;
  m.dead = 7;
  m.overlap = 8;
  m.overlap_by_chance = 9;
  m.overlap_by_load = 10;
  check_keys(cost_columns(), {"mean_k", "experts_per_token", "weight_bytes_per_token"});
  CHECK(cost_values(m, {.bytes_per_expert = 10, .fixed_bytes = 7}) == std::vector<double>{3, 1.5, 22});
  check_keys(balance_columns(), {"max_violation", "variation", "gini", "jain", "entropy_ratio", "dead_experts"});
  CHECK(balance_values(m) == std::vector<double>{1, 2, 4, 5, 6, 7});
  check_keys(overlap_columns(), {"adjacent_overlap", "overlap_by_chance", "overlap_by_load"});
  CHECK(overlap_values(m) == std::vector<double>{8, 9, 10});
}
