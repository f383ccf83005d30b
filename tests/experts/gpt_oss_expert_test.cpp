// The clamped activation, the interleaved matrices and the biases of gpt-oss, against what transformers computes
// (tests/golden/experts/make_vectors.py).
#include <fstream>
#include <string>

#include "headgate/experts/glu_experts.hpp"
#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"

using namespace headgate;
using reference::Matrix;

namespace {

std::vector<float> read(std::istream& file, const std::string& name) {
  std::string found;
  std::size_t count = 0;
  file >> found >> count;
  REQUIRE(found == name);
  std::vector<float> numbers(count);
  for (float& number : numbers) file >> number;
  REQUIRE(file);
  return numbers;
}

}  // namespace

TEST_CASE("gpt-oss experts agree with transformers") {
  std::ifstream file(HEADGATE_SOURCE_DIR "/tests/golden/experts/gpt_oss.txt");
  REQUIRE(file);
  std::vector<index_t> sizes;
  for (const float size : read(file, "sizes")) sizes.push_back(static_cast<index_t>(size));
  const index_t hidden = sizes[0], ffn = sizes[1], num_experts = sizes[2], tokens = sizes[3], k = sizes[4];
  const std::vector<float> gate_up = read(file, "gate_up_proj");  // (experts, hidden, 2 ffn), gate and up in turn
  const std::vector<float> gate_up_bias = read(file, "gate_up_proj_bias");
  const std::vector<float> down = read(file, "down_proj");  // (experts, ffn, hidden)
  const std::vector<float> down_bias = read(file, "down_proj_bias");

  GluExperts<F32, Scalar> bank({num_experts, hidden, ffn, {ActivationKind::clamped_swiglu}, true, true});
  std::vector<float> row;
  const auto column = [&](const std::vector<float>& m, index_t e, index_t rows, index_t cols, index_t c) {
    row.clear();
    for (index_t r = 0; r < rows; ++r) row.push_back(m[as_size((e * rows + r) * cols + c)]);
    return row.data();
  };
  for (index_t e = 0; e < num_experts; ++e) {
    for (index_t f = 0; f < ffn; ++f) {
      bank.set_gate_row(e, f, column(gate_up, e, hidden, 2 * ffn, 2 * f));
      bank.set_up_row(e, f, column(gate_up, e, hidden, 2 * ffn, 2 * f + 1));
      bank.set_gate_bias(e, f, gate_up_bias[as_size(2 * (e * ffn + f))]);
      bank.set_up_bias(e, f, gate_up_bias[as_size(2 * (e * ffn + f) + 1)]);
    }
    for (index_t c = 0; c < hidden; ++c) {
      bank.set_down_row(e, c, column(down, e, ffn, hidden, c));
      bank.set_down_bias(e, c, down_bias[as_size(e * hidden + c)]);
    }
  }

  Matrix x(tokens, hidden);
  x.values = read(file, "x");
  const std::vector<float> ids = read(file, "ids");
  const std::vector<float> weights = read(file, "weights");
  const std::vector<float> expected = read(file, "y");
  RoutingPlan plan;
  plan.clear(num_experts);
  for (index_t t = 0; t < tokens; ++t) {
    std::vector<ExpertId> experts;
    for (index_t i = 0; i < k; ++i) experts.push_back(static_cast<ExpertId>(ids[as_size(t * k + i)]));
    REQUIRE(plan.append_row(experts, std::span(weights).subspan(as_size(t * k), as_size(k))).ok());
  }
  Matrix y(tokens, hidden);
  Context ctx;
  REQUIRE(bank.apply(plan, x.view(), y.view(), ctx).ok());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CHECK(y.values[i] == Catch::Approx(static_cast<double>(expected[i])).epsilon(1e-5).margin(1e-4));
  }
}
