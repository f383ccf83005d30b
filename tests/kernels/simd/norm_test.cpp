#include "headgate/kernels/simd/norm.hpp"

#include "headgate/kernels/scalar.hpp"
#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEMPLATE_TEST_CASE("RMSNorm agrees with double", "", Scalar, HEADGATE_SIMD_BACKENDS) {
  for (const index_t n : lengths()) {
    for (const index_t shift : shifts) {
      const std::vector<float> x = random_floats(n, 1);
      const std::vector<float> weight = random_floats(n, 2);
      double squares = 0.0;
      for (const float value : x) squares += double{value} * value;
      for (const float epsilon : {1e-6f, 0.5f}) {
        std::vector<float> expected;
        for (std::size_t i = 0; i < x.size(); ++i) {
          expected.push_back(static_cast<float>(x[i] / std::sqrt(squares / n + double{epsilon}) * weight[i]));
        }
        Output y(n, shift);
        TestType::rms_norm(Input(x, (shift + 1) % 3).data(), Input(weight, shift).data(), epsilon, n, y.data());
        CAPTURE(n, shift, epsilon);
        CHECK(y.guards_intact());
        CHECK(distance(y.values(), expected, 1e-30) <= 1e-6);
      }
    }
  }
}

TEMPLATE_TEST_CASE("RMSNorm of zeros is zero, also in place", "", Scalar, HEADGATE_SIMD_BACKENDS) {
  std::vector<float> x(19, 0.0f);
  const std::vector<float> weight(19, 3.0f);
  TestType::rms_norm(x.data(), weight.data(), 1e-5f, 19, x.data());
  CHECK(x == std::vector<float>(19, 0.0f));
}
