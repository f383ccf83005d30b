#include "headgate/kernels/activation.hpp"

#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("activations at a few points") {
  const auto at_point = [](ActivationKind kind, float x) { return Scalar::activate(kind, x); };
  CHECK(at_point(ActivationKind::silu, 1.0f) == Catch::Approx(0.731058579));
  CHECK(at_point(ActivationKind::gelu, 1.0f) == Catch::Approx(0.841344746));
  CHECK(at_point(ActivationKind::gelu_tanh, 1.0f) == Catch::Approx(0.841191990));
  CHECK(at_point(ActivationKind::relu, -1.0f) == 0.0f);
  CHECK(at_point(ActivationKind::relu, 3.0f) == 3.0f);
  CHECK(at_point(ActivationKind::relu2, 3.0f) == 9.0f);
  for (const auto kind : {ActivationKind::silu, ActivationKind::gelu, ActivationKind::gelu_tanh}) {
    CHECK(at_point(kind, 0.0f) == 0.0f);
  }
}

TEST_CASE("gpt-oss's defaults are those of its configuration") {
  constexpr Activation activation{ActivationKind::clamped_swiglu};
  STATIC_REQUIRE(activation.alpha == 1.702f);
  STATIC_REQUIRE(activation.limit == 7.0f);
  const float gate[] = {9.0f, 1.0f};
  const float up[] = {-9.0f, 2.0f};
  float y[2];
  Scalar::glu(activation, gate, up, 2, y);
  CHECK(y[0] == Catch::Approx(-6.0 * 7.0 / (1.0 + std::exp(-1.702 * 7.0))));
  CHECK(y[1] == Catch::Approx(3.0 / (1.0 + std::exp(-1.702))));
}

TEST_CASE("activations below 0 and where their forms differ") {
  const auto at_point = [](ActivationKind kind, float x) { return static_cast<double>(Scalar::activate(kind, x)); };
  CHECK(at_point(ActivationKind::silu, -1.0f) == Catch::Approx(-0.2689414214));
  CHECK(at_point(ActivationKind::gelu, -1.0f) == Catch::Approx(-0.1586552539));
  CHECK(at_point(ActivationKind::gelu_tanh, -1.0f) == Catch::Approx(-0.1588080094));
  CHECK(at_point(ActivationKind::gelu, 2.0f) == Catch::Approx(1.9544997361));
  CHECK(at_point(ActivationKind::gelu_tanh, 2.0f) == Catch::Approx(1.9545976940));
  CHECK(at_point(ActivationKind::relu, 0.5f) == 0.5);
  CHECK(at_point(ActivationKind::relu2, 0.5f) == 0.25);
  CHECK(at_point(ActivationKind::relu2, -3.0f) == 0.0);
  // Both ends of the clamp, and a plain gate.
  const float gate[] = {-9.0f, 3.0f, 2.0f};
  const float up[] = {9.0f, 0.5f, -2.0f};
  float y[3];
  Scalar::glu({ActivationKind::clamped_swiglu, 1.0f, 2.0f}, gate, up, 3, y);
  CHECK(y[0] == Catch::Approx(3.0 * -9.0 / (1.0 + std::exp(9.0))));
  CHECK(y[1] == Catch::Approx(1.5 * 2.0 / (1.0 + std::exp(-2.0))));
  CHECK(y[2] == Catch::Approx(-1.0 * 2.0 / (1.0 + std::exp(-2.0))));
  Scalar::glu({ActivationKind::relu}, gate, up, 3, y);
  CHECK(y[0] == 0.0f);
  CHECK(y[1] == 1.5f);
}
