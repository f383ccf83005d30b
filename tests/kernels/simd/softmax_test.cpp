#include "headgate/kernels/simd/softmax.hpp"

#include "headgate/kernels/scalar.hpp"
#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

std::vector<float> softmax_in_double(const std::vector<float>& x) {
  const double largest = x.empty() ? 0.0 : *std::max_element(x.begin(), x.end());
  double total = 0.0;
  for (const float value : x) total += std::exp(value - largest);
  std::vector<float> y;
  for (const float value : x) y.push_back(static_cast<float>(std::exp(value - largest) / total));
  return y;
}

}  // namespace

TEMPLATE_TEST_CASE("softmax agrees with double", "", Scalar, HEADGATE_SIMD_BACKENDS) {
  for (const index_t n : lengths()) {
    for (const index_t shift : shifts) {
      std::vector<float> x = random_floats(n, 1, -20.0f, 20.0f);
      Output y(x, shift);
      TestType::softmax(y.data(), n);
      CAPTURE(n, shift);
      CHECK(y.guards_intact());
      CHECK(distance(y.values(), softmax_in_double(x), 1e-30) <= 4e-6);
    }
  }
}

TEMPLATE_TEST_CASE("softmax of minus infinity is exactly 0", "", Scalar, HEADGATE_SIMD_BACKENDS) {
  for (const index_t n : lengths()) {
    std::vector<float> x = random_floats(n, 2);
    for (index_t i = 0; i < n; ++i) {
      if (i % 3 != 1) x[as_size(i)] = -infinity;
    }
    Output y(x, n % 3);
    TestType::softmax(y.data(), n);
    for (index_t i = 0; i < n; ++i) {
      if (n > 1 && i % 3 == 1) CHECK(y[i] > 0.0f);
      if (i % 3 != 1) CHECK(same_bits(y[i], 0.0f));
    }
    Output none(std::vector<float>(as_size(n), -infinity), n % 3);
    TestType::softmax(none.data(), n);
    CHECK(none.guards_intact());
    CHECK(same_bits(none.values(), std::vector<float>(as_size(n), 0.0f)));
  }
}

TEMPLATE_TEST_CASE("softmax of large and equal numbers stays finite", "", Scalar, HEADGATE_SIMD_BACKENDS) {
  std::vector<float> x(37, 3e38f);
  TestType::softmax(x.data(), 37);
  for (const float value : x) CHECK(value == Catch::Approx(1.0 / 37.0));
  std::vector<float> apart{0.0f, 1e4f, -1e4f};
  TestType::softmax(apart.data(), 3);
  CHECK(apart == std::vector<float>{0.0f, 1.0f, 0.0f});
}

TEMPLATE_TEST_CASE("sigmoid agrees with double", "", Scalar, HEADGATE_SIMD_BACKENDS) {
  for (const index_t n : lengths()) {
    const std::vector<float> x = random_floats(n, 3, -30.0f, 30.0f);
    std::vector<float> expected;
    for (const float value : x) expected.push_back(static_cast<float>(1.0 / (1.0 + std::exp(-double{value}))));
    Output y(x, n % 3);
    TestType::sigmoid(y.data(), n);
    CHECK(y.guards_intact());
    CHECK(distance(y.values(), expected, 1e-30) <= 1e-6);
  }
  std::vector<float> ends{-infinity, infinity, 0.0f, -200.0f};
  TestType::sigmoid(ends.data(), 4);
  CHECK(ends[1] == 1.0f);
  CHECK(ends[2] == 0.5f);
  CHECK(ends[0] <= 1e-37f);
  CHECK(ends[3] <= 1e-37f);
}
