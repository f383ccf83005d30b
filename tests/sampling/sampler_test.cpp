#include "headgate/sampling/sampler.hpp"

#include "support/catch.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
const SamplerOptions plain{.temperature = 1.0f, .top_k = 0, .top_p = 1.0f, .min_p = 0.0f};

std::int32_t next(Sampler& sampler, std::vector<float> logits) {
  std::int32_t token = -1;
  const Status status = sampler.sample(logits, token);
  REQUIRE(status.ok());
  return token;
}
ErrorCode outcome(std::vector<float> logits, const SamplerOptions& options = {}) {
  Sampler sampler(options);
  std::int32_t token = -1;
  return sampler.sample(logits, token).code;
}
// How often each of n tokens is drawn.
std::vector<int> draw(const SamplerOptions& options, const std::vector<float>& logits, int times) {
  Sampler sampler(options);
  std::vector<int> counts(logits.size());
  for (int i = 0; i < times; ++i) ++counts[as_size(next(sampler, logits))];
  return counts;
}

}  // namespace

TEST_CASE("temperature 0 takes the most likely token, ties to the lower id") {
  Sampler sampler({.temperature = 0.0f});
  CHECK(next(sampler, {1.0f, 5.0f, 5.0f}) == 1);
  CHECK(next(sampler, {0.0f, 0.0f}) == 0);
  CHECK(next(sampler, {-inf, -3e38f}) == 1);
}

TEST_CASE("tokens are drawn as often as their probabilities say") {
  const std::vector<float> logits{std::log(0.5f), std::log(0.3f), std::log(0.2f), -inf};
  const std::vector<int> counts = draw(plain, logits, 20000);
  CHECK(std::abs(counts[0] - 10000) < 400);
  CHECK(std::abs(counts[1] - 6000) < 400);
  CHECK(std::abs(counts[2] - 4000) < 400);
  CHECK(counts[3] == 0);
  SamplerOptions cold = plain;
  cold.temperature = 0.5f;  // squares the odds: 25 : 9 : 4
  CHECK(std::abs(draw(cold, logits, 20000)[0] - 20000 * 25 / 38) < 400);
}

TEST_CASE("the same seed gives the same tokens, another seed others") {
  const std::vector<float> logits{0.1f, 0.2f, 0.3f, 0.2f, 0.1f};
  const auto text = [&](std::uint64_t seed) {
    SamplerOptions options = plain;
    options.seed = seed;
    Sampler sampler(options);
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 50; ++i) tokens.push_back(next(sampler, logits));
    return tokens;
  };
  CHECK(text(7) == text(7));
  CHECK(text(7) != text(8));
}

TEST_CASE("each limit keeps tokens out") {
  const std::vector<float> logits{3.0f, 2.0f, 1.0f, 0.0f};
  SamplerOptions options = plain;
  options.top_k = 1;
  CHECK(draw(options, logits, 100)[0] == 100);
  options = plain;
  options.top_p = 0.01f;  // below the probability of the best: it alone
  CHECK(draw(options, logits, 100)[0] == 100);
  options = plain;
  options.min_p = 0.2f;  // e^-1 passes, e^-2 does not
  const std::vector<int> counts = draw(options, logits, 300);
  CHECK(counts[1] > 0);
  CHECK(counts[2] + counts[3] == 0);
  options = plain;
  options.temperature = 1e-30f;
  CHECK(draw(options, logits, 100)[0] == 100);
}

TEST_CASE("filters come before the temperature, as in llama.cpp") {
  // At temperature 10 the probabilities are nearly even; min-p is judged at temperature 1.
  SamplerOptions options = plain;
  options.min_p = 0.5f;
  options.temperature = 10.0f;
  CHECK(draw(options, {3.0f, 0.0f}, 200)[1] == 0);
}

TEST_CASE("the repetition penalty sees accepted tokens and forgets old ones") {
  Sampler sampler({.temperature = 0.0f, .repeat_penalty = 2.0f, .repeat_last_n = 2});
  CHECK(next(sampler, {4.0f, 3.0f, 1.0f}) == 0);
  sampler.accept(0);
  CHECK(next(sampler, {4.0f, 3.0f, 1.0f}) == 1);
  sampler.accept(1);
  CHECK(next(sampler, {4.0f, 3.0f, 1.0f}) == 0);  // 2, 1.5, 1
  sampler.accept(2);
  CHECK(next(sampler, {4.0f, 3.0f, 1.0f}) == 0);  // 4, 1.5, 0.5
  Sampler none({.temperature = 0.0f, .repeat_penalty = 2.0f, .repeat_last_n = 0});
  none.accept(0);
  CHECK(next(none, {4.0f, 3.0f}) == 0);
}

TEST_CASE("logits that give no distribution are numeric errors") {
  for (const float temperature : {0.0f, 1.0f}) {
    const SamplerOptions options{.temperature = temperature};
    CHECK(outcome({1.0f, not_a_number}, options) == ErrorCode::numeric);
    CHECK(outcome({1.0f, inf}, options) == ErrorCode::numeric);
    CHECK(outcome({-inf, -inf}, options) == ErrorCode::numeric);
    CHECK(outcome({}, options) == ErrorCode::usage);
    CHECK(outcome({-inf, 0.0f}, options) == ErrorCode::ok);
    CHECK(outcome({1e4f, -1e4f, 3e38f, -3e38f}, options) == ErrorCode::ok);
  }
  // One that lies behind everything drawn may never come.
  CHECK(draw(plain, {0.0f, -inf, -inf}, 500)[0] == 500);
}

