#include "headgate/kernels/simd/multiply.hpp"

#include "headgate/kernels/scalar.hpp"
#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

template <class Format>
Panel16<Format> random_panels(index_t num_panels, index_t k, unsigned seed) {
  const std::vector<float> weights = random_floats(num_panels * panel_rows * k, seed);
  return Panel16<Format>(ConstRows(weights.data(), num_panels * panel_rows, k));
}

// Every output has the bits of the definition; false otherwise, or if a guard was overwritten.
template <class Backend, class Format>
bool agrees(index_t num_panels, index_t k, index_t m, index_t shift) {
  const Panel16<Format> panels = random_panels<Format>(num_panels, k, 1);
  const Input tile(random_floats(k * m, 2), shift);
  const index_t stride = num_panels * panel_rows + shift;
  Output expected(m * stride, 0);
  Output found(m * stride, shift);
  Scalar::multiply(Format{}, panels.view().data, k, num_panels, tile.data(), m, expected.data(), stride);
  Backend::multiply(Format{}, panels.view().data, k, num_panels, tile.data(), m, found.data(), stride);
  return found.guards_intact() && same_bits(found.values(), expected.values());
}

// The same of pairs, whose tile is made first.
template <class Backend>
bool pairs_agree(index_t num_panels, index_t k, index_t m, index_t shift) {
  const Panel16<Bf16Dots> panels = random_panels<Bf16Dots>(num_panels, k, 1);
  const std::vector<float> values = random_floats(k * m, 2);
  const float* rows[Bf16Tile::max_rows];
  for (index_t r = 0; r < m; ++r) rows[r] = values.data() + r * k;
  std::vector<std::uint32_t> tile(as_size(m * Bf16Tile::row_size(k)));
  Scalar::make_tile(Bf16Tile{}, rows, m, k, tile.data());
  const index_t stride = num_panels * panel_rows + shift;
  Output expected(m * stride, 0);
  Output found(m * stride, shift);
  Scalar::multiply(Bf16Dots{}, panels.view().data, k, num_panels, tile.data(), m, expected.data(), stride);
  Backend::multiply(Bf16Dots{}, panels.view().data, k, num_panels, tile.data(), m, found.data(), stride);
  return found.guards_intact() && same_bits(found.values(), expected.values());
}

template <class Backend, class Format>
void check_all_blocks() {
  for (const index_t k : {0, 1, 2, 3, 16, 37}) {
    for (index_t m = 1; m <= F32Tile::max_rows; ++m) {
      for (index_t num_panels = 1; num_panels <= 9; num_panels += num_panels < 6 ? 1 : 3) {
        CAPTURE(k, m, num_panels);
        CHECK(agrees<Backend, Format>(num_panels, k, m, shifts[(k + m + num_panels) % 3]));
      }
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("a product has the bits of its definition for any panels and rows", "", HEADGATE_SIMD_BACKENDS) {
  check_all_blocks<TestType, F32>();
  check_all_blocks<TestType, Bf16>();
  check_all_blocks<TestType, F16>();
}

TEMPLATE_TEST_CASE("a product of pairs has the bits of its definition for any panels and rows", "",
                   HEADGATE_SIMD_BACKENDS) {
  for (const index_t k : {0, 1, 2, 3, 16, 37, 515}) {
    for (index_t m = 1; m <= Bf16Tile::max_rows; ++m) {
      for (index_t num_panels = 1; num_panels <= 6; ++num_panels) {
        CAPTURE(k, m, num_panels);
        CHECK(pairs_agree<TestType>(num_panels, k, m, shifts[(k + m + num_panels) % 3]));
      }
    }
  }
  CHECK(pairs_agree<TestType>(7, 2047, 1, 0));
}

TEST_CASE("a product of pairs is that of rounded activations, to the bound of its length") {
  const index_t k = 301;
  const std::vector<float> weights = random_floats(panel_rows * k, 3);
  const std::vector<float> values = random_floats(k, 4);
  const Panel16<Bf16Dots> panels(ConstRows(weights.data(), panel_rows, k));
  std::vector<std::uint32_t> tile(as_size(Bf16Tile::row_size(k)));
  const float* row = values.data();
  Scalar::make_tile(Bf16Tile{}, &row, 1, k, tile.data());
  float y[panel_rows];
  Scalar::multiply(Bf16Dots{}, panels.view().data, k, 1, tile.data(), 1, y, panel_rows);
  for (index_t lane = 0; lane < panel_rows; ++lane) {
    double sum = 0.0;
    double size = 0.0;
    for (index_t i = 0; i < k; ++i) {
      const double product = static_cast<double>(static_cast<float>(bf16(weights[as_size(lane * k + i)]))) *
                             static_cast<double>(static_cast<float>(bf16(values[as_size(i)])));
      sum += product;
      size += std::fabs(product);
    }
    CHECK(std::fabs(static_cast<double>(y[lane]) - sum) <= 4.0 * std::sqrt(double{k}) * 0x1p-24 * size);
  }
}

TEMPLATE_TEST_CASE("a long product has the bits of its definition", "", HEADGATE_SIMD_BACKENDS) {
  CHECK(agrees<TestType, F32>(5, 2047, 11, 1));
  CHECK(agrees<TestType, Bf16>(5, 2047, 11, 1));
  CHECK(agrees<TestType, Bf16>(7, 515, 1, 0));
  CHECK(agrees<TestType, F16>(5, 2047, 11, 1));
}

TEST_CASE("a product of infinite weights is infinite, of a NaN a NaN") {
  const std::vector<float> row{1.0f, std::numeric_limits<float>::infinity(), 2.0f};
  Panel16<Bf16> panels(panel_rows, 3);
  panels.set_row(3, row.data());
  float y[panel_rows];
  const float ones[] = {1.0f, 1.0f, 1.0f};
  Simd<NativeArch>::multiply(Bf16{}, panels.view().data, 3, 1, ones, 1, y, panel_rows);
  CHECK(y[3] == std::numeric_limits<float>::infinity());
  CHECK(y[4] == 0.0f);
  const float zeros[] = {0.0f, 0.0f, 0.0f};
  Simd<NativeArch>::multiply(Bf16{}, panels.view().data, 3, 1, zeros, 1, y, panel_rows);
  CHECK(std::isnan(y[3]));
}
