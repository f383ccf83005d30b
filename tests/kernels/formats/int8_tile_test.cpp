#include "headgate/kernels/formats/int8_tile.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a tile of whole numbers has 48 bytes for 32 columns of a row, and is made in pieces of so many") {
  STATIC_REQUIRE(ActivationTile<Int8Tile>);
  STATIC_REQUIRE(Int8Tile::columns == 32);
  STATIC_REQUIRE_FALSE(Int8Tile::is_row);
  CHECK(Int8Tile::row_size(0) == 0);
  CHECK(Int8Tile::row_size(32) == 48);
  CHECK(Int8Tile::row_size(33) == 96);
  // Of three rows: scales, scaled sums, sums of halves, sums, numbers, without a gap.
  CHECK(Int8Tile::scale_at(3, 2) == 8);
  CHECK(Int8Tile::scaled_sum_at(3, 0) == 12);
  CHECK(Int8Tile::half_sum_at(3, 0) == 24);
  CHECK(Int8Tile::sum_at(3, 0) == 36);
  CHECK(Int8Tile::values_at(3, 0) == 48);
  CHECK(Int8Tile::values_at(3, 2) + 32 == Int8Tile::row_size(32) * 3);
}

TEST_CASE("the largest number of a group becomes 127, one that is not finite makes the scale none, tiny ones are 0") {
  const auto scaling = [](float largest) { return Int8Tile::scaling(std::bit_cast<std::uint32_t>(largest)); };
  CHECK(scaling(254.0f).scale == 2.0f);
  CHECK(scaling(254.0f).inverse == 0.5f);
  CHECK(scaling(0.0f).scale == 0.0f);
  CHECK(scaling(0.0f).inverse == 0.0f);
  CHECK(scaling(0x1p-101f).scale == 0.0f);
  CHECK(std::isfinite(scaling(0x1p-100f).inverse));
  CHECK(std::isfinite(scaling(std::numeric_limits<float>::max()).scale));
  CHECK(scaling(std::numeric_limits<float>::max()).inverse > 0.0f);
  CHECK(std::isnan(scaling(std::numeric_limits<float>::infinity()).scale));
  CHECK(std::isnan(scaling(std::numeric_limits<float>::quiet_NaN()).scale));
}
