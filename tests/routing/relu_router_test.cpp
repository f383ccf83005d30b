#include "headgate/routing/relu_router.hpp"

#include <algorithm>

#include "headgate/experts/glu_experts.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/reference_moe.hpp"
#include "support/routing.hpp"

namespace {
using namespace headgate;

std::vector<float> scaled(std::vector<float> x, float by) {
  for (float& v : x) v *= by;
  return x;
}
}  // namespace

TEST_CASE("paper_remoe: weights are the positive logits, best first, and rows run from empty to full") {
  const std::vector<float> gate = identity_gate(5);
  const std::vector<float> x = {0.5f, -1.0f, 2.0f, 0.0f, 0.5f, -1, -2, -3, -4, -0.0f, 1, 2, 3, 4, 5};
  const auto router = relu_router({.gate = {gate.data(), 5, 5}}).value();
  const RoutingPlan plan = routed(router, {x.data(), 3, 5});
  CHECK(experts_of(plan, 0) == std::vector<ExpertId>{2, 0, 4});
  CHECK(weights_of(plan, 0) == std::vector<float>{2.0f, 0.5f, 0.5f});
  CHECK(plan.experts(1).empty());
  CHECK(experts_of(plan, 2) == std::vector<ExpertId>{4, 3, 2, 1, 0});
  CHECK(router.traits().k_min == 0);
  CHECK(router.traits().k_max == 5);
  CHECK(router.traits().row_sum == RowSum::free);
}

TEST_CASE("P10: ReMoE is 1-homogeneous: scaling x by a power of two scales the weights, in bits") {
  const std::vector<float> gate = random_floats(7 * 6, 0.6f, 1);
  const std::vector<float> x = random_floats(20 * 6, 1.0f, 2);
  const auto router = relu_router({.gate = {gate.data(), 7, 6}}).value();
  const RoutingPlan plan = routed(router, {x.data(), 20, 6});
  const std::vector<float> larger = scaled(x, 4.0f);
  const RoutingPlan after = routed(router, {larger.data(), 20, 6});
  CHECK(std::equal(plan.experts().begin(), plan.experts().end(), after.experts().begin(), after.experts().end()));
  for (std::size_t i = 0; i < plan.weights().size(); ++i) CHECK(after.weights()[i] == 4.0f * plan.weights()[i]);
}

TEST_CASE("P9, P16: a layer is the dense sum over positive logits, and continuous where an expert goes out") {
  const GluShape shape{.num_experts = 5, .hidden_size = 6, .ffn_size = 7};
  const reference::Bank bank(shape, 3);
  const std::vector<float> gate = random_floats(5 * 6, 0.8f, 4);
  using Layer = MoELayer<ReluRouter<>, GluExperts<>>;
  const auto router = [&] { return relu_router({.gate = {gate.data(), 5, 6}}).value(); };
  const Layer layer(router(), GluExperts<>(shape, bank.matrices()));
  Layer::State state;
  Context ctx;
  const auto output = [&](const std::vector<float>& x) {
    std::vector<float> y(6);
    throw_if_error(layer.forward({.hidden = {x.data(), 1, 6}}, state, {y.data(), 1, 6}, ctx));
    return y;
  };
  for (unsigned seed = 0; seed < 10; ++seed) {
    std::vector<float> x = random_floats(6, 1.0f, 100 + seed);
    const std::vector<float> y = output(x);
    std::vector<double> dense(6, 0.0);
    for (index_t e = 0; e < 5; ++e) {
      double z = 0.0;
      for (std::size_t i = 0; i < 6; ++i)
        z += static_cast<double>(gate[as_size(e) * 6 + i]) * static_cast<double>(x[i]);
      if (z <= 0.0) continue;
      const std::vector<reference::Bounded> out = bank.expert(e, x.data());
      for (std::size_t i = 0; i < 6; ++i) dense[i] += z * out[i].value;
    }
    for (std::size_t i = 0; i < 6; ++i) CHECK(static_cast<double>(y[i]) == Catch::Approx(dense[i]).margin(1e-5));

    // Move x to either side of the plane where expert 0 goes out.
    double dot = 0.0;
    double square = 0.0;
    for (std::size_t i = 0; i < 6; ++i) {
      dot += static_cast<double>(gate[i]) * static_cast<double>(x[i]);
      square += static_cast<double>(gate[i]) * static_cast<double>(gate[i]);
    }
    std::vector<float> inside = x;
    std::vector<float> outside = x;
    for (std::size_t i = 0; i < 6; ++i) {
      const double on_plane = static_cast<double>(x[i]) - dot / square * static_cast<double>(gate[i]);
      inside[i] = static_cast<float>(on_plane + 1e-4 * static_cast<double>(gate[i]));
      outside[i] = static_cast<float>(on_plane - 1e-4 * static_cast<double>(gate[i]));
    }
    const std::vector<float> y_inside = output(inside);
    const std::size_t with = state.plan.experts().size();
    const std::vector<float> y_outside = output(outside);
    CHECK(with == state.plan.experts().size() + 1);
    for (std::size_t i = 0; i < 6; ++i) CHECK(y_inside[i] == Catch::Approx(y_outside[i]).margin(2e-2));
    for (std::size_t i = 0; i < 6; ++i) CHECK(std::abs(y_inside[i] - y_outside[i]) < 100 * 2e-4f);
  }
}

TEST_CASE("a call's mask takes an expert out of a ReLU row, and its k limits the row") {
  const std::vector<float> gate = identity_gate(4);
  const std::vector<float> x = {4.0f, 3.0f, 2.0f, 1.0f};
  const auto router = relu_router({.gate = {gate.data(), 4, 4}}).value();
  const std::vector<std::uint8_t> mask = {0, 1, 1, 1};
  RouteEdits edits{.expert_mask = mask};
  CHECK(experts_of(routed(router, {x.data(), 1, 4}, edits), 0) == std::vector<ExpertId>{1, 2, 3});
  edits.k = 2;
  CHECK(weights_of(routed(router, {x.data(), 1, 4}, edits), 0) == std::vector<float>{3.0f, 2.0f});
}
