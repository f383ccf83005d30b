#include "headgate/kernels/simd/gather.hpp"

#include <memory>

#include "headgate/kernels/scalar.hpp"
#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

// Rows of n numbers, none of them aligned as another.
struct Gathered {
  Gathered(index_t count, index_t n) {
    for (index_t r = 0; r < count; ++r)
      inputs.push_back(std::make_unique<Input>(random_floats(n, 10 + static_cast<unsigned>(r)), r % 3));
    for (const auto& input : inputs) rows.push_back(input->data());
  }
  std::vector<std::unique_ptr<Input>> inputs;
  std::vector<const float*> rows;
};

template <class Backend>
inline constexpr bool fuses = true;
template <class Arch>
inline constexpr bool fuses<Simd<Arch>> = has_fma<Arch>;

}  // namespace

TEMPLATE_TEST_CASE("gathered rows have the bits that each has alone, however many there are", "", Scalar,
                   HEADGATE_SIMD_BACKENDS) {
  for (const index_t n : lengths()) {
    const Input x(random_floats(n, 1), 1);
    for (const index_t count : {0, 1, 2, 3, 4, 5, 7, 8, 9, 13}) {
      CAPTURE(n, count);
      const Gathered gathered(count, n);
      std::vector<float> found(as_size(count) + 1, -7.0f);
      TestType::gather_dots(gathered.rows.data(), count, x.data(), n, found.data());
      CHECK(same_bits(found.back(), -7.0f));
      const std::vector<float> factors = random_floats(count, 2);
      Output y(random_floats(n, 3), 2);
      Output wanted(random_floats(n, 3), 2);
      TestType::gather_axpy(factors.data(), gathered.rows.data(), count, n, y.data());
      for (index_t r = 0; r < count; ++r) {
        const float* const row = gathered.rows[as_size(r)];
        const float alone = TestType::dot(row, x.data(), n);
        // Without fused instructions of its own an instruction set leaves it to the compiler what is fused.
        if (fuses<TestType>) CHECK(same_bits(found[as_size(r)], alone));
        CHECK(std::abs(found[as_size(r)] - alone) <= 1e-5f * static_cast<float>(n + 1));
        TestType::axpy(factors[as_size(r)], row, n, wanted.data());
      }
      CHECK(y.values() == wanted.values());
      CHECK(y.guards_intact());
    }
  }
}
