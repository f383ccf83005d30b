#include "headgate/kernels/formats/bf16.hpp"

#include <string_view>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("bf16 rounds a weight to nearest even and holds two columns in a line") {
  STATIC_REQUIRE(WeightFormat<Bf16>);
  STATIC_REQUIRE(std::same_as<Bf16::Tile, F32Tile>);
  CHECK(std::string_view(Bf16::name()) == "bf16");
  CHECK(Bf16::panel_bytes(0) == 0);
  CHECK(Bf16::panel_bytes(1) == 64);
  CHECK(Bf16::panel_bytes(3) == 128);
  CHECK(Bf16{} == Bf16{});
  const float row[] = {1.0f + 0x1p-8f, -3.140625f, 1.0f + 0x1.8p-7f};
  std::byte panel[128] = {};
  Bf16::pack(row, 3, 7, panel);
  float unpacked[3];
  Bf16::unpack(panel, 3, 7, 0, 3, unpacked);
  CHECK(unpacked[0] == 1.0f);
  CHECK(unpacked[1] == -3.140625f);
  CHECK(unpacked[2] == 1.0f + 0x1p-6f);
  Bf16::unpack(panel, 3, 7, 1, 2, unpacked);
  CHECK(unpacked[0] == -3.140625f);
  CHECK(unpacked[1] == 1.0f + 0x1p-6f);
  Bf16::unpack(panel, 3, 6, 2, 1, unpacked);
  CHECK(unpacked[0] == 0.0f);
  CHECK(Bf16::packs_floats());
}

TEST_CASE("a word of a line of bf16 is two floats, the earlier column in the lower half") {
  STATIC_REQUIRE(Bf16::per_line == 2);
  CHECK(Bf16::float_bits<0>(0xc0483f80u) == 0x3f800000u);
  CHECK(Bf16::float_bits<1>(0xc0483f80u) == 0xc0480000u);
}
