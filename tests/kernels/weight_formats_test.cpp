#include "headgate/kernels/weight_formats.hpp"

#include <string_view>

#include "support/catch.hpp"
#include "support/rounded_tile.hpp"

using namespace headgate;

TEST_CASE("a list of formats knows the place of each and of the first with a tile") {
  using List = FormatList<F32, RoundedBf16, Bf16>;
  STATIC_REQUIRE(List::size == 3);
  STATIC_REQUIRE(List::contains<Bf16>);
  STATIC_REQUIRE_FALSE(List::contains<float>);
  STATIC_REQUIRE(List::index_of<F32>() == 0);
  STATIC_REQUIRE(List::index_of<RoundedBf16>() == 1);
  STATIC_REQUIRE(List::index_of<Bf16>() == 2);
  STATIC_REQUIRE(List::index_of_tile<F32Tile>() == 0);
  STATIC_REQUIRE(List::index_of_tile<RoundedTile>() == 1);
  STATIC_REQUIRE_FALSE(List::all_have_height<12>);
  STATIC_REQUIRE(FormatList<Bf16, F32>::all_have_height<12>);
}

TEST_CASE("the format at a place is visited") {
  const auto name = [](auto format) { return std::string_view(format.name()); };
  CHECK(WeightFormats::visit(WeightFormats::index_of<F32>(), name) == "f32");
  CHECK(WeightFormats::visit(WeightFormats::index_of<Bf16>(), name) == "bf16");
  CHECK(WeightFormats::visit(WeightFormats::index_of<RowBlocks<blocks::MXFP4>>(), name) == "mxfp4");
  CHECK(WeightFormats::visit(WeightFormats::index_of<F16>(), name) == "f16");
  CHECK(WeightFormats::visit(WeightFormats::index_of<PanelBlocks<blocks::Q4_K>>(), name) == "q4_k-panels");
  constexpr auto count = []<class... Types>(blocks::TypeList<Types...>) {
    return static_cast<index_t>(sizeof...(Types));
  };
  STATIC_REQUIRE(count(blocks::All{}) == 13);
  STATIC_REQUIRE(WeightFormats::size == 5 + 2 * count(blocks::All{}));
}
