#include "headgate/analysis/comparison.hpp"

#include "headgate/analysis/routing_columns.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a comparison prints aligned columns and quotes its CSV") {
  const double none = std::nan("");
  Comparison table{"t", "", {"model"}, {{"a", "alpha", 2}, {"b", "b", 0}}, {}};
  table.rows.push_back({{"x, \"y\""}, {{1.25, 1, 2}, {3, 3, 3}}, {}});
  table.rows.push_back({{"z"}, {{none, none, none}, {12345, 1, 2}}, {}});
  CHECK(table.text() == "model   alpha      b\nx, \"y\"   1.25      3\nz           -  12345\n");
  CHECK(table.csv() == "model,a,a_low,a_high,b,b_low,b_high\r\n\"x, \"\"y\"\"\",1.25,1,2,3,3,3\r\nz,,,,12345,1,2\r\n");
  CHECK(table.column_of("b") == 1);
  CHECK(table.column_of("c") == 2);
}
