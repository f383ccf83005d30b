#include "headgate/kernels/simd/row_blocks.hpp"

#include "headgate/kernels/scalar.hpp"
#include "kernels/kernel_cases.hpp"
#include "kernels/random_rows.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

// The definition, from decoded floats.
template <class Blocks>
std::vector<float> expected_product(const std::vector<std::byte>& rows, index_t k, index_t count,
                                    const std::vector<float>& tile, index_t m) {
  std::vector<float> y(as_size(m * count));
  std::vector<float> row(as_size(k));
  for (index_t c = 0; c < count; ++c) {
    decode_blocks<Blocks>(rows.data() + c * RowBlocks<Blocks>::row_bytes(k), 0, k, row.data());
    for (index_t r = 0; r < m; ++r) {
      float sum = 0.0f;
      for (index_t i = 0; i < k; ++i) sum = fused_multiply_add(row[as_size(i)], tile[as_size(i * m + r)], sum);
      y[as_size(r * count + c)] = sum;
    }
  }
  return y;
}
// Rows end where the allocation ends, so that the address sanitizer sees a byte read beyond.
template <class Backend, class Blocks>
void check(index_t num_panels, index_t k, index_t m, index_t shift) {
  using Format = RowBlocks<Blocks>;
  CAPTURE(Format::name(), num_panels, k, m);
  const index_t count = num_panels * panel_rows;
  const std::vector<std::byte> rows = random_rows<Blocks>(count, k, 1);
  const std::vector<float> values = random_floats(k * m, 2);
  const Input tile(values, shift);
  Output found(m * count, shift);
  Backend::multiply(Format{}, rows.data(), k, num_panels, tile.data(), m, found.data(), count);
  CHECK(found.guards_intact());
  CHECK(same_bits(found.values(), expected_product<Blocks>(rows, k, count, values, m)));
}

}  // namespace

TEMPLATE_TEST_CASE("a product of quantized rows has the bits of the decoded floats' for any panels, rows and width", "",
                   Scalar, HEADGATE_SIMD_BACKENDS) {
  for_each_row_blocks([]<class Blocks>(Blocks) {
    for (const index_t width : {0, 1, 2, 3}) check<TestType, Blocks>(1, width * Blocks::size, 1, 1);
    check<TestType, Blocks>(4, Blocks::size, 12, 0);
    check<TestType, Blocks>(5, 3 * Blocks::size, 7, 3);
  });
  for (index_t m = 1; m <= F32Tile::max_rows; ++m) check<TestType, blocks::Q4_0>(m, 96, m, 1);
}

TEST_CASE("a product of a block with an infinite scale is infinite or no number, and beside it finite") {
  std::vector<std::byte> rows = random_rows<blocks::Q8_0>(16, 32, 5);
  rows[34 * 3] = std::byte{0};
  rows[34 * 3 + 1] = std::byte{0x7c};
  const std::vector<float> tile(32, 1.0f);
  float y[panel_rows];
  Simd<NativeArch>::multiply(RowBlocks<blocks::Q8_0>{}, rows.data(), 32, 1, tile.data(), 1, y, panel_rows);
  for (index_t r = 0; r < panel_rows; ++r) CHECK(std::isfinite(y[r]) == (r != 3));
}
