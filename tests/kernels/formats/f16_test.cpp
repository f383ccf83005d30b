#include "headgate/kernels/formats/f16.hpp"

#include <string_view>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("f16 rounds a weight to nearest even and holds sixteen of each of two columns in a line") {
  STATIC_REQUIRE(WeightFormat<F16>);
  STATIC_REQUIRE(std::same_as<F16::Tile, F32Tile>);
  CHECK(std::string_view(F16::name()) == "f16");
  CHECK(F16::panel_bytes(0) == 0);
  CHECK(F16::panel_bytes(1) == 64);
  CHECK(F16::panel_bytes(3) == 128);
  CHECK(F16::fits(3));
  CHECK(F16::packs_floats());
  CHECK(F16{} == F16{});
  const float row[] = {1.0f + 0x1p-11f, -3.140625f, 0x1p-24f};
  std::byte panel[128] = {};
  F16::pack(row, 3, 7, panel);
  float unpacked[3];
  F16::unpack(panel, 3, 7, 0, 3, unpacked);
  CHECK(unpacked[0] == 1.0f);
  CHECK(unpacked[1] == -3.140625f);
  CHECK(unpacked[2] == 0x1p-24f);
  CHECK(panel[32 + 2 * 7 + 1] == std::byte{0xc2});  // the upper byte of column 1
  F16::unpack(panel, 3, 6, 1, 1, unpacked);
  CHECK(unpacked[0] == 0.0f);
}
