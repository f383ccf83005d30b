#include "headgate/kernels/simd/cache_line.hpp"

#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEMPLATE_TEST_CASE("every half and every whole number of eight bits is its float", "", HEADGATE_SIMD_BACKENDS) {
  using Arch = typename ArchOf<TestType>::type;
  constexpr index_t n = lanes<Arch>;
  bool same = true;
  for (index_t first = 0; first < 0x10000; first += n) {
    f16 halves[as_size(n)];
    for (index_t i = 0; i < n; ++i) halves[i].bits = static_cast<std::uint16_t>(first + i);
    float found[as_size(n)];
    floats_of<Arch>(halves).store_unaligned(found);
    for (index_t i = 0; i < n; ++i) {
      const float expected = static_cast<float>(halves[i]);
      same = same &&
             (std::isnan(expected) ? std::isnan(found[i])
                                   : std::bit_cast<std::uint32_t>(found[i]) == std::bit_cast<std::uint32_t>(expected));
    }
    scale_of<Arch>(reinterpret_cast<const std::byte*>(halves + 1)).store_unaligned(found);
    for (index_t i = 0; i < n && !std::isnan(static_cast<float>(halves[1])); ++i) {
      same = same && exactly_equal(found[i], static_cast<float>(halves[1]));
    }
  }
  CHECK(same);
  for (index_t first = -128; first < 128; first += n) {
    std::int8_t numbers[as_size(n)];
    for (index_t i = 0; i < n; ++i) numbers[i] = static_cast<std::int8_t>(first + i);
    float found[as_size(n)];
    floats_of<Arch>(numbers).store_unaligned(found);
    for (index_t i = 0; i < n; ++i) CHECK(exactly_equal(found[i], static_cast<float>(first + i)));
  }
}
