#include "headgate/kernels/native.hpp"

#include <string_view>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("the native backend is the one these flags allow") {
  STATIC_REQUIRE(KernelBackend<NativeBackend>);
  CHECK(std::string_view(NativeBackend::name()) == Simd<NativeArch>::name());
#if HEADGATE_AVX512
  STATIC_REQUIRE(lanes<NativeArch> == 16);
#elif defined(__AVX2__) && defined(__FMA__)
  STATIC_REQUIRE(lanes<NativeArch> == 8);
  STATIC_REQUIRE(has_fma<NativeArch>);
#endif
}
