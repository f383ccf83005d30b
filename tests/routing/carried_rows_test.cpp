#include "headgate/routing/carried_rows.hpp"

#include "support/catch.hpp"
#include "support/status.hpp"

using namespace headgate;

TEST_CASE("carried rows start at 0 with every pass, keep what is written and know whose they are") {
  CarriedRows carried;
  const float x[6] = {};
  CHECK(carried.enter({x, 0, 2}, 0, 4).ok());
  carried.reset(3);
  CHECK(carried.empty());
  CHECK(carried.enter({x, 2, 2}, 0, 4).allowed == 3);
  REQUIRE(carried.enter({x, 3, 2}, 0, 4).ok());
  carried.rows(4).row_data(2)[3] = 5.0f;
  CHECK_FALSE(carried.empty());
  CHECK(carried.rows(4).row_data(2)[3] == 5.0f);
  CHECK(carried.enter({x, 3, 2}, 1, 5).found == 4);
  carried.reset(3);
  CHECK(carried.empty());
  CHECK(carried.enter({x, 3, 2}, 0, 5).ok());
  const Rows rows = carried.rows(5);
  CHECK(rows.rows == 3);
  CHECK(rows.cols == 5);
  for (index_t t = 0; t < 3; ++t) {
    for (const float v : rows.row(t)) CHECK(v == 0.0f);
  }
}

TEST_CASE("carried rows say what does not fit") {
  CarriedRows carried;
  const float x[6] = {};
  carried.reset(3);
  CHECK(said(carried.enter({x, 2, 2}, 0, 4)) ==
        "usage: rows of hidden against tokens of the router's state (got 2, allowed 3)");
  carried.rows(1).row_data(2)[0] = 1.0f;
  CHECK(said(carried.enter({x, 3, 2}, 0, 2)) == "usage: width of the router's state (got 1, allowed 2)");
  CHECK(said(carried.enter({x, 3, 2}, 0, 1)) == "ok");
}

TEST_CASE("layers ascend within a pass, and a next pass begins with a reset") {
  CarriedRows carried;
  const float x[6] = {};
  carried.reset(3);
  REQUIRE(carried.enter({x, 3, 2}, 2, 4).ok());
  CHECK(carried.enter({x, 3, 2}, 2, 4).allowed == 3);
  CHECK(carried.enter({x, 3, 2}, 0, 4).code == ErrorCode::usage);
  CHECK(carried.enter({x, 3, 2}, 5, 4).ok());
  CHECK(carried.enter({x, 3, 2}, 3, 4).allowed == 6);
  carried.reset(3);
  CHECK(carried.enter({x, 3, 2}, 0, 4).ok());
  carried.reset(3);
  CHECK(carried.enter({x, 3, 2}, -1, 4).allowed == 0);
}
