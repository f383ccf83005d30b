#include "headgate/core/float_modes.hpp"

#include <cfenv>

#include "support/catch.hpp"

using namespace headgate;

namespace {

// 1e-30 * 1e-10, in the modes that hold at this moment.
float denormal() {
  volatile float small = 1e-30f;
  volatile float smaller = 1e-10f;
  volatile float product = small * smaller;
  return product;
}
float third() {
  volatile float one = 1.0f;
  volatile float three = 3.0f;
  volatile float quotient = one / three;
  return quotient;
}

}  // namespace

TEST_CASE("denormals count as zero inside FloatModes, and as themselves outside") {
  const float before = denormal();
  CHECK(before > 0.0f);
  volatile float inside = 1.0f;
  volatile bool read_as_zero = false;
  {
    const FloatModes modes;
    inside = denormal();
    volatile float tiny = 1e-40f;
    volatile float sum = tiny + 0.0f;
    read_as_zero = sum == 0.0f;
  }
  CHECK(inside == 0.0f);
  CHECK(read_as_zero);
  CHECK(denormal() == before);
}

TEST_CASE("FloatModes rounds to nearest and gives the caller's rounding back") {
  const float nearest = third();
  std::fesetround(FE_DOWNWARD);
  const float down = third();
  volatile float inside = 0.0f;
  volatile float nested = 0.0f;
  {
    const FloatModes modes;
    {
      const FloatModes again;
      nested = third();
    }
    inside = third();
  }
  const float after = third();
  std::fesetround(FE_TONEAREST);
  CHECK(down < nearest);
  CHECK(inside == nearest);
  CHECK(nested == nearest);
  CHECK(after == down);
}
