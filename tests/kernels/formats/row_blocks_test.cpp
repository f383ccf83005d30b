#include "headgate/kernels/formats/row_blocks.hpp"

#include <string_view>

#include "headgate/kernels/panel16.hpp"
#include "kernels/random_rows.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a panel of quantized blocks is the bytes of sixteen rows, and its weights are theirs") {
  for_each_row_blocks([]<class Blocks>(Blocks) {
    using Format = RowBlocks<Blocks>;
    STATIC_REQUIRE(WeightFormat<Format>);
    INFO(Format::name());
    CHECK_FALSE(Format::packs_floats());
    CHECK(Format::fits(0));
    CHECK(Format::fits(256));
    CHECK(Format::fits(100) == (Blocks::size == 1));
    const index_t k = Blocks::size == 1 ? 37 : 2 * Blocks::size;
    CHECK(Format::panel_bytes(k) == 16 * Format::row_bytes(k));
    const std::vector<std::byte> rows = random_rows<Blocks>(19, k, 3);
    Panel16<Format> packed(19, k);
    for (index_t r = 0; r < 19; ++r) packed.set_row(r, rows.data() + r * Format::row_bytes(k));
    CHECK(std::memcmp(packed.view().data, rows.data(), rows.size()) == 0);
    std::vector<float> expected(as_size(k));
    std::vector<float> found(as_size(k));
    for (const index_t r : {0, 15, 16, 18}) {
      decode_blocks<Blocks>(rows.data() + r * Format::row_bytes(k), 0, k, expected.data());
      packed.view().read_row(r, found.data());
      CHECK(found == expected);
      CHECK(packed.view()(r, k - 1) == expected.back());
      // From within a group of 32.
      Format::unpack(packed.view().panel(r / 16), k, r % 16, 3, k - 7, found.data());
      CHECK(std::equal(found.begin(), found.begin() + (k - 7), expected.begin() + 3));
    }
  });
}

TEST_CASE("a format of quantized blocks is named as its type, in small letters") {
  CHECK(std::string_view(RowBlocks<blocks::IQ4_XS>::name()) == "iq4_xs");
  CHECK(RowBlocks<blocks::Q8_0>{} == RowBlocks<blocks::Q8_0>{});
}
