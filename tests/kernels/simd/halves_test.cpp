#include "headgate/kernels/simd/halves.hpp"

#include "headgate/core/dtype.hpp"
#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEMPLATE_TEST_CASE("every half becomes the float that it is", "", HEADGATE_SIMD_BACKENDS) {
  using Arch = typename ArchOf<TestType>::type;
  for (std::uint32_t first = 0; first < 65536; first += 16) {
    std::uint16_t halves[16];
    float found[16];
    for (std::uint32_t i = 0; i < 16; ++i) halves[i] = static_cast<std::uint16_t>(first + i);
    for (index_t lane = 0; lane < 16; lane += lanes<Arch>) {
      detail::load_halves<Arch>(reinterpret_cast<const std::byte*>(halves + lane)).store_unaligned(found + lane);
    }
    for (std::size_t i = 0; i < 16; ++i) {
      const auto expected = static_cast<float>(std::bit_cast<f16>(halves[i]));
      if (std::isnan(expected)) {
        REQUIRE(std::isnan(found[i]));
      } else {
        REQUIRE(std::bit_cast<std::uint32_t>(found[i]) == std::bit_cast<std::uint32_t>(expected));
      }
    }
  }
}
