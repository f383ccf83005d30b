#include "headgate/kernels/simd/exp.hpp"

#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

template <class Arch>
float exp_of(float x) {
  float y[lanes<Arch>];
  exp<Arch>(Floats<Arch>(x)).store_unaligned(y);
  return y[lanes<Arch> - 1];
}
template <class Arch>
float erf_of(float x) {
  float y[lanes<Arch>];
  erf<Arch>(Floats<Arch>(x)).store_unaligned(y);
  return y[0];
}

// In units of the last place of the exact value.
double ulps(float found, double exact) {
  const double place = std::ldexp(1.0, std::max(std::ilogb(exact), -126) - 23);
  return std::abs(double{found} - exact) / place;
}

}  // namespace

TEMPLATE_TEST_CASE("exp is within 2 units of the last place of every normal result", "", HEADGATE_SIMD_BACKENDS) {
  using Arch = typename ArchOf<TestType>::type;
  double worst = 0.0;
  for (int i = -87330; i <= 88720; ++i) {
    const float x = static_cast<float>(i) * 1e-3f;
    worst = std::max(worst, ulps(exp_of<Arch>(x), std::exp(double{x})));
  }
  for (int i = -20000; i <= 20000; ++i) {
    const float x = static_cast<float>(i) * 1e-6f;
    worst = std::max(worst, ulps(exp_of<Arch>(x), std::exp(double{x})));
  }
  CHECK(worst <= 2.0);
}

TEMPLATE_TEST_CASE("exp at its ends", "", HEADGATE_SIMD_BACKENDS) {
  using Arch = typename ArchOf<TestType>::type;
  CHECK(exp_of<Arch>(0.0f) == 1.0f);
  CHECK(exp_of<Arch>(-0.0f) == 1.0f);
  CHECK(same_bits(exp_of<Arch>(-infinity), 0.0f));
  CHECK(exp_of<Arch>(-1e30f) == 0.0f);
  CHECK(exp_of<Arch>(-88.0f) == 0.0f);
  CHECK(exp_of<Arch>(-87.33f) >= std::numeric_limits<float>::min());
  CHECK(ulps(exp_of<Arch>(88.7228f), std::exp(double{88.7228f})) <= 2.0);
  CHECK(exp_of<Arch>(88.73f) == infinity);
  CHECK(exp_of<Arch>(infinity) == infinity);
  CHECK(std::isnan(exp_of<Arch>(std::numeric_limits<float>::quiet_NaN())));
}

TEMPLATE_TEST_CASE("erf is within 2 units of the last place", "", HEADGATE_SIMD_BACKENDS) {
  using Arch = typename ArchOf<TestType>::type;
  double worst = 0.0;
  for (int i = -5000; i <= 5000; ++i) {
    const float x = static_cast<float>(i) * 1e-3f;
    if (i != 0) worst = std::max(worst, ulps(erf_of<Arch>(x), std::erf(double{x})));
  }
  CHECK(worst <= 2.0);
  CHECK(erf_of<Arch>(0.0f) == 0.0f);
  CHECK(erf_of<Arch>(infinity) == 1.0f);
  CHECK(erf_of<Arch>(-infinity) == -1.0f);
  CHECK(std::isnan(erf_of<Arch>(std::numeric_limits<float>::quiet_NaN())));
}
