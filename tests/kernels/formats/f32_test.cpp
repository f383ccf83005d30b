#include "headgate/kernels/formats/f32.hpp"

#include <bit>
#include <limits>
#include <string_view>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("f32 keeps every bit of a weight, sixteen rows side by side") {
  STATIC_REQUIRE(WeightFormat<F32>);
  STATIC_REQUIRE(std::same_as<F32::Tile, F32Tile>);
  CHECK(std::string_view(F32::name()) == "f32");
  CHECK(F32::panel_bytes(0) == 0);
  CHECK(F32::panel_bytes(3) == 192);
  CHECK(F32{} == F32{});
  const float row[] = {0x1.fffffep-3f, -0.0f, std::numeric_limits<float>::denorm_min()};
  std::byte panel[192] = {};
  CHECK(F32::packs_floats());
  CHECK(F32::fits(3));
  F32::pack(row, 3, 15, panel);
  for (index_t i = 0; i < 3; ++i) {
    float own = 1.0f;
    float beside = 1.0f;
    F32::unpack(panel, 3, 15, i, 1, &own);
    F32::unpack(panel, 3, 14, i, 1, &beside);
    CHECK(std::bit_cast<std::uint32_t>(own) == std::bit_cast<std::uint32_t>(row[i]));
    CHECK(beside == 0.0f);
  }
}

TEST_CASE("the words of a line of f32 are its floats") {
  STATIC_REQUIRE(F32::per_line == 1);
  CHECK(F32::float_bits<0>(0x40490fdbu) == 0x40490fdbu);
}
