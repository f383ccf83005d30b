#include "headgate/kernels/fused_multiply_add.hpp"

#include <bit>
#include <limits>
#include <random>

#include "support/catch.hpp"

using namespace headgate;

namespace {

bool same(float x, float y) {
  return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y) || (std::isnan(x) && std::isnan(y));
}

}  // namespace

TEST_CASE("a multiplication and an addition are rounded once, on every system") {
  struct Case {
    float a, b, c, expected;
  };
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Case cases[] = {
      {0x1.a2b7dcp-2f, 0x1.c61884p-1f, -0x1.f33b22p-23f, 0x1.735d06p-2f},  // MinGW-w64 10: ...04p-2
      {1.0f + 0x1p-12f, 1.0f + 0x1p-12f, -1.0f, 0x1p-11f + 0x1p-24f},      // the product alone would lose 2^-24
      {0x1p-30f, 0x1p-30f, 1.0f + 0x1p-23f, 1.0f + 0x1p-23f},              // below half a unit
      {1.0f + 0x1p-12f, 0x1p-12f, 1.0f, 1.0f + 0x1p-12f},                  // in the middle: to even
      {1.0f, 0x1p-24f, 1.0f, 1.0f},                                        // the middle itself
      {0x1.000002p0f, 0x1p-24f, 1.0f, 1.0f + 0x1p-23f},                    // just above the middle
      {0x1.fffffep-1f, 0x1p-24f, 1.0f, 1.0f},                              // just below it
      {0x1.000002p-76f, 0x1.000002p-74f, 0.0f, 0x1p-149f},                 // above half of the smallest denormal
      {0x1p-75f, 0x1p-75f, 0.0f, 0.0f},                                    // the half itself
      {0x1p100f, 0x1p100f, -1.0f, infinity},
      {infinity, 1.0f, -infinity, nan},
      {infinity, 0.0f, 1.0f, nan},
      {-1.0f, 0.0f, 0.0f, 0.0f},
      {-1.0f, 0.0f, -0.0f, -0.0f},
  };
  for (const Case& c : cases) {
    INFO(c.a << " * " << c.b << " + " << c.c);
    CHECK(same(fused_multiply_add(c.a, c.b, c.c), c.expected));
    CHECK(same(detail::fused_by_double(c.a, c.b, c.c), c.expected));
  }
}

#if !defined(__MINGW32__)
TEST_CASE("the way by double has the bits of std::fma for any numbers") {
  std::mt19937 engine(1);
  const auto bits = [&] { return static_cast<std::uint32_t>(engine()); };
  // Any bits; or 24, 12 or 4 bits of precision and exponents close to each other.
  const auto number = [&] {
    const std::uint32_t kind = bits() % 4;
    if (kind == 0) return std::bit_cast<float>(bits());
    const std::uint32_t fraction = bits() & (kind == 1 ? 0x7fffffu : kind == 2 ? 0x7ff800u : 0x780000u);
    return std::bit_cast<float>((bits() & 0x80000000u) | (115u + bits() % 24u) << 23 | fraction);
  };
  int different = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const float a = number();
    const float b = number();
    const float c = bits() % 4 == 0 ? a * b * (bits() % 2 == 0 ? -1.0f : 0x1p24f) : number();
    if (!same(detail::fused_by_double(a, b, c), std::fma(a, b, c))) ++different;
  }
  CHECK(different == 0);
}
#endif
