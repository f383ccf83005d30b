#include "headgate/sampling/random.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("SplitMix64 gives the published sequence") {
  SplitMix64 random(1234567);  // from the authors' C code
  CHECK(random.next() == 6457827717110365317u);
  CHECK(random.next() == 3203168211198807973u);
  CHECK(random.next() == 9817491932198370423u);
}

TEST_CASE("unit numbers lie in [0, 1) and fill it evenly") {
  SplitMix64 random(0);
  int bins[8] = {};
  for (int i = 0; i < 80000; ++i) {
    const double u = random.next_unit();
    REQUIRE(u >= 0.0);
    REQUIRE(u < 1.0);
    ++bins[static_cast<int>(u * 8)];
  }
  for (const int count : bins) CHECK(std::abs(count - 10000) < 400);
}
