#include "headgate/attention/rope.hpp"

#include "support/catch.hpp"
#include "support/status.hpp"

using namespace headgate;

TEST_CASE("rotary angles are position times theta to the power -2i/d, also at large positions") {
  const Rope rope = Rope::create(10000.0, 26).value();
  REQUIRE(rope.half() == 13);
  for (const index_t first : {0, 1, 1000000}) {
    std::vector<float> cosines(3 * 13);
    std::vector<float> sines(3 * 13);
    rope.angles(first, {cosines.data(), 3, 13}, {sines.data(), 3, 13});
    for (index_t t = 0; t < 3; ++t) {
      for (index_t i = 0; i < 13; ++i) {
        const long double angle = static_cast<long double>(first + t) * powl(10000.0L, -2.0L * i / 26.0L);
        CHECK(std::abs(cosines[as_size(t * 13 + i)] - static_cast<float>(cosl(angle))) < 1e-7f);
        CHECK(std::abs(sines[as_size(t * 13 + i)] - static_cast<float>(sinl(angle))) < 1e-7f);
      }
    }
  }
}

TEST_CASE("position 0 is not turned") {
  const Rope rope = Rope::create(500.0, 4).value();
  float cosines[2];
  float sines[2];
  rope.angles(0, {cosines, 1, 2}, {sines, 1, 2});
  CHECK(cosines[0] == 1.0f);
  CHECK(cosines[1] == 1.0f);
  CHECK(sines[0] == 0.0f);
  CHECK(sines[1] == 0.0f);
}

TEST_CASE("rotary positions need an even head and a positive finite theta") {
  CHECK(!Rope::create(10000.0, 7));
  CHECK(!Rope::create(10000.0, 0));
  CHECK(!Rope::create(0.0, 8));
  CHECK(!Rope::create(-1.0, 8));
  CHECK(!Rope::create(std::numeric_limits<double>::infinity(), 8));
  CHECK(!Rope::create(std::numeric_limits<double>::quiet_NaN(), 8));
  CHECK(Rope::create(1.0, 2));
}

TEST_CASE("rotary positions say what is allowed, and take the smallest head") {
  CHECK(refused(Rope::create(10000.0, 2)) == "made");
  CHECK(refused(Rope::create(1e-300, 2)) == "made");
  CHECK(refused(Rope::create(10000.0, 1)) == "head_dim of rotary positions, even and at least (got 1, allowed 2)");
  CHECK(refused(Rope::create(10000.0, 0)) == "head_dim of rotary positions, even and at least (got 0, allowed 2)");
  CHECK(refused(Rope::create(10000.0, 5)) == "head_dim of rotary positions, even and at least (got 5, allowed 2)");
  CHECK(refused(Rope::create(0.0, 2)) == "rope_theta: expected a positive number, found 0.000000");
}
