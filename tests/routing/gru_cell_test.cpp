#include "headgate/routing/gru_cell.hpp"

#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"

namespace {

using namespace headgate;

// W x for W (rows, x.size()).
template <class T>
std::vector<T> product(const std::vector<T>& matrix, const T* x, std::size_t width) {
  std::vector<T> out(matrix.size() / width);
  for (std::size_t r = 0; r < out.size(); ++r) {
    for (std::size_t i = 0; i < width; ++i) out[r] += matrix[r * width + i] * x[i];
  }
  return out;
}

// The largest distance of a cell's states from those of the official module, over layers and tokens.
template <class T>
double distance(const nlohmann::json& c) {
  const std::vector<T> ih = values<T>(c["weight_ih"]);
  const std::vector<T> hh = values<T>(c["weight_hh"]);
  const std::vector<T> bias_ih = values<T>(c["bias_ih"]);
  const std::vector<T> bias_hh = values<T>(c["bias_hh"]);
  const auto kind = c["kind"] == "gru" ? RecurrentKind::gru : RecurrentKind::rnn;
  const RecurrentWeights<T> weights{kind, ih, hh, bias_ih, bias_hh};
  double largest = 0.0;
  std::vector<std::vector<T>> h(6, std::vector<T>(7));
  for (const auto& layer : c["layers"]) {
    const std::vector<T> projection = values<T>(layer["weight1"]);
    const std::vector<T> x = values<T>(layer["hidden"]);
    const std::vector<double> expected = values<double>(layer["h"]);
    for (std::size_t t = 0; t < 6; ++t) {
      const std::vector<T> u = product(projection, x.data() + t * 10, 10);
      recurrent_cell<T>(weights, u, h[t]);
      for (std::size_t i = 0; i < 7; ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(h[t][i]) - expected[t * 7 + i]));
      }
    }
  }
  return largest;
}

std::vector<double> doubles(std::size_t n, float scale, unsigned seed) {
  const std::vector<float> x = random_floats(n, scale, seed);
  return {x.begin(), x.end()};
}

}  // namespace

TEST_CASE("cells agree with RMoE's and torch's over three layers: 1e-12 in double, 1e-6 in float") {
  const auto cases = golden("gru_router");
  REQUIRE(cases.size() == 2);
  for (const auto& c : cases) {
    INFO(c["kind"]);
    CHECK(distance<double>(c) < 1e-12);
    CHECK(distance<float>(c) < 1e-6);
  }
}

TEST_CASE("a GRU with its update gate shut keeps its state, and with all gates open is a tanh layer") {
  const std::vector<double> ih = doubles(9 * 4, 1.0f, 1);
  const std::vector<double> hh = doubles(9 * 3, 1.0f, 2);
  const std::vector<double> x = doubles(4, 1.0f, 3);
  std::vector<double> bias(9, 0.0);
  const std::vector<double> zero(9, 0.0);
  const std::vector<double> before = {0.25, -0.5, 0.75};
  for (std::size_t i = 3; i < 6; ++i) bias[i] = 1e3;  // z = 1
  std::vector<double> h = before;
  recurrent_cell<double>({RecurrentKind::gru, ih, hh, bias, zero}, x, h);
  CHECK(h == before);

  for (std::size_t i = 3; i < 6; ++i) bias[i] = -1e3;  // z = 0
  recurrent_cell<double>({RecurrentKind::gru, ih, std::vector<double>(27, 0.0), bias, zero}, x, h);
  for (std::size_t i = 0; i < 3; ++i) {
    double sum = 0.0;
    for (std::size_t j = 0; j < 4; ++j) sum += ih[(6 + i) * 4 + j] * x[j];
    CHECK(h[i] == Catch::Approx(std::tanh(sum)).margin(1e-15));
  }
}

TEST_CASE("a state never leaves [-1, 1], however large inputs are") {
  for (const auto kind : {RecurrentKind::gru, RecurrentKind::rnn}) {
    const std::size_t rows = as_size(num_gates(kind)) * 5;
    const std::vector<float> ih = random_floats(rows * 4, 2.0f, 4);
    const std::vector<float> hh = random_floats(rows * 5, 2.0f, 5);
    const std::vector<float> bias = random_floats(rows, 1.0f, 6);
    std::vector<float> h(5, 0.0f);
    for (unsigned step = 0; step < 200; ++step) {
      const std::vector<float> x = random_floats(4, step % 2 == 0 ? 30.0f : 1.0f, 10 + step);
      recurrent_cell<float>({kind, ih, hh, bias, bias}, x, h);
      for (const float v : h) CHECK((v >= -1.0f && v <= 1.0f));
    }
  }
}
