#include "headgate/kernels/simd/pairs.hpp"

#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEMPLATE_TEST_CASE("a dot product of pairs is two fused multiply-adds, the upper halves first", "",
                   HEADGATE_SIMD_BACKENDS) {
  using Arch = typename ArchOf<TestType>::type;
  constexpr index_t n = lanes<Arch>;
  for (unsigned seed = 0; seed < 200; ++seed) {
    const std::vector<float> values = random_floats(5 * n, seed);
    std::uint32_t w[as_size(n)];
    std::uint32_t x[as_size(n)];
    for (index_t i = 0; i < n; ++i) {
      w[i] = Bf16Tile::word(values[as_size(4 * i)], values[as_size(4 * i + 1)]);
      x[i] = Bf16Tile::word(values[as_size(4 * i + 2)], values[as_size(4 * i + 3)]);
    }
    const float* const sums = values.data() + 4 * n;
    const auto load = [](const std::uint32_t* words) {
      float floats[as_size(n)];
      std::memcpy(floats, words, sizeof floats);
      return Floats<Arch>::load_unaligned(floats);
    };
    float found[as_size(n)];
    dot_pairs<Arch>(load(w), load(x), Floats<Arch>::load_unaligned(sums)).store_unaligned(found);
    for (index_t i = 0; i < n; ++i) {
      const auto upper = [](std::uint32_t word) { return std::bit_cast<float>(word & 0xffff0000u); };
      const auto lower = [](std::uint32_t word) { return std::bit_cast<float>(word << 16); };
      const float first = fused_multiply_add(upper(w[i]), upper(x[i]), sums[i]);
      CHECK(found[i] == fused_multiply_add(lower(w[i]), lower(x[i]), first));
    }
  }
}
