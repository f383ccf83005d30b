#include "headgate/kernels/formats/panel_blocks.hpp"

#include <string_view>

#include "headgate/kernels/panel16.hpp"
#include "kernels/random_rows.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("every weight of quantized blocks keeps its value in panels") {
  for_each_panel_blocks([]<class Blocks>(Blocks) {
    using Format = PanelBlocks<Blocks>;
    STATIC_REQUIRE(WeightFormat<Format>);
    INFO(Format::name());
    CHECK_FALSE(Format::packs_floats());
    CHECK(Format::fits(0));
    CHECK(Format::fits(256));
    CHECK_FALSE(Format::fits(100));
    const index_t k = 3 * Blocks::size;
    const std::vector<std::byte> rows = random_rows<Blocks>(19, k, 3);
    Panel16<Format> packed(19, k);
    for (index_t r = 0; r < 19; ++r) packed.set_row(r, rows.data() + r * RowBlocks<Blocks>::row_bytes(k));
    std::vector<float> expected(as_size(k));
    std::vector<float> found(as_size(k));
    for (index_t r = 0; r < 19; ++r) {
      decode_blocks<Blocks>(rows.data() + r * RowBlocks<Blocks>::row_bytes(k), 0, k, expected.data());
      packed.view().read_row(r, found.data());
      CHECK(found == expected);
      std::vector<std::byte> row(as_size(RowBlocks<Blocks>::row_bytes(k)), std::byte{0x5a});
      Format::unpack_row(packed.view().panel(r / 16), k, r % 16, row.data());
      CHECK(std::equal(row.begin(), row.end(), rows.data() + r * RowBlocks<Blocks>::row_bytes(k)));
      CHECK(packed.view()(r, k - 1) == expected.back());
      // From within a group of 32, over two scales.
      Format::unpack(packed.view().panel(r / 16), k, r % 16, 3, k - 7, found.data());
      CHECK(std::equal(found.begin(), found.begin() + (k - 7), expected.begin() + 3));
    }
  });
}

TEST_CASE(
    "a panel of blocks is no larger than sixteen rows of them but for what fills a line, or turns scales to bytes") {
  for_each_panel_blocks([]<class Blocks>(Blocks) {
    using Format = PanelBlocks<Blocks>;
    INFO(Format::name());
    for (index_t k = 0; k <= 4 * 256; k += 256) {
      const std::int64_t rows = RowBlocks<Blocks>::panel_bytes(k);
      const std::int64_t panel = Format::panel_bytes(k);
      CHECK(panel % 64 == 0);
      CHECK(panel >= rows);
      // K types: six bits of scale and of minimum become eight each; without minima half of the line of halves is
      // empty.
      const index_t more = Blocks::dtype == DType::q3_k ? 96 : Blocks::size == 256 ? 64 : 0;
      CHECK(panel < rows + 64 + k / 256 * more);
    }
  });
}

TEST_CASE("a format of panels is named as its type, and is not that of rows") {
  CHECK(std::string_view(PanelBlocks<blocks::IQ4_NL>::name()) == "iq4_nl-panels");
  CHECK(std::string_view(PanelBlocks<blocks::Q8_0>::name()) == "q8_0-panels");
}
