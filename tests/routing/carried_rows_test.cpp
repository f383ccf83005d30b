#include "headgate/routing/carried_rows.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("carried rows start at 0 with every pass, keep what is written and know whose they are") {
  CarriedRows carried;
  const float x[6] = {};
  CHECK(carried.check({x, 0, 2}, 4).ok());
  carried.reset(3);
  CHECK(carried.empty());
  CHECK(carried.check({x, 2, 2}, 4).allowed == 3);
  REQUIRE(carried.check({x, 3, 2}, 4).ok());
  carried.rows(4).row_data(2)[3] = 5.0f;
  CHECK_FALSE(carried.empty());
  CHECK(carried.rows(4).row_data(2)[3] == 5.0f);
  CHECK(carried.check({x, 3, 2}, 5).found == 4);
  carried.reset(3);
  CHECK(carried.empty());
  CHECK(carried.check({x, 3, 2}, 5).ok());
  const Rows rows = carried.rows(5);
  CHECK(rows.rows == 3);
  CHECK(rows.cols == 5);
  for (index_t t = 0; t < 3; ++t) {
    for (const float v : rows.row(t)) CHECK(v == 0.0f);
  }
}
