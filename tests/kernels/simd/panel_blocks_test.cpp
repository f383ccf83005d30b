#include "headgate/kernels/simd/panel_blocks.hpp"

#include "headgate/kernels/scalar.hpp"
#include "kernels/kernel_cases.hpp"
#include "kernels/random_rows.hpp"
#include "kernels/random_tile.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

// Panels end where the allocation ends, so that the address sanitizer sees a byte read beyond.
template <class Blocks>
std::vector<std::byte> random_panels(index_t num_panels, index_t k, unsigned seed) {
  using Format = PanelBlocks<Blocks>;
  const std::vector<std::byte> rows = random_rows<Blocks>(num_panels * panel_rows, k, seed);
  std::vector<std::byte> panels(as_size(num_panels * Format::panel_bytes(k)));
  for (index_t r = 0; r < num_panels * panel_rows; ++r) {
    Format::pack(rows.data() + r * RowBlocks<Blocks>::row_bytes(k), k, r % panel_rows,
                 panels.data() + r / panel_rows * Format::panel_bytes(k));
  }
  return panels;
}

template <class Backend, class Blocks>
void check(index_t num_panels, index_t k, index_t m, index_t shift) {
  check_product<Backend>(PanelBlocks<Blocks>{}, random_panels<Blocks>(num_panels, k, 1), num_panels, k, m, shift);
}

}  // namespace

TEMPLATE_TEST_CASE("a product of panels of blocks and whole numbers has the bits of the definition's", "",
                   HEADGATE_SIMD_BACKENDS) {
  for_each_panel_blocks([]<class Blocks>(Blocks) {
    for (const index_t width : {0, 1, 2, 3, 5}) check<TestType, Blocks>(1, width * Blocks::size, 1, 1);
    for (index_t m = 1; m <= Int8Tile::max_rows; ++m) check<TestType, Blocks>(m % 6 + 1, 2 * Blocks::size, m, m % 4);
    check<TestType, Blocks>(4, 5 * Blocks::size, 12, 0);
    check<TestType, Blocks>(9, 3 * Blocks::size, 3, 3);
  });
}

TEST_CASE("the definition of a product of whole numbers is that of the weights and of what the tile stands for") {
  for_each_panel_blocks([]<class Blocks>(Blocks) {
    using Format = PanelBlocks<Blocks>;
    INFO(Format::name());
    const index_t k = 3 * Blocks::size;
    const std::vector<std::byte> panels = random_panels<Blocks>(2, k, 5);
    const std::vector<std::byte> tile = random_int8_tile(3, k, 6);
    float y[3 * 32];
    Scalar::multiply(Format{}, panels.data(), k, 2, tile.data(), 3, y, 32);
    std::vector<float> row(as_size(k));
    for (index_t c = 0; c < 32; ++c) {
      Format::unpack(panels.data() + c / 16 * Format::panel_bytes(k), k, c % 16, 0, k, row.data());
      for (index_t r = 0; r < 3; ++r) {
        double sum = 0.0;
        double size = 0.0;
        for (index_t i = 0; i < k; ++i) {
          const double product = static_cast<double>(row[as_size(i)]) * int8_value_at(tile, 3, r, i);
          sum += product;
          size += std::fabs(product);
        }
        // The parts of a weight with a minimum may be larger than it.
        CHECK(std::fabs(static_cast<double>(y[r * 32 + c]) - sum) <= 1e-5 * size + 1e-3);
      }
    }
  });
}

TEST_CASE("a product of panels with an infinite scale is infinite or no number, and beside it finite") {
  std::vector<std::byte> rows = random_rows<blocks::Q8_0>(16, 32, 5);
  rows[34 * 3] = std::byte{0};
  rows[34 * 3 + 1] = std::byte{0x7c};
  using Format = PanelBlocks<blocks::Q8_0>;
  std::vector<std::byte> panel(as_size(Format::panel_bytes(32)));
  for (index_t r = 0; r < 16; ++r) Format::pack(rows.data() + 34 * r, 32, r, panel.data());
  const std::vector<std::byte> tile = random_int8_tile(1, 32, 1);
  float y[panel_rows];
  Simd<NativeArch>::multiply(Format{}, panel.data(), 32, 1, tile.data(), 1, y, panel_rows);
  for (index_t r = 0; r < panel_rows; ++r) CHECK(std::isfinite(y[r]) == (r != 3));
}
