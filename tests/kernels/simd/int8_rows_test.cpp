#include "headgate/kernels/simd/int8_rows.hpp"

#include "headgate/kernels/scalar.hpp"
#include "kernels/kernel_cases.hpp"
#include "kernels/random_tile.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

// Panels end where the allocation ends, so that the address sanitizer sees a byte read beyond.
std::vector<std::byte> random_panels(index_t num_panels, index_t k, unsigned seed) {
  std::mt19937 engine(seed);
  std::vector<std::byte> panels(as_size(num_panels * Int8Rows::panel_bytes(k)));
  std::vector<std::byte> row(as_size(Int8Rows::row_bytes(k)));
  for (index_t r = 0; r < num_panels * panel_rows; ++r) {
    for (std::byte& byte : row) byte = static_cast<std::byte>(engine());
    const float scale = 0x1p-12f * static_cast<float>(r % 7 + 1);
    std::memcpy(row.data(), &scale, sizeof scale);
    Int8Rows::pack(static_cast<const std::byte*>(row.data()), k, r % panel_rows,
                   panels.data() + r / panel_rows * Int8Rows::panel_bytes(k));
  }
  return panels;
}

template <class Backend>
void check(index_t num_panels, index_t k, index_t m, index_t shift) {
  check_product<Backend>(Int8Rows{}, random_panels(num_panels, k, 1), num_panels, k, m, shift);
}

}  // namespace

TEMPLATE_TEST_CASE("a product of rows of eight bits and whole numbers has the bits of the definition's", "",
                   HEADGATE_SIMD_BACKENDS) {
  for (const index_t k : {0, 1, 5, 31, 32, 33, 64, 100}) check<TestType>(1, k, 1, 1);
  for (index_t m = 1; m <= Int8Tile::max_rows; ++m) check<TestType>(m % 6 + 1, 75, m, m % 4);
  check<TestType>(4, 160, 12, 0);
  check<TestType>(9, 96, 3, 3);
}

TEST_CASE("the definition of a product of rows of eight bits is that of the weights and of what the tile stands for") {
  const index_t k = 77;
  const std::vector<std::byte> panels = random_panels(2, k, 5);
  const std::vector<std::byte> tile = random_int8_tile(3, k, 6);
  float y[3 * 32];
  Scalar::multiply(Int8Rows{}, panels.data(), k, 2, tile.data(), 3, y, 32);
  std::vector<float> row(as_size(k));
  for (index_t c = 0; c < 32; ++c) {
    Int8Rows::unpack(panels.data() + c / 16 * Int8Rows::panel_bytes(k), k, c % 16, 0, k, row.data());
    for (index_t r = 0; r < 3; ++r) {
      double sum = 0.0;
      double size = 0.0;
      for (index_t i = 0; i < k; ++i) {
        const double product = static_cast<double>(row[as_size(i)]) * int8_value_at(tile, 3, r, i);
        sum += product;
        size += std::fabs(product);
      }
      CHECK(std::fabs(static_cast<double>(y[r * 32 + c]) - sum) <= 1e-6 * size);
    }
  }
}
