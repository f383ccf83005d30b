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
