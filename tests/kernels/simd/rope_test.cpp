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
      cosines.push_back(std::cos(angles[as_size(i)]));
      sines.push_back(std::sin(angles[as_size(i)]));
      const double low = x[as_size(i)];
      const double high = x[as_size(i + half)];
      expected[as_size(i)] = static_cast<float>(low * cosines[as_size(i)] - high * sines[as_size(i)]);
      expected[as_size(i + half)] = static_cast<float>(high * cosines[as_size(i)] + low * sines[as_size(i)]);
    }
    Output y(x, half % 3);
    TestType::rope(y.data(), Input(cosines, 1).data(), Input(sines, 2).data(), half);
    CAPTURE(half);
    CHECK(y.guards_intact());
    CHECK(distance(y.values(), expected, 2.0) <= 1e-6);
  }
}
