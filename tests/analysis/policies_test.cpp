#include "headgate/analysis/policies.hpp"

#include <set>
#include <string>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("every policy has a name of its own, and can be made of a gate alone, small or large") {
  for (const index_t experts : {8, 16, 64}) {
    const std::vector<float> gate = uniform_floats(std::int64_t{experts} * 64, 0.02f, 3);
    const PolicyParameters parameters(ConstRows(gate.data(), experts, 64), 2);
    std::set<std::string> names;
    for_each_policy<Scalar>([&](const char* name, unsigned, auto make) {
      INFO(name);
      CHECK(names.insert(name).second);
      const auto router = make(parameters);
      CHECK(router.num_experts() == experts);
    });
    CHECK(names.size() >= 20);
  }
}

TEST_CASE("the bound of a gate's numbers is that of the uniform numbers it was made of") {
  const std::vector<float> gate = uniform_floats(16 * 64, 0.02f, 3);
  const PolicyParameters parameters(ConstRows(gate.data(), 16, 64), 2);
  CHECK(parameters.gate_bound == Catch::Approx(0.02f).epsilon(0.05));
  CHECK(parameters.gate == gate);
}
