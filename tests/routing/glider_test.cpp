#include "headgate/routing/glider.hpp"

#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/stages/top_p.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"

namespace {
using namespace headgate;

RoutingPlan with_bias(const GliderRouter<>& router, ConstRows x, SequenceBias bias) {
  bias.reset(x.rows);
  Context ctx;
  RoutingPlan plan;
  throw_if_error(router.route({.hidden = x}, bias, plan, ctx));
  return plan;
}
struct Example {
  std::vector<float> gate = random_floats(11 * 24, 1.0f, 1);
  std::vector<float> x = random_floats(9 * 24, 1.0f, 2);
  ConstRows weights() const { return {gate.data(), 11, 24}; }
  ConstRows rows() const { return {x.data(), 9, 24}; }
};
}  // namespace

TEST_CASE("PHATGOOSE's router: ids equal, weights to 1e-5") {
  const auto cases = golden("glider")["phatgoose"];
  REQUIRE(cases.size() == 2);
  for (const auto& c : cases) {
    INFO("margin " << c["margin"]);
    const std::vector<float> gate = values(c["gate"]);
    const std::vector<float> x = values(c["hidden"]);
    const auto n = static_cast<index_t>(gate.size()) / 12;
    const RoutingPlan plan = routed(phatgoose_router({gate.data(), n, 12}).value(), {x.data(), 7, 12});
    CHECK(std::vector(plan.experts().begin(), plan.experts().end()) == values<ExpertId>(c["ids"]));
    const std::vector<float> weights = values(c["weights"]);
    for (std::size_t i = 0; i < weights.size(); ++i)
      CHECK(plan.weights()[i] == Catch::Approx(weights[i]).epsilon(1e-5));
  }
}

TEST_CASE("Glider's layer with its global bias: the weights of all experts to 1e-5") {
  const auto cases = golden("glider")["glider"];
  REQUIRE(cases.size() == 3);
  for (const auto& c : cases) {
    INFO("beta " << c["beta"] << ", margin " << c["margin"]);
    const std::vector<float> gate = values(c["gate"]);
    const std::vector<float> x = values(c["hidden"]);
    const std::vector<float> embeddings = values(c["embeddings"]);
    const auto n = static_cast<index_t>(gate.size()) / 12;
    SequenceBias bias{.logits = std::vector<float>(as_size(n)), .sequence_of = {}};
    throw_if_error(glider_bias(values(c["task"]), {embeddings.data(), n, 6}, c["beta"], bias.logits));
    const RoutingPlan plan = with_bias(glider_router({gate.data(), n, 12}).value(), {x.data(), 7, 12}, bias);
    const std::vector<float> weights = values(c["weights"]);
    for (index_t t = 0; t < 7; ++t) {
      const std::vector<float> row = dense_weights(plan, t);
      for (std::size_t e = 0; e < row.size(); ++e) {
        CHECK(row[e] == Catch::Approx(weights[as_size(t * n) + e]).margin(1e-5));
      }
    }
  }
}

TEST_CASE(
    "beta 0 is Glider's local part, and of normalised rows PHATGOOSE; a large one gives a sequence one pair of "
    "experts") {
  Example e;
  const RoutingPlan local = routed(glider_router(e.weights()).value(), e.rows());
  const std::vector<float> task = random_floats(6, 1.0f, 3);
  const std::vector<float> experts = random_floats(11 * 6, 1.0f, 4);
  SequenceBias bias{.logits = std::vector<float>(11), .sequence_of = {}};
  throw_if_error(glider_bias(task, {experts.data(), 11, 6}, 0.0f, bias.logits));
  CHECK(with_bias(glider_router(e.weights()).value(), e.rows(), bias) == local);
  throw_if_error(glider_bias(task, {experts.data(), 11, 6}, 1e6f, bias.logits));
  const RoutingPlan global = with_bias(glider_router(e.weights()).value(), e.rows(), bias);
  for (index_t t = 1; t < 9; ++t) CHECK(experts_of(global, t) == experts_of(global, 0));
  // Rows of mean 0 and variance 1 stay nearly what they are.
  const RoutingPlan goose = routed(phatgoose_router(e.weights()).value(), e.rows());
  for (index_t r = 0; r < 11; ++r) {
    float* const row = e.gate.data() + r * 24;
    double mean = 0.0, squares = 0.0;
    for (index_t j = 0; j < 24; ++j) mean += static_cast<double>(row[j]) / 24.0;
    for (index_t j = 0; j < 24; ++j) squares += std::pow(static_cast<double>(row[j]) - mean, 2) / 24.0;
    for (index_t j = 0; j < 24; ++j) {
      row[j] = static_cast<float>((static_cast<double>(row[j]) - mean) / std::sqrt(squares + 1e-5));
    }
  }
  const RoutingPlan glider = routed(glider_router(e.weights()).value(), e.rows());
  for (index_t t = 0; t < 9; ++t) CHECK(experts_of(glider, t) == experts_of(goose, t));
}

TEST_CASE("the bias of a task by hand, and what it refuses") {
  const std::vector<float> task = {3.0f, 4.0f};
  const std::vector<float> experts = {1.0f, 0.0f, 0.0f, -2.0f, 0.0f, 0.0f};
  std::vector<float> bias(3);
  throw_if_error(glider_bias(task, {experts.data(), 3, 2}, 10.0f, bias));
  CHECK(bias[0] == Catch::Approx(6.0f));
  CHECK(bias[1] == Catch::Approx(-8.0f));
  CHECK(bias[2] == 0.0f);
  CHECK(said(glider_bias(task, {experts.data(), 2, 3}, 1.0f, bias)) ==
        "usage: width of a task against that of experts (got 2, allowed 3)");
  CHECK(said(glider_bias(task, {experts.data(), 2, 2}, 1.0f, bias)) ==
        "usage: logits of a task against experts (got 3, allowed 2)");
  CHECK(said(glider_bias(task, {experts.data(), 3, 2}, HUGE_VALF, bias)) ==
        "numeric: bias of a task is not finite, expert 0");
}
