#include "headgate/kernels/simd/dot.hpp"

#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

// Every product of the extremes, and random ones, against plain sums.
template <class Arch, bool WIDE>
void check_dots() {
  constexpr auto n = as_size(lanes<Arch>);
  std::mt19937 engine(4);
  for (int round = 0; round < 200; ++round) {
    std::array<std::uint8_t, 4 * n> q;
    std::array<std::int8_t, 4 * n> x;
    std::array<std::int32_t, n> sum;
    for (std::size_t i = 0; i < 4 * n; ++i) {
      const int largest = WIDE ? 255 : 127;
      q[i] = static_cast<std::uint8_t>(round < 8 ? (round % 2 == 0 ? largest : 0)
                                                 : static_cast<int>(engine() % as_size(largest + 1)));
      x[i] =
          static_cast<std::int8_t>(round < 8 ? (round % 4 < 2 ? 127 : -127) : static_cast<int>(engine() % 255) - 127);
    }
    for (std::int32_t& s : sum) s = static_cast<std::int32_t>(engine() % 2000001) - 1000000;
    const auto found = std::bit_cast<std::array<std::int32_t, n>>(
        dot<Arch, WIDE>(std::bit_cast<typename Ints<Arch>::type>(sum), std::bit_cast<typename Words<Arch>::type>(q),
                        std::bit_cast<typename Words<Arch>::type>(x)));
    for (std::size_t i = 0; i < n; ++i) {
      std::int32_t expected = sum[i];
      for (std::size_t j = 4 * i; j < 4 * i + 4; ++j) expected += q[j] * x[j];
      REQUIRE(found[i] == expected);
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("a dot product of bytes is exact for every byte that it is for", "", HEADGATE_SIMD_BACKENDS) {
  using Arch = typename ArchOf<TestType>::type;
  if constexpr (has_dot<Arch>) {
    check_dots<Arch, true>();
    check_dots<Arch, false>();
  } else {
    SUCCEED("the instruction set has none, and the product is the definition's");
  }
}

TEMPLATE_TEST_CASE("bytes are looked up in a table of sixteen", "", HEADGATE_SIMD_BACKENDS) {
  using Arch = typename ArchOf<TestType>::type;
  if constexpr (has_dot<Arch>) {
    std::array<std::uint8_t, 16> table;
    for (std::size_t i = 0; i < 16; ++i) table[i] = static_cast<std::uint8_t>(251 * i + 3);
    std::array<std::uint8_t, 4 * as_size(lanes<Arch>)> bytes;
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(7 * i % 16);
    const auto found =
        std::bit_cast<decltype(bytes)>(look_up<Arch>(table, std::bit_cast<typename Words<Arch>::type>(bytes)));
    for (std::size_t i = 0; i < bytes.size(); ++i) CHECK(found[i] == table[bytes[i]]);
  } else {
    SUCCEED("the instruction set has none");
  }
}
