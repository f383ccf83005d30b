#include "headgate/kernels/simd.hpp"

#include <string_view>

#include "headgate/kernels/scalar.hpp"
#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEMPLATE_TEST_CASE("each instruction set is a backend of its own name", "", HEADGATE_SIMD_BACKENDS) {
  STATIC_REQUIRE(KernelBackend<TestType>);
  CHECK_FALSE(std::string_view(TestType::name()).empty());
  CHECK(std::string_view(TestType::name()) != Scalar::name());
}

TEMPLATE_TEST_CASE("instruction sets give the same bits where they promise to", "", HEADGATE_SIMD_BACKENDS) {
  const std::vector<float> weights = random_floats(50 * 77, 1);
  const std::vector<float> x = random_floats(77 * 9, 2);
  const Panel16<Bf16> panels(ConstRows(weights.data(), 50, 77));
  std::vector<float> y(9 * 64);
  std::vector<float> expected(9 * 64);
  TestType::multiply(Bf16{}, panels.view().data, 77, 4, x.data(), 9, y.data(), 64);
  Scalar::multiply(Bf16{}, panels.view().data, 77, 4, x.data(), 9, expected.data(), 64);
  CHECK(same_bits(y, expected));
}

TEMPLATE_TEST_CASE("a row computed alone has the bits of the same row among others", "", HEADGATE_SIMD_BACKENDS) {
  constexpr index_t k = 301;
  const std::vector<float> weights = random_floats(7 * panel_rows * k, 1);
  const Panel16<F32> panels(ConstRows(weights.data(), 7 * panel_rows, k));
  const std::vector<float> x = random_floats(F32Tile::max_rows * k, 2);  // (k, 12)
  std::vector<float> together(as_size(F32Tile::max_rows * 7 * panel_rows));
  TestType::multiply(F32{}, panels.view().data, k, 7, x.data(), F32Tile::max_rows, together.data(), 7 * panel_rows);
  for (index_t r = 0; r < F32Tile::max_rows; ++r) {
    std::vector<float> row;
    for (index_t i = 0; i < k; ++i) row.push_back(x[as_size(i * F32Tile::max_rows + r)]);
    std::vector<float> alone(7 * panel_rows);
    for (index_t p = 0; p < 7; ++p) {
      TestType::multiply(F32{}, panels.view().panel(p), k, 1, row.data(), 1, alone.data() + p * panel_rows, panel_rows);
    }
    const auto first = together.begin() + r * 7 * panel_rows;
    CHECK(same_bits(alone, std::vector<float>(first, first + 7 * panel_rows)));
  }
}
