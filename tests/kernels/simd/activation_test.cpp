#include "headgate/kernels/simd/activation.hpp"

#include "headgate/kernels/scalar.hpp"
#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

constexpr ActivationKind plain_kinds[] = {ActivationKind::silu, ActivationKind::gelu, ActivationKind::gelu_tanh,
                                          ActivationKind::relu, ActivationKind::relu2};

double in_double(Activation activation, double x) {
  switch (activation.kind) {
    case ActivationKind::silu:
      return x / (1.0 + std::exp(-x));
    case ActivationKind::gelu:
      return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
    case ActivationKind::gelu_tanh:
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
    case ActivationKind::relu:
      return std::max(x, 0.0);
    case ActivationKind::relu2:
      return std::max(x, 0.0) * std::max(x, 0.0);
    case ActivationKind::clamped_swiglu:
      break;
  }
  const double g = std::min(x, double{activation.limit});
  return g / (1.0 + std::exp(-double{activation.alpha} * g));
}

}  // namespace

TEMPLATE_TEST_CASE("activations agree with double", "", Scalar, HEADGATE_SIMD_BACKENDS) {
  for (const ActivationKind kind : plain_kinds) {
    for (const index_t n : lengths()) {
      const std::vector<float> x = random_floats(n, 1, -8.0f, 8.0f);
      std::vector<float> expected;
      for (const float value : x) expected.push_back(static_cast<float>(in_double({kind}, value)));
      Output y(n, n % 3);
      TestType::activate({kind}, Input(x, (n + 1) % 3).data(), n, y.data());
      CAPTURE(static_cast<int>(kind), n);
      CHECK(y.guards_intact());
      CHECK(distance(y.values(), expected, 1.0) <= 2e-6);
    }
  }
}

TEMPLATE_TEST_CASE("gated activations multiply by the up projection, in place too", "", Scalar,
                   HEADGATE_SIMD_BACKENDS) {
  for (const ActivationKind kind : plain_kinds) {
    for (const index_t n : lengths()) {
      const std::vector<float> gate = random_floats(n, 1, -8.0f, 8.0f);
      const std::vector<float> up = random_floats(n, 2);
      std::vector<float> expected;
      for (std::size_t i = 0; i < gate.size(); ++i) {
        expected.push_back(static_cast<float>(in_double({kind}, gate[i]) * up[i]));
      }
      Output y(gate, n % 3);
      TestType::glu({kind}, y.data(), Input(up, 1).data(), n, y.data());
      CAPTURE(static_cast<int>(kind), n);
      CHECK(y.guards_intact());
      CHECK(distance(y.values(), expected, 1.0) <= 4e-6);
    }
  }
}

TEMPLATE_TEST_CASE("gpt-oss's activation clamps both sides", "", Scalar, HEADGATE_SIMD_BACKENDS) {
  const Activation activation{ActivationKind::clamped_swiglu, 1.702f, 3.0f};
  for (const index_t n : lengths()) {
    const std::vector<float> gate = random_floats(n, 1, -9.0f, 9.0f);
    const std::vector<float> up = random_floats(n, 2, -9.0f, 9.0f);
    std::vector<float> expected;
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const double u = std::clamp(double{up[i]}, -3.0, 3.0);
      expected.push_back(static_cast<float>((u + 1.0) * in_double(activation, gate[i])));
    }
    Output y(n, n % 3);
    TestType::glu(activation, Input(gate, 1).data(), Input(up, 2).data(), n, y.data());
    CAPTURE(n);
    CHECK(y.guards_intact());
    CHECK(distance(y.values(), expected, 1.0) <= 4e-6);
  }
}
