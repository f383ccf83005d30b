#include "headgate/kernels/formats/bf16_dots.hpp"

#include <string_view>

#include "headgate/kernels/panel16.hpp"
#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("weights that meet pairs lie as those of bf16 that meet floats") {
  STATIC_REQUIRE(WeightFormat<Bf16Dots>);
  CHECK(std::string_view(Bf16Dots::name()) == "bf16-dots");
  CHECK(Bf16Dots::packs_floats());
  CHECK(Bf16Dots::fits(3));
  const std::vector<float> weights = random_floats(19 * 37, 1);
  const Panel16<Bf16Dots> dots(ConstRows(weights.data(), 19, 37));
  const Panel16<Bf16> floats(ConstRows(weights.data(), 19, 37));
  REQUIRE(dots.bytes() == floats.bytes());
  CHECK(std::memcmp(dots.view().data, floats.view().data, as_size(dots.bytes())) == 0);
  CHECK(dots.view()(18, 36) == static_cast<float>(bf16(weights.back())));
}
