#include "headgate/routing/cosine_gate.hpp"

#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/thread_executor.hpp"

namespace {
using namespace headgate;

template <class Backend = NativeBackend>
std::vector<float> logits_of(const CosineGateWeights& weights, const std::vector<float>& x, ExecutorRef threads = {}) {
  const auto gate = CosineGate<Backend>::create(weights).value();
  const index_t rows = static_cast<index_t>(x.size()) / gate.hidden_size();
  std::vector<float> z(as_size(rows) * as_size(gate.num_experts()));
  Context ctx(threads);
  gate.logits({x.data(), rows, gate.hidden_size()}, {z.data(), rows, gate.num_experts()}, ctx);
  return z;
}
}  // namespace

TEST_CASE("cosine logits by hand: angles alone count, of prototypes and of tokens") {
  const std::vector<float> prototypes = {2.0f, 0.0f, 3.0f, 4.0f, 0.0f, -0.5f, 0.0f, 0.0f};
  const CosineGateWeights weights{.prototypes = {prototypes.data(), 4, 2}};
  const std::vector<float> z = logits_of(weights, {3.0f, 4.0f, 0.0f, 0.0f});
  const double expected[] = {0.6, 1.0, -0.8, 0.0, 0.0, 0.0, 0.0, 0.0};
  for (std::size_t i = 0; i < 8; ++i) CHECK(static_cast<double>(z[i]) == Catch::Approx(expected[i]).margin(1e-7));
  // Powers of two scale in bits.
  CHECK(logits_of(weights, {0x3p40f, 0x4p40f, 0.0f, 0.0f}) == z);
}

TEST_CASE("the scale is exp(tau), and at most 100") {
  const std::vector<float> axes = identity_gate(2);
  const auto scale = [&](float tau) {
    return CosineGate<>::create({.prototypes = {axes.data(), 2, 2}, .temperature = tau}).value().scale();
  };
  CHECK(scale(0.0f) == 1.0f);
  CHECK(scale(std::log(2.0f)) == Catch::Approx(2.0f));
  CHECK(scale(-3.0f) == Catch::Approx(std::exp(-3.0f)));
  CHECK(scale(4.7f) == Catch::Approx(100.0f));
  CHECK(scale(1e30f) == Catch::Approx(100.0f));
}

TEST_CASE(
    "a cosine gate with a projector equals a loop in double, and for any batch and number of threads itself in bits") {
  const index_t experts = 11, width = 14, hidden = 24, tokens = 9;
  const std::vector<float> c = random_floats(experts * width, 1.0f, 1);
  const std::vector<float> p = random_floats(width * hidden, 0.3f, 2);
  const std::vector<float> b = random_floats(width, 0.2f, 3);
  const std::vector<float> x = random_floats(tokens * hidden, 1.0f, 4);
  const CosineGateWeights weights{.prototypes = {c.data(), experts, width},
                                  .temperature = 1.5f,
                                  .projector = {p.data(), width, hidden},
                                  .projector_bias = b};
  const std::vector<float> z = logits_of(weights, x);
  const auto at = [](const std::vector<float>& m, index_t row, index_t cols, index_t col) {
    return static_cast<double>(m[as_size(row * cols + col)]);
  };
  for (index_t t = 0; t < tokens; ++t) {
    std::vector<double> v;
    double squares = 0.0;
    for (index_t i = 0; i < width; ++i) {
      double sum = static_cast<double>(b[as_size(i)]);
      for (index_t j = 0; j < hidden; ++j) sum += at(p, i, hidden, j) * at(x, t, hidden, j);
      v.push_back(sum);
      squares += sum * sum;
    }
    for (index_t e = 0; e < experts; ++e) {
      double dot = 0.0, norm = 0.0;
      for (index_t i = 0; i < width; ++i) {
        dot += v[as_size(i)] * at(c, e, width, i);
        norm += at(c, e, width, i) * at(c, e, width, i);
      }
      const double expected = std::exp(1.5) * dot / std::sqrt(squares * norm);
      CHECK(at(z, t, experts, e) == Catch::Approx(expected).margin(1e-5));
    }
  }
  const std::vector<float> scalar = logits_of<Scalar>(weights, x);
  for (std::size_t i = 0; i < z.size(); ++i) CHECK(scalar[i] == Catch::Approx(z[i]).margin(1e-6));
  for (const index_t threads : {index_t{2}, index_t{3}}) {
    ThreadExecutor executor(threads);
    CHECK(logits_of(weights, x, executor) == z);
  }
  std::vector<float> one_by_one;
  for (index_t t = 0; t < tokens; ++t) {
    for (const float logit : logits_of(weights, {x.begin() + t * hidden, x.begin() + (t + 1) * hidden}))
      one_by_one.push_back(logit);
  }
  CHECK(one_by_one == z);
  CHECK(logits_of(weights, {}).empty());
}

TEST_CASE("a token too large to have a norm gives logits that are no numbers, not equal ones") {
  const std::vector<float> axes = identity_gate(2);
  for (const float z : logits_of({.prototypes = {axes.data(), 2, 2}}, {1e30f, 1e10f})) CHECK_FALSE(std::isfinite(z));
}

TEST_CASE("a cosine gate refuses shapes that do not fit, by name") {
  const std::vector<float> m(12, 1.0f);
  const auto said = [](const CosineGateWeights& weights) {
    return std::string(CosineGate<>::create(weights).error().what());
  };
  CHECK(said({}) == "prototypes of a gate (experts), at least (got 0, allowed 1)");
  CHECK(said({.prototypes = {m.data(), 3, 0}}) == "width of a gate's prototypes, at least (got 0, allowed 1)");
  CHECK(said({.prototypes = {nullptr, 3, 2}}) == "rows of a matrix without data");
  CHECK(said({.prototypes = {m.data(), 3, 4}, .projector = {m.data(), 3, 4}}) ==
        "rows of a gate's projector against width of its prototypes (got 3, allowed 4)");
  CHECK(said({.prototypes = {m.data(), 3, 4}, .projector = {m.data(), 4, 0}}) ==
        "columns of a gate's projector (hidden_size), at least (got 0, allowed 1)");
  CHECK(said({.prototypes = {m.data(), 3, 4}, .projector_bias = m}) ==
        "size of the bias of a gate's projector against its rows (got 12, allowed 0)");
  CHECK(said({.prototypes = {m.data(), 3, 4}, .temperature = std::nanf("")}) == "temperature of a gate is not finite");
  CHECK(said({.prototypes = {m.data(), 3, 4}, .temperature = -HUGE_VALF}) == "temperature of a gate is not finite");
}
