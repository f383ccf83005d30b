#include "headgate/analysis/routing_columns.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("every column of cost and balance has its value") {
  RoutingMetrics m;
  m.mean_k = 3;
  m.experts_per_token = 1.5;
  m.overlap = 0.25;
  const std::vector<double> cost = cost_values(m, {.bytes_per_expert = 10, .fixed_bytes = 7});
  REQUIRE(cost.size() == cost_columns().size());
  CHECK(cost[2] == 22.0);
  REQUIRE(balance_values(m).size() == balance_columns().size());
  CHECK(balance_values(m).back() == 0.25);
}
