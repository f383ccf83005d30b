#include "headgate/kernels/any_format.hpp"

#include <string_view>
#include <type_traits>

#include "support/catch.hpp"
#include "support/rounded_tile.hpp"

using namespace headgate;

TEST_CASE("a format chosen at run time is made from those of the list, and from nothing") {
  STATIC_REQUIRE(std::is_convertible_v<F32, AnyFormat>);
  STATIC_REQUIRE(std::is_convertible_v<Bf16, AnyFormat>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<AnyFormat, RoundedBf16>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<AnyFormat, int>);
  STATIC_REQUIRE_FALSE(std::is_default_constructible_v<AnyFormat>);
}

TEST_CASE("a format chosen at run time is the one it was made from") {
  const AnyFormat f32 = F32{};
  AnyFormat format = Bf16{};
  CHECK(format == Bf16{});
  CHECK(format != f32);
  CHECK(std::string_view(format.name()) == "bf16");
  CHECK(std::string_view(f32.name()) == "f32");
  CHECK(format.panel_bytes(3) == 128);
  CHECK(f32.panel_bytes(3) == 192);
  CHECK(format.visit([](auto known) { return std::same_as<decltype(known), Bf16>; }));
  format = f32;
  CHECK(format == F32{});

  const float row[] = {1.0f + 0x1p-9f, 2.0f, -5.0f};
  std::byte panel[192] = {};
  float unpacked[3];
  f32.pack(row, 3, 4, panel);
  F32::unpack(panel, 3, 4, 0, 1, unpacked);
  CHECK(unpacked[0] == row[0]);
  f32.unpack(panel, 3, 4, 2, 1, unpacked);
  CHECK(unpacked[0] == -5.0f);
  AnyFormat(Bf16{}).pack(row, 3, 4, panel);
  AnyFormat(Bf16{}).unpack(panel, 3, 4, 0, 3, unpacked);
  CHECK(unpacked[0] == 1.0f);
  CHECK(unpacked[2] == -5.0f);
}

TEST_CASE("formats say whether they pack floats or bytes, and what widths their rows can have") {
  CHECK(AnyFormat(F32{}).packs_floats());
  CHECK(AnyFormat(F32{}).fits(1));
  const AnyFormat blocks_of_256 = RowBlocks<blocks::Q4_K>{};
  CHECK_FALSE(blocks_of_256.packs_floats());
  CHECK(blocks_of_256.fits(512));
  CHECK_FALSE(blocks_of_256.fits(288));
  CHECK(std::string_view(blocks_of_256.name()) == "q4_k");
  CHECK(blocks_of_256.panel_bytes(512) == 16 * 2 * 144);
  CHECK(AnyFormat(F16{}).fits(5));
}
