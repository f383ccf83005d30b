#include "headgate/core/exactly_equal.hpp"

#include <limits>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("numbers are exactly equal where == says so") {
  constexpr float inf = std::numeric_limits<float>::infinity();
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(exactly_equal(0.0f, -0.0f));
  CHECK(exactly_equal(-inf, -inf));
  CHECK_FALSE(exactly_equal(inf, -inf));
  CHECK_FALSE(exactly_equal(nan, nan));
  CHECK_FALSE(exactly_equal(1.0, 1.0 + std::numeric_limits<double>::epsilon()));
  CHECK(exactly_equal(0.5, 0.5f));
}
