#include "headgate/kernels/formats/bf16_tile.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a tile of pairs has a word for two columns, the earlier in the lower half, and one for the last alone") {
  STATIC_REQUIRE(ActivationTile<Bf16Tile>);
  STATIC_REQUIRE(Bf16Tile::max_rows == 12);
  STATIC_REQUIRE(Bf16Tile::columns == 2);
  STATIC_REQUIRE_FALSE(Bf16Tile::is_row);
  CHECK(Bf16Tile::row_size(0) == 0);
  CHECK(Bf16Tile::row_size(37) == 19);
  CHECK(Bf16Tile::word(1.0f, -2.0f) == 0xc0003f80u);
  CHECK(Bf16Tile::word(1.0f + 0x1p-8f, 1.0f + 0x1.8p-7f) == 0x3f823f80u);
}
