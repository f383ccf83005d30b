#include "headgate/kernels/formats/f32_tile.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a tile of floats holds as many numbers as its rows, and may be made in pieces of any width") {
  STATIC_REQUIRE(ActivationTile<F32Tile>);
  STATIC_REQUIRE(F32Tile::max_rows == 12);
  STATIC_REQUIRE(F32Tile::columns == 1);
  STATIC_REQUIRE(F32Tile::is_row);
  CHECK(F32Tile::row_size(0) == 0);
  CHECK(F32Tile::row_size(37) == 37);
}
