#include "headgate/kernels/simd/reduce.hpp"

#include "headgate/kernels/scalar.hpp"
#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

}  // namespace

TEMPLATE_TEST_CASE("sums and dot products are near those in double", "", Scalar, HEADGATE_SIMD_BACKENDS) {
  for (const index_t n : lengths()) {
    for (const index_t shift : shifts) {
      const std::vector<float> a = random_floats(n, 1);
      const std::vector<float> b = random_floats(n, 2);
      const Input x(a, shift);
      const Input y(b, (shift + 1) % 3);
      double total = 0.0;
      double product = 0.0;
      double total_magnitude = 0.0;
      double product_magnitude = 0.0;
      for (std::size_t i = 0; i < a.size(); ++i) {
        total += a[i];
        product += double{a[i]} * b[i];
        total_magnitude += std::abs(a[i]);
        product_magnitude += std::abs(double{a[i]} * b[i]);
      }
      CAPTURE(n, shift);
      CHECK(std::abs(TestType::sum(x.data(), n) - total) <= sum_bound(n, total_magnitude));
      CHECK(std::abs(TestType::dot(x.data(), y.data(), n) - product) <= sum_bound(n, product_magnitude));
    }
  }
}

TEMPLATE_TEST_CASE("a sum does not depend on where the numbers lie", "", HEADGATE_SIMD_BACKENDS) {
  for (const index_t n : lengths()) {
    const std::vector<float> a = random_floats(n, 3);
    const Input first(a, 0);
    for (const index_t shift : shifts) {
      const Input other(a, shift);
      CHECK(same_bits(TestType::sum(first.data(), n), TestType::sum(other.data(), n)));
      CHECK(same_bits(TestType::dot(first.data(), first.data(), n), TestType::dot(other.data(), other.data(), n)));
    }
  }
}

TEMPLATE_TEST_CASE("the maximum is exact, and minus infinity of nothing", "", Scalar, HEADGATE_SIMD_BACKENDS) {
  CHECK(TestType::max(nullptr, 0) == -infinity);
  for (const index_t n : lengths()) {
    if (n == 0) continue;
    std::vector<float> a = random_floats(n, 4, -9.0f, -1.0f);
    for (const index_t place : {0, n / 2, n - 1}) {
      a[as_size(place)] = -0.5f;
      CHECK(TestType::max(Input(a, n % 3).data(), n) == -0.5f);
      a[as_size(place)] = -infinity;
    }
    const std::vector<float> none(as_size(n), -infinity);
    CHECK(TestType::max(Input(none, 1).data(), n) == -infinity);
  }
}

TEMPLATE_TEST_CASE("one number that is not finite is found at any place", "", Scalar, HEADGATE_SIMD_BACKENDS) {
  for (const index_t n : lengths()) {
    std::vector<float> a = random_floats(n, 5);
    if (n > 1) a[0] = std::numeric_limits<float>::max();
    if (n > 1) a[1] = -std::numeric_limits<float>::max();
    CHECK(TestType::all_finite(Input(a, n % 3).data(), n));
    for (index_t i = 0; i < n; i += n > 64 ? 7 : 1) {
      const float before = a[as_size(i)];
      for (const float bad : {infinity, -infinity, not_a_number}) {
        a[as_size(i)] = bad;
        CHECK_FALSE(TestType::all_finite(Input(a, n % 3).data(), n));
      }
      a[as_size(i)] = before;
    }
  }
}

TEMPLATE_TEST_CASE("axpy has the bits of its definition", "", HEADGATE_SIMD_BACKENDS) {
  for (const index_t n : lengths()) {
    for (const index_t shift : shifts) {
      const Input x(random_floats(n, 6), shift);
      const std::vector<float> before = random_floats(n, 7);
      Output expected(before, 0);
      Output found(before, shift);
      Scalar::axpy(0.37f, x.data(), n, expected.data());
      TestType::axpy(0.37f, x.data(), n, found.data());
      CAPTURE(n, shift);
      CHECK(found.guards_intact());
      CHECK(same_bits(found.values(), expected.values()));
    }
  }
}
