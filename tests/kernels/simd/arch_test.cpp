#include "headgate/kernels/simd/arch.hpp"

#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEMPLATE_TEST_CASE("part of a register is loaded and stored, and nothing beside it", "", HEADGATE_SIMD_BACKENDS) {
  using Arch = typename ArchOf<TestType>::type;
  for (index_t n = 0; n <= lanes<Arch> + 1; ++n) {
    const index_t count = std::min(n, lanes<Arch>);
    const Input x(random_floats(count, 1, 1.0f, 2.0f), 1);
    const Floats<Arch> loaded = load<Arch>(x.data(), n);
    float all[lanes<Arch>];
    loaded.store_unaligned(all);
    for (index_t i = 0; i < lanes<Arch>; ++i) CHECK(all[i] == (i < count ? x.data()[i] : 0.0f));
    Output y(count, 3);
    store<Arch>(y.data(), loaded, n);
    CHECK(y.guards_intact());
    CHECK(same_bits(y.values(), std::vector<float>(x.data(), x.data() + count)));
  }
}

TEMPLATE_TEST_CASE("fused multiplication and addition round once", "", HEADGATE_SIMD_BACKENDS) {
  using Arch = typename ArchOf<TestType>::type;
  const float a = 1.0f + 0x1p-12f;
  const float c = -(1.0f + 0x1p-11f);  // a * a without its last bit
  float y[lanes<Arch>];
  fused<Arch>(Floats<Arch>(a), Floats<Arch>(a), Floats<Arch>(c)).store_unaligned(y);
  CHECK(y[0] == 0x1p-24f);
  CHECK(y[lanes<Arch> - 1] == 0x1p-24f);
}

// Processors without the instruction compute in double, where rounding twice must be noticed: sums near the middle
// between two floats, results that are denormal, infinite or NaN.
TEMPLATE_TEST_CASE("fused multiplication and addition has the bits of std::fma for any numbers", "",
                   HEADGATE_SIMD_BACKENDS) {
  using Arch = typename ArchOf<TestType>::type;
  std::mt19937 engine(1);
  const auto bits = [&] { return static_cast<std::uint32_t>(engine()); };
  // Any bits; or 24, 12 or 4 bits of precision and exponents close to each other.
  const auto number = [&](std::uint32_t kind) {
    if (kind == 0) return std::bit_cast<float>(bits());
    const std::uint32_t fraction = bits() & (kind == 1 ? 0x7fffffu : kind == 2 ? 0x7ff800u : 0x780000u);
    return std::bit_cast<float>((bits() & 0x80000000u) | (115u + bits() % 24u) << 23 | fraction);
  };
  int different = 0;
  for (int round = 0; round < 100'000; ++round) {
    float a[lanes<Arch>];
    float b[lanes<Arch>];
    float c[lanes<Arch>];
    float y[lanes<Arch>];
    for (index_t i = 0; i < lanes<Arch>; ++i) {
      a[i] = number(bits() % 4);
      b[i] = number(bits() % 4);
      c[i] = bits() % 4 == 0 ? a[i] * b[i] * (bits() % 2 == 0 ? -1.0f : 0x1p24f) : number(bits() % 4);
    }
    fused<Arch>(Floats<Arch>::load_unaligned(a), Floats<Arch>::load_unaligned(b), Floats<Arch>::load_unaligned(c))
        .store_unaligned(y);
    for (index_t i = 0; i < lanes<Arch>; ++i) {
      const float expected = fused_multiply_add(a[i], b[i], c[i]);
      if (!same_bits(y[i], expected) && !(std::isnan(y[i]) && std::isnan(expected))) ++different;
    }
  }
  CHECK(different == 0);
}

TEMPLATE_TEST_CASE("lanes are summed and compared", "", HEADGATE_SIMD_BACKENDS) {
  using Arch = typename ArchOf<TestType>::type;
  float x[lanes<Arch>];
  for (index_t i = 0; i < lanes<Arch>; ++i) x[i] = static_cast<float>(i + 1);
  x[lanes<Arch> / 2] = 100.0f;
  const Floats<Arch> loaded = Floats<Arch>::load_unaligned(x);
  float total = 0.0f;
  for (const float value : x) total += value;
  CHECK(sum_lanes<Arch>(loaded) == total);
  CHECK(max_lanes<Arch>(loaded) == 100.0f);
  CHECK(max_lanes<Arch>(-loaded) == -1.0f);
  CHECK(max_lanes<Arch>(larger<Arch>(loaded, Floats<Arch>(7.0f))) == 100.0f);
}
