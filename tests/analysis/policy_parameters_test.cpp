#include "headgate/analysis/policy_parameters.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("the bound of a gate's numbers is that of the uniform numbers it was made of") {
  const std::vector<float> gate = uniform_floats(16 * 64, 0.02f, 3);
  const PolicyParameters parameters(ConstRows(gate.data(), 16, 64), 2);
  CHECK(parameters.gate_bound == Catch::Approx(0.02f).epsilon(0.05));
  CHECK(parameters.gate == gate);
  CHECK(parameters.gain == std::vector<float>(16, 1.0f));
  CHECK(parameters.selection_bias == std::vector<float>(16, 0.0f));
}

TEST_CASE("uniform numbers stay below their bound and depend on the seed alone") {
  const std::vector<float> values = uniform_floats(1000, 0.5f, 7);
  CHECK(values == uniform_floats(1000, 0.5f, 7));
  CHECK(values != uniform_floats(1000, 0.5f, 8));
  CHECK(*std::min_element(values.begin(), values.end()) >= -0.5f);
  CHECK(*std::max_element(values.begin(), values.end()) < 0.5f);
  CHECK(*std::min_element(values.begin(), values.end()) < -0.49f);
  CHECK(*std::max_element(values.begin(), values.end()) > 0.49f);
}
