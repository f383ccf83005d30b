#include "headgate/kernels/weight_format.hpp"

#include <string_view>

#include "headgate/kernels/any_format.hpp"
#include "support/catch.hpp"
#include "support/rounded_tile.hpp"

using namespace headgate;

namespace {

struct WithoutTile {
  static constexpr const char* name() noexcept { return ""; }
  static constexpr std::int64_t panel_bytes(index_t) noexcept { return 0; }
  static constexpr bool packs_floats() noexcept { return true; }
  static constexpr bool fits(index_t) noexcept { return true; }
  static void pack(WeightRow, index_t, index_t, std::byte*) noexcept {}
  static void unpack(const std::byte*, index_t, index_t, index_t, index_t, float*) noexcept {}
  friend constexpr bool operator==(WithoutTile, WithoutTile) noexcept = default;
};
struct MayThrow : F32 {
  static void unpack(const std::byte*, index_t, index_t, index_t, index_t, float*) {}
};
struct TileWithoutHeight {
  using Element = float;
  static constexpr index_t columns = 1;
  static constexpr bool is_row = true;
  static constexpr std::int64_t row_size(index_t k) noexcept { return k; }
};

}  // namespace

TEST_CASE("a weight format names its tile and throws nothing") {
  STATIC_REQUIRE(WeightFormat<F32>);
  STATIC_REQUIRE(WeightFormat<Bf16>);
  STATIC_REQUIRE(WeightFormat<AnyFormat>);
  STATIC_REQUIRE(WeightFormat<RoundedBf16>);
  STATIC_REQUIRE_FALSE(WeightFormat<WithoutTile>);
  STATIC_REQUIRE_FALSE(WeightFormat<MayThrow>);
  STATIC_REQUIRE_FALSE(WeightFormat<float>);
  STATIC_REQUIRE(ActivationTile<RoundedTile>);
  STATIC_REQUIRE_FALSE(ActivationTile<TileWithoutHeight>);
}

TEST_CASE("a format is visited with the type it has at compile time, chosen at run time or not") {
  const auto name = [](auto format) {
    STATIC_REQUIRE_FALSE(std::same_as<decltype(format), AnyFormat>);
    return std::string_view(format.name());
  };
  CHECK(visit_format(Bf16{}, name) == "bf16");
  CHECK(visit_format(AnyFormat(Bf16{}), name) == "bf16");
  CHECK(visit_format(AnyFormat(F32{}), name) == "f32");
}
