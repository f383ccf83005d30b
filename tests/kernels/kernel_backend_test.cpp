#include "headgate/kernels/kernel_backend.hpp"

#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

struct WithoutTopK : Scalar {
  static void top_k() noexcept;
};
struct MayThrow : Scalar {
  static void softmax(float* x, index_t n) { Scalar::softmax(x, n); }
};

}  // namespace

TEST_CASE("a backend has every kernel and throws nothing") {
  STATIC_REQUIRE(KernelBackend<Scalar>);
  STATIC_REQUIRE_FALSE(KernelBackend<WithoutTopK>);
  STATIC_REQUIRE_FALSE(KernelBackend<MayThrow>);
  STATIC_REQUIRE_FALSE(KernelBackend<int>);
}
