#include "headgate/kernels/simd/rope.hpp"

#include "headgate/kernels/scalar.hpp"
#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEMPLATE_TEST_CASE("pairs turn by their angles", "", Scalar, HEADGATE_SIMD_BACKENDS) {
  for (const index_t half : lengths()) {
    const std::vector<float> x = random_floats(2 * half, 1);
    const std::vector<float> angles = random_floats(half, 2, -9.0f, 9.0f);
    std::vector<float> cosines;
    std::vector<float> sines;
    std::vector<float> expected(x);
    for (index_t i = 0; i < half; ++i) {
      cosines.push_back(std::cos(angles[at(i)]));
      sines.push_back(std::sin(angles[at(i)]));
      const double low = x[at(i)];
      const double high = x[at(i + half)];
      expected[at(i)] = static_cast<float>(low * cosines[at(i)] - high * sines[at(i)]);
      expected[at(i + half)] = static_cast<float>(high * cosines[at(i)] + low * sines[at(i)]);
    }
    Output y(x, half % 3);
    TestType::rope(y.data(), Input(cosines, 1).data(), Input(sines, 2).data(), half);
    CAPTURE(half);
    CHECK(y.guards_intact());
    CHECK(distance(y.values(), expected, 2.0) <= 1e-6);
  }
}
