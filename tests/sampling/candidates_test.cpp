#include "headgate/sampling/candidates.hpp"

#include "support/catch.hpp"

using namespace headgate;

namespace {

std::vector<Candidate> candidates_of(std::initializer_list<float> logits) {
  std::vector<Candidate> candidates;
  for (const float x : logits) candidates.push_back({static_cast<std::int32_t>(candidates.size()), x});
  return candidates;
}
std::vector<std::int32_t> tokens(const std::vector<Candidate>& candidates) {
  std::vector<std::int32_t> ids;
  for (const Candidate& c : candidates) ids.push_back(c.token);
  return ids;
}
using Ids = std::vector<std::int32_t>;
constexpr float inf = std::numeric_limits<float>::infinity();

}  // namespace

TEST_CASE("greedy takes the largest logit, of equal ones the first") {
  const float logits[] = {1.0f, 3.0f, 3.0f, -inf};
  CHECK(greedy(logits) == 1);
  const float one[] = {-inf};
  CHECK(greedy(one) == 0);
}

TEST_CASE("the repetition penalty divides positive logits, multiplies negative ones, and counts a token once") {
  std::vector<Candidate> c = candidates_of({4.0f, -4.0f, 4.0f, 0.0f, -inf});
  const std::int32_t recent[] = {0, 1, 0, 3, 4, 99, -1};
  penalize_repeats(c, recent, 2.0f);
  CHECK(c[0].logit == 2.0f);
  CHECK(c[1].logit == -8.0f);
  CHECK(c[2].logit == 4.0f);
  CHECK(c[3].logit == 0.0f);
  CHECK(c[4].logit == -inf);
  std::vector<Candidate> large = candidates_of({3e38f});
  const std::int32_t zero[] = {0};
  penalize_repeats(large, zero, 1e-20f);
  CHECK(std::isfinite(large[0].logit));
}

TEST_CASE("top-k keeps the k best, sorted, ties to the lower id") {
  std::vector<Candidate> c = candidates_of({1.0f, 2.0f, 3.0f, 2.0f});
  keep_top_k(c, 2);
  CHECK(tokens(c) == Ids{2, 1});
  keep_top_k(c, 9);
  CHECK(tokens(c) == Ids{2, 1});
  c = candidates_of({1.0f, 2.0f});
  keep_top_k(c, 0);
  CHECK(tokens(c) == Ids{0, 1});
}

TEST_CASE("top-p keeps the best until their probabilities add up to p, and at least one") {
  const auto kept = [](float p) {
    std::vector<Candidate> c = candidates_of({std::log(0.1f), std::log(0.5f), std::log(0.25f), std::log(0.15f)});
    keep_top_p(c, p);
    return tokens(c);
  };
  CHECK(kept(0.0f) == Ids{1});
  CHECK(kept(0.4f) == Ids{1});
  CHECK(kept(0.6f) == Ids{1, 2});
  CHECK(kept(0.8f) == Ids{1, 2, 3});
  CHECK(kept(0.95f) == Ids{1, 2, 3, 0});
  CHECK(kept(1.0f) == Ids{0, 1, 2, 3});
}

TEST_CASE("min-p keeps those at least p times as likely as the best") {
  const auto kept = [](float p) {
    std::vector<Candidate> c = candidates_of({std::log(0.1f), std::log(0.5f), std::log(0.25f), std::log(0.15f)});
    keep_min_p(c, p);
    return tokens(c);
  };
  CHECK(kept(0.0f) == Ids{0, 1, 2, 3});
  CHECK(kept(0.25f) == Ids{1, 2, 3});
  CHECK(kept(0.45f) == Ids{1, 2});
  CHECK(kept(1.0f) == Ids{1});
}

TEST_CASE("unnormalised probabilities are relative to the best, also at extreme temperatures") {
  const std::vector<Candidate> c = candidates_of({0.0f, 1.0f, -inf});
  const std::vector<double> plain = unnormalized_probabilities(c);
  CHECK(std::abs(plain[0] - std::exp(-1.0)) < 1e-15);
  CHECK(plain[1] == 1.0);
  CHECK(plain[2] == 0.0);
  CHECK(unnormalized_probabilities(c, 1e-30) == std::vector<double>{0.0, 1.0, 0.0});
  CHECK(unnormalized_probabilities(c, 1e30) == std::vector<double>{1.0, 1.0, 0.0});
}

