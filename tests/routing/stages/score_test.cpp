#include "headgate/routing/stages/score.hpp"

#include <cmath>

#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"

TEST_CASE("scores are softmax, sigmoid or the logits themselves") {
  using namespace headgate;
  const std::vector<float> z = {0.5f, -1.0f, 2.0f};
  const auto scored = [&](auto score) {
    std::vector<float> row = z;
    score.template apply<Scalar>(std::span<float>(row));
    return row;
  };
  const double total = std::exp(0.5) + std::exp(-1.0) + std::exp(2.0);
  for (std::size_t e = 0; e < z.size(); ++e) {
    const double exponential = std::exp(static_cast<double>(z[e]));
    CHECK(scored(SoftmaxScore{})[e] == Catch::Approx(exponential / total).epsilon(1e-6));
    CHECK(scored(SigmoidScore{})[e] == Catch::Approx(exponential / (1.0 + exponential)).epsilon(1e-6));
    CHECK(scored(IdentityScore{})[e] == z[e]);
  }
}
