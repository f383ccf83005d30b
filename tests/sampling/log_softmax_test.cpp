#include "headgate/sampling/log_softmax.hpp"

#include <limits>

#include "support/catch.hpp"

using namespace headgate;

namespace {
constexpr float inf = std::numeric_limits<float>::infinity();
}

TEST_CASE("log-probabilities are logits less the logarithm of the sum of exponentials") {
  const float logits[] = {1.0f, 2.0f, 3.0f};
  const LogSoftmax log_softmax(logits);
  const double total = std::log(std::exp(1.0) + std::exp(2.0) + std::exp(3.0));
  for (int i = 0; i < 3; ++i) CHECK(std::abs(log_softmax[i] - (logits[i] - total)) < 1e-14);
}

TEST_CASE("the best tokens come first, equal ones by id, and no more than there are") {
  const float logits[] = {1.0f, 5.0f, -2.0f, 5.0f, 4.0f};
  const LogSoftmax log_softmax(logits);
  const std::vector<TokenLogprob> best = log_softmax.top(3);
  REQUIRE(best.size() == 3);
  CHECK(best[0].token == 1);
  CHECK(best[1].token == 3);
  CHECK(best[2].token == 4);
  CHECK(best[0].logprob == log_softmax[1]);
  CHECK(log_softmax.top(9).size() == 5);
  CHECK(log_softmax.top(0).empty());
  CHECK(log_softmax.top(-1).empty());
}

TEST_CASE("extreme logits give finite log-probabilities or -inf, never NaN") {
  const float huge[] = {3e38f, -3e38f, 3e38f};
  CHECK(std::abs(LogSoftmax(huge)[0] + std::log(2.0)) < 1e-12);
  CHECK(LogSoftmax(huge)[1] < -1e38);
  const float masked[] = {-inf, 0.0f};
  CHECK(LogSoftmax(masked)[0] == -inf);
  CHECK(LogSoftmax(masked)[1] == 0.0);
  const float nothing[] = {-inf, -inf};
  CHECK(LogSoftmax(nothing)[0] == -inf);
}

TEST_CASE("of no logits there is no best token") { CHECK(LogSoftmax(std::span<const float>()).top(3).empty()); }

TEST_CASE("equal logits come by id, however many there are") {
  const std::vector<float> logits(40, 2.0f);
  const std::vector<TokenLogprob> best = LogSoftmax(logits).top(39);
  REQUIRE(best.size() == 39);
  for (std::size_t i = 0; i < best.size(); ++i) {
    CHECK(best[i].token == static_cast<std::int32_t>(i));
    CHECK(best[i].logprob == Catch::Approx(-std::log(40.0)).epsilon(1e-15));
  }
  CHECK(LogSoftmax(logits).top(1).size() == 1);
}