TEST_CASE("is_better orders by logit, then by id, and nothing is better than itself") {
  CHECK(is_better({5, 2.0f}, {1, 1.0f}));
  CHECK_FALSE(is_better({1, 1.0f}, {5, 2.0f}));
  CHECK(is_better({1, 2.0f}, {2, 2.0f}));
  CHECK_FALSE(is_better({2, 2.0f}, {1, 2.0f}));
  CHECK_FALSE(is_better({1, 2.0f}, {1, 2.0f}));
}

TEST_CASE(
    "the repetition penalty divides a small logit, stops at the largest number, and touches no id beyond the "
    "vocabulary") {
  std::vector<Candidate> c = candidates_of({0.5f, 7.0f, 8.0f, 9.0f});
  const std::int32_t first[] = {0};
  penalize_repeats(c, first, 2.0f);
  CHECK(c[0].logit == 0.25f);
  const std::int32_t outside[] = {-1, 2, 3};
  penalize_repeats(std::span(c).subspan(1, 2), outside, 2.0f);  // ids 0 and 1
  CHECK(c[0].logit == 0.25f);
  CHECK(c[1].logit == 7.0f);
  CHECK(c[2].logit == 8.0f);
  CHECK(c[3].logit == 9.0f);
  c = candidates_of({3e38f, 1.0f});
  penalize_repeats(c, first, 1e-20f);
  CHECK(c[0].logit == std::numeric_limits<float>::max());
  // A token that occurs twice among others, before and after, counts once.
  c = candidates_of({8.0f, 8.0f, 8.0f});
  const std::int32_t twice[] = {2, 0, 1, 0, 2, 2};
  penalize_repeats(c, twice, 2.0f);
  for (const Candidate& one : c) CHECK(one.logit == 4.0f);
}

TEST_CASE("limits leave nothing of no candidates") {
  std::vector<Candidate> none;
  keep_top_k(none, 3);
  keep_top_p(none, 0.0f);
  keep_top_p(none, 0.5f);
  keep_min_p(none, 0.5f);
  CHECK(none.empty());
  CHECK(unnormalized_probabilities(none).empty());
  const std::int32_t recent[] = {0};
  penalize_repeats(none, recent, 2.0f);
}

TEST_CASE("a repetition penalty makes no logit infinite, so that every token can still be chosen") {
  constexpr float largest = std::numeric_limits<float>::max();
  std::vector<Candidate> c = candidates_of({-3e38f, 3e38f, -inf});
  const std::int32_t recent[] = {0, 1, 2};
  penalize_repeats(c, recent, 2.0f);
  CHECK(c[0].logit == -largest);
  CHECK(c[1].logit == 1.5e38f);
  CHECK(c[2].logit == -inf);
  penalize_repeats(c, recent, 1e-30f);
  CHECK(c[0].logit == -largest * 1e-30f);
  CHECK(c[1].logit == largest);
  CHECK(c[2].logit == -inf);
}

TEST_CASE("top-k of equal logits is the lowest ids in order") {
  std::vector<Candidate> c;
  for (std::int32_t i = 0; i < 40; ++i) c.push_back({39 - i, 1.0f});
  keep_top_k(c, 39);
  Ids expected;
  for (std::int32_t i = 0; i < 39; ++i) expected.push_back(i);
  CHECK(tokens(c) == expected);
}

TEST_CASE("at the bound top-p stops, and min-p keeps") {
  std::vector<Candidate> c = candidates_of({0.0f, 0.0f});
  keep_top_p(c, 0.5f);  // the first alone has probability 1/2
  CHECK(tokens(c) == Ids{0});
  c = candidates_of({2.0f, 2.0f, 1.0f});
  keep_min_p(c, 1.0f);  // the second is exactly as likely as the best
  CHECK(tokens(c) == Ids{0, 1});
  c = candidates_of({1.0f, 1.0f, 1.0f});
  keep_top_p(c, 0.0f);
  CHECK(tokens(c) == Ids{0});
}

TEST_CASE("unnormalised probabilities are relative to the best wherever it stands") {
  for (const std::size_t best : {std::size_t{0}, std::size_t{1}, std::size_t{2}}) {
    std::vector<Candidate> c = candidates_of({-3.0f, -3.0f, -3.0f});
    c[best].logit = -2.0f;
    const std::vector<double> weights = unnormalized_probabilities(c);
    for (std::size_t i = 0; i < 3; ++i) CHECK(weights[i] == (i == best ? 1.0 : std::exp(-1.0)));
  }
}
