#include "headgate/routing/layer_norm_gate.hpp"

#include <cmath>

#include "headgate/kernels/native.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/thread_executor.hpp"

namespace {
using namespace headgate;

std::vector<float> logits_of(ConstRows weights, GateRows rows, const std::vector<float>& x, ExecutorRef threads = {}) {
  const auto gate = LayerNormGate<>::create(weights, rows).value();
  const index_t tokens = static_cast<index_t>(x.size()) / weights.cols;
  std::vector<float> z(as_size(tokens) * as_size(weights.rows));
  Context ctx(threads);
  gate.logits({x.data(), tokens, weights.cols}, {z.data(), tokens, weights.rows}, ctx);
  return z;
}
std::vector<double> normal(const float* x, index_t n) {
  double mean = 0.0, squares = 0.0;
  for (index_t j = 0; j < n; ++j) mean += static_cast<double>(x[j]) / n;
  for (index_t j = 0; j < n; ++j) squares += std::pow(static_cast<double>(x[j]) - mean, 2) / n;
  std::vector<double> y;
  for (index_t j = 0; j < n; ++j) y.push_back((static_cast<double>(x[j]) - mean) / std::sqrt(squares + 1e-5));
  return y;
}
}  // namespace

TEST_CASE("logits of normalised tokens equal a loop in double, and do not change with batch or threads") {
  const std::vector<float> gate = random_floats(11 * 14, 1.0f, 1);
  std::vector<float> x = random_floats(9 * 14, 1.0f, 2);
  for (float& v : x) v += 3.0f;  // a mean that normalising takes away
  const ConstRows weights{gate.data(), 11, 14};
  for (const GateRows rows : {GateRows::as_they_are, GateRows::normalized}) {
    const std::vector<float> z = logits_of(weights, rows, x);
    for (index_t t = 0; t < 9; ++t) {
      const std::vector<double> token = normal(x.data() + t * 14, 14);
      for (index_t e = 0; e < 11; ++e) {
        const std::vector<double> row = normal(weights.row_data(e), 14);
        double sum = 0.0;
        for (index_t j = 0; j < 14; ++j) {
          const double own = static_cast<double>(weights.row_data(e)[j]);
          sum += token[as_size(j)] * (rows == GateRows::normalized ? row[as_size(j)] : own);
        }
        CHECK(static_cast<double>(z[as_size(t * 11 + e)]) == Catch::Approx(sum / std::sqrt(14.0)).margin(2e-6));
      }
    }
    ThreadExecutor threads(3);
    CHECK(logits_of(weights, rows, x, threads) == z);
    const std::vector<float> last(x.end() - 14, x.end());
    CHECK(logits_of(weights, rows, last) == std::vector<float>(z.end() - 11, z.end()));
    CHECK(logits_of(weights, rows, {}).empty());
  }
}

TEST_CASE(
    "a token of equal channels has no direction; one too large to have a variance gives logits that are no numbers") {
  const std::vector<float> gate = random_floats(3 * 5, 1.0f, 1);
  for (const float z : logits_of({gate.data(), 3, 5}, GateRows::normalized, std::vector<float>(5, 2.0f)))
    CHECK(z == 0.0f);
  for (const float z : logits_of({gate.data(), 3, 5}, GateRows::normalized, {1e30f, 1.0f, 1.0f, 1.0f, 1.0f})) {
    CHECK_FALSE(std::isfinite(z));
  }
}

TEST_CASE("a layer norm gate refuses an empty matrix by name") {
  const auto refused = [](ConstRows weights) {
    return std::string(LayerNormGate<>::create(weights, GateRows::normalized).error().what());
  };
  const float one = 1.0f;
  CHECK(refused({}) == "rows of a router's gate (experts), at least (got 0, allowed 1)");
  CHECK(refused({&one, 1, 0}) == "columns of a router's gate (hidden_size), at least (got 0, allowed 1)");
  CHECK(refused({nullptr, 1, 1}) == "rows of a matrix without data");
}
