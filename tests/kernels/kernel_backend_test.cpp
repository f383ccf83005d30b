#include "headgate/kernels/kernel_backend.hpp"

#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/rounded_tile.hpp"

using namespace headgate;

namespace {

struct WithoutTopK : Scalar {
  static void top_k() noexcept;
};
struct MayThrow : Scalar {
  static void softmax(float* x, index_t n) { Scalar::softmax(x, n); }
};
struct WithoutBf16 : Scalar {
  static void multiply(F32, const std::byte*, index_t, index_t, const float*, index_t, float*, std::int64_t) noexcept;
};

}  // namespace

TEST_CASE("a backend multiplies every format of the list, each with its tile") {
  STATIC_REQUIRE(Multiplies<Scalar, F32>);
  STATIC_REQUIRE(Multiplies<Scalar, Bf16>);
  STATIC_REQUIRE(Multiplies<WithoutBf16, F32>);
  STATIC_REQUIRE_FALSE(Multiplies<WithoutBf16, Bf16>);
  STATIC_REQUIRE_FALSE(KernelBackend<WithoutBf16>);
  STATIC_REQUIRE_FALSE(Multiplies<Scalar, RoundedBf16>);
  STATIC_REQUIRE(Multiplies<RoundedBackend, RoundedBf16>);
  STATIC_REQUIRE(KernelBackend<RoundedBackend>);
}

TEST_CASE("a backend has every kernel and throws nothing") {
  STATIC_REQUIRE(KernelBackend<Scalar>);
  STATIC_REQUIRE_FALSE(KernelBackend<WithoutTopK>);
  STATIC_REQUIRE_FALSE(KernelBackend<MayThrow>);
  STATIC_REQUIRE_FALSE(KernelBackend<int>);
}
