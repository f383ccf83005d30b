#include "headgate/routing/linear_gate.hpp"

#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/gated_router.hpp"
#include "headgate/routing/stages/top_k.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"

using namespace headgate;

TEST_CASE("a linear gate before a selection is the staged router of its matrix and bias, in bits") {
  const std::vector<float> gate = random_floats(11 * 26, 0.5f, 1);
  const std::vector<float> bias = random_floats(11, 0.5f, 2);
  const std::vector<float> x = random_floats(9 * 26, 1.0f, 3);
  const ConstRows weights{gate.data(), 11, 26};
  using Gated = GatedRouter<LinearGate<>, SoftmaxScore, TopK, Renormalize>;
  const auto router = Gated::create(LinearGate<>::create(weights, bias), {3}, {}).value();
  const TopKSoftmax staged({.gate = weights, .gate_bias = bias}, {3}, {});
  CHECK(routed(router, {x.data(), 9, 26}) == routed(staged, {x.data(), 9, 26}));
}

TEST_CASE("a linear gate refuses shapes and biases that do not fit") {
  const std::vector<float> gate(12, 1.0f);
  const auto refused = [](ConstRows weights, std::vector<float> bias) {
    return std::string(LinearGate<>::create(weights, bias).error().what());
  };
  CHECK(refused({}, {}) == "rows of a router's gate (experts), at least (got 0, allowed 1)");
  CHECK(refused({gate.data(), 3, 0}, {}) == "columns of a router's gate (hidden_size), at least (got 0, allowed 1)");
  CHECK(refused({nullptr, 3, 4}, {}) == "rows of a matrix without data");
  CHECK(refused({gate.data(), 3, 4}, {1.0f}) == "size of gate_bias against experts (got 1, allowed 3)");
  CHECK(refused({gate.data(), 3, 4}, {1.0f, HUGE_VALF, 1.0f}) == "gate_bias is not finite, expert 1");
}
