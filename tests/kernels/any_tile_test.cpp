#include "headgate/kernels/any_tile.hpp"

#include "headgate/kernels/any_format.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a tile chosen at run time is the one of its format, in bytes") {
  STATIC_REQUIRE(ActivationTile<AnyTile>);
  STATIC_REQUIRE_FALSE(std::is_default_constructible_v<AnyTile>);
  const AnyTile floats = AnyFormat(Bf16{}).tile();
  CHECK(floats == AnyTile(F32Tile{}));
  CHECK(floats.columns == 1);
  CHECK(floats.is_row);
  CHECK(floats.row_size(37) == 148);
  const AnyTile bytes = AnyFormat(PanelBlocks<blocks::Q6_K>{}).tile();
  CHECK(bytes == AnyTile(Int8Tile{}));
  CHECK(bytes != floats);
  CHECK(bytes.columns == 32);
  CHECK_FALSE(bytes.is_row);
  CHECK(bytes.row_size(33) == 2 * 48);
  CHECK(bytes.visit([]<class Tile>(Tile) { return std::same_as<Tile, Int8Tile>; }));
}
