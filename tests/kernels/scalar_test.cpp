#include "headgate/kernels/scalar.hpp"

#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

template <class Format>
void check_product(index_t rows, index_t k, index_t m) {
  const std::vector<float> weights = random_floats(rows * k, 1);
  const std::vector<float> x = random_floats(m * k, 2);  // (k, m): a tile
  const Panel16<Format> panels(ConstRows(weights.data(), rows, k));
  const index_t num_panels = panels.view().num_panels();
  std::vector<float> y(as_size(m * num_panels * panel_rows));
  Scalar::multiply(Format{}, panels.view().data, k, num_panels, x.data(), m, y.data(), num_panels * panel_rows);
  for (index_t r = 0; r < m; ++r) {
    for (index_t row = 0; row < num_panels * panel_rows; ++row) {
      double sum = 0.0;
      double magnitude = 0.0;
      for (index_t i = 0; i < k && row < rows; ++i) {
        const double product = double{panels.view()(row, i)} * x[as_size(i * m + r)];
        sum += product;
        magnitude += std::abs(product);
      }
      const double off = std::abs(y[as_size(r * num_panels * panel_rows + row)] - sum);
      if (!(off <= sum_bound(k, magnitude)))
        FAIL("row " << row << " of " << rows << " x " << k << " is off by " << off);
    }
  }
}

}  // namespace

TEST_CASE("the definition of a product is near double for every format") {
  for (const index_t k : {0, 1, 2, 7, 100, 1023}) {
    for (const index_t m : {1, 5, 12}) {
      check_product<F32>(33, k, m);
      check_product<Bf16>(33, k, m);
    }
  }
  SUCCEED();
}

TEST_CASE("small products by hand") {
  // Rows (1 2 3) and (-1 0.5 4); columns (1 1 1) and (2 0 -1).
  const float weights[] = {1.0f, 2.0f, 3.0f, -1.0f, 0.5f, 4.0f};
  const Panel16<Bf16> panels(ConstRows(weights, 2, 3));
  const float tile[] = {1.0f, 2.0f, 1.0f, 0.0f, 1.0f, -1.0f};
  float y[2 * panel_rows];
  Scalar::multiply(Bf16{}, panels.view().data, 3, 1, tile, 2, y, panel_rows);
  CHECK(y[0] == 6.0f);
  CHECK(y[1] == 3.5f);
  CHECK(y[2] == 0.0f);
  CHECK(y[panel_rows] == -1.0f);
  CHECK(y[panel_rows + 1] == -6.0f);
}

TEST_CASE("a product is a chain of fused multiply-adds in ascending order of k") {
  // Rounded after each multiplication the first square would lose its last bit, which the second one leaves over.
  const float a = 1.0f + 0x1p-12f;
  const float weights[] = {a, -1.0f};
  const float tile[] = {1.0f + 0x1p-11f, 1.0f};
  const Panel16<F32> panels(ConstRows(weights, 1, 2));
  float y[panel_rows];
  Scalar::multiply(F32{}, panels.view().data, 2, 1, tile, 1, y, panel_rows);
  CHECK(y[0] == fused_multiply_add(-1.0f, 1.0f, fused_multiply_add(a, 1.0f + 0x1p-11f, 0.0f)));
}

TEST_CASE("softmax and RMSNorm by hand") {
  float x[] = {0.0f, 0.0f, -std::numeric_limits<float>::infinity()};
  Scalar::softmax(x, 3);
  CHECK(x[0] == 0.5f);
  CHECK(x[1] == 0.5f);
  CHECK(same_bits(x[2], 0.0f));
  const float v[] = {3.0f, 4.0f};
  const float weight[] = {1.0f, 2.0f};
  float y[2];
  Scalar::rms_norm(v, weight, 0.0f, 2, y);
  CHECK(y[0] == Catch::Approx(3.0 / std::sqrt(12.5)));
  CHECK(y[1] == Catch::Approx(8.0 / std::sqrt(12.5)));
}