TEST_CASE("options of a sampler out of range are refused by name") {
  const auto field = [](SamplerOptions options) {
    const auto made = Sampler::create(options);
    if (made) return std::string();
    CHECK(made.error().code() == ErrorCode::usage);
    return made.error().detail().field;
  };
  CHECK(field({}).empty());
  CHECK(field({.temperature = -0.1f}) == "temperature");
  CHECK(field({.temperature = inf}) == "temperature");
  CHECK(field({.temperature = not_a_number}) == "temperature");
  CHECK(field({.top_k = -1}) == "top_k");
  CHECK(field({.top_p = 1.1f}) == "top_p");
  CHECK(field({.top_p = not_a_number}) == "top_p");
  CHECK(field({.min_p = -0.1f}) == "min_p");
  CHECK(field({.repeat_penalty = 0.0f}) == "repeat_penalty");
  CHECK(field({.repeat_penalty = not_a_number}) == "repeat_penalty");
  CHECK(field({.min_p = 1.1f}) == "min_p");
  CHECK(field({.repeat_last_n = -1}) == "repeat_last_n");
  CHECK_THROWS_AS(Sampler({.top_k = -1}), Error);
}

TEST_CASE("options at their bounds are taken, and a refusal says what is allowed") {
  constexpr float largest = std::numeric_limits<float>::max();
  const auto outcome_of = [](const SamplerOptions& options) { return refused(Sampler::create(options)); };
  CHECK(outcome_of({.temperature = largest}) == "made");
  CHECK(outcome_of({.top_k = 0}) == "made");
  CHECK(outcome_of({.top_p = 0.0f}) == "made");
  CHECK(outcome_of({.top_p = 1.0f}) == "made");
  CHECK(outcome_of({.min_p = 1.0f}) == "made");
  CHECK(outcome_of({.repeat_penalty = largest}) == "made");
  CHECK(outcome_of({.repeat_last_n = 0}) == "made");
  CHECK(outcome_of({.top_k = -1}) == "top_k: expected a number from 0 on, found -1");
  CHECK(outcome_of({.top_p = 2.0f}) == "top_p: expected a number from 0 to 1, found 2.000000");
}

TEST_CASE("the defaults of a sampler are llama.cpp's") {
  const SamplerOptions options;
  CHECK(options.temperature == 0.8f);
  CHECK(options.top_k == 40);
  CHECK(options.top_p == 0.95f);
  CHECK(options.min_p == 0.05f);
  CHECK(options.repeat_penalty == 1.0f);
  CHECK(options.repeat_last_n == 64);
  CHECK(options.seed == 0);
}

TEST_CASE("top-p comes before min-p") {
  // Top-p keeps .5, .3 and .15, of which min-p drops none; the other way round top-p would see .53, .32 and .16.
  SamplerOptions options = plain;
  options.top_p = 0.84f;
  options.min_p = 0.2f;
  const std::vector<int> counts =
      draw(options, {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)}, 300);
  CHECK(counts[2] > 0);
  CHECK(counts[3] == 0);
}

TEST_CASE("the repetition penalty looks back on exactly repeat_last_n tokens") {
  Sampler sampler({.temperature = 0.0f, .repeat_penalty = 2.0f, .repeat_last_n = 2});
  for (const std::int32_t token : {0, 1, 2}) sampler.accept(token);
  CHECK(next(sampler, {4.0f, 4.5f, 1.0f}) == 0);  // 4, 2.25, 0.5
  CHECK(next(sampler, {2.0f, 4.5f, 1.0f}) == 1);  // 2, 2.25, 0.5
}

TEST_CASE("temperature 0 reads logits as they stand, unsorted and unfiltered") {
  SamplerOptions options = plain;
  options.temperature = 0.0f;
  Sampler sampler(options);
  CHECK(next(sampler, {1.0f, 2.0f, 5.0f, 3.0f}) == 2);
  CHECK(next(sampler, {-inf, 2.0f, 2.0f}) == 1);
}

TEST_CASE("a status of the sampler names no layer, token or expert, for it knows none") {
  const auto status = [](std::vector<float> logits) {
    std::int32_t token = -1;
    Sampler sampler(plain);
    return said(sampler.sample(logits, token));
  };
  CHECK(status({}) == "usage: logits to sample from, at least (got 0, allowed 1)");
  CHECK(status({0.0f, inf}) == "numeric: a logit to sample from is NaN or +inf");
  CHECK(status({-inf}) == "numeric: every logit to sample from is -inf");
}

TEST_CASE("a repetition penalty beyond the largest number leaves a distribution") {
  for (const float temperature : {0.0f, 1.0f}) {
    Sampler strict({.temperature = temperature, .repeat_penalty = 1e30f});
    strict.accept(0);
    CHECK(next(strict, {-3e38f}) == 0);
    Sampler generous({.temperature = temperature, .repeat_penalty = 1e-30f});
    generous.accept(1);
    CHECK(next(generous, {0.0f, 3e38f}) == 1);
  }
}
