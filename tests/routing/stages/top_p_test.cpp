#include "headgate/routing/stages/top_p.hpp"

#include <algorithm>

#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

std::vector<ExpertId> chosen(TopP top_p, const std::vector<float>& keys, const std::vector<float>& scores) {
  std::vector<ExpertId> ids(keys.size(), -1);
  ids.resize(as_size(top_p.choose<Scalar>(keys, scores, ids)));
  return ids;
}

}  // namespace

TEST_CASE("TopP keeps up to and including the expert that reaches p") {
  const std::vector<float> s = {0.125f, 0.5f, 0.0625f, 0.25f, 0.0625f};
  CHECK(chosen({0.25f}, s, s) == std::vector<ExpertId>{1});
  CHECK(chosen({0.5f}, s, s) == std::vector<ExpertId>{1});
  CHECK(chosen({0.51f}, s, s) == std::vector<ExpertId>{1, 3});
  CHECK(chosen({0.875f}, s, s) == std::vector<ExpertId>{1, 3, 0});
  CHECK(chosen({1.0f}, s, s) == std::vector<ExpertId>{1, 3, 0, 2, 4});
  CHECK(chosen({1.0f, 2}, s, s) == std::vector<ExpertId>{1, 3});
  const std::vector<float> below = {0.25f, 0.25f};  // p is never reached: all
  CHECK(chosen({0.9f}, below, below) == std::vector<ExpertId>{0, 1});
  // Keys order, scores add up.
  const std::vector<float> keys = {9.0f, 0.5f, 0.0625f, 8.0f, 0.0625f};
  CHECK(chosen({0.3f}, keys, s) == std::vector<ExpertId>{0, 3});
}

TEST_CASE("TopP grows with p, is never empty, and its last expert is needed") {
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::vector<float> s = random_floats(70, 1.0f, seed);
    float sum = 0.0f;
    for (float& v : s) sum += v = v < 0.0f ? -0.001f * v : v * v * v * v;
    for (float& v : s) v /= sum;
    std::vector<ExpertId> before;
    for (const float p : {0.05f, 0.2f, 0.4f, 0.6f, 0.9f, 0.99f}) {
      const std::vector<ExpertId> ids = chosen({p}, s, s);
      REQUIRE(ids.size() >= before.size());
      CHECK(std::equal(before.begin(), before.end(), ids.begin()));
      float total = 0.0f;
      for (const ExpertId e : ids) {
        CHECK(total < p);
        total += s[as_size(e)];
      }
      CHECK(total >= p);
      before = ids;
    }
    CHECK(before.size() > 8);  // more than the first question asks for
  }
}

TEST_CASE("TopP says how many it chooses and what its settings may be") {
  CHECK(TopP{0.4f}.min_k(7) == 1);
  CHECK(TopP{0.4f}.min_k(0) == 0);
  CHECK(TopP{0.4f}.max_k(7) == 7);
  CHECK(TopP{0.4f, 3}.max_k(7) == 3);
  CHECK(TopP{0.4f, 3}.max_k(2) == 2);
  CHECK(TopP{0.4f}.with_k(2).max_k(7) == 2);
  CHECK(TopP{1.0f}.check(7).ok());
  for (const float p : {0.0f, -0.5f, 1.5f, std::numeric_limits<float>::quiet_NaN()}) CHECK_FALSE(TopP{p}.check(7).ok());
  CHECK(TopP{0.4f, 8}.check(7).found == 8);
  CHECK(TopP{0.4f, -1}.check(7).found == -1);
}

TEST_CASE("TopP takes a call's k in place of its own limit, above it, too") {
  CHECK(TopP{1.0f, 2}.with_k(4).k_max == 4);
  CHECK(TopP{0.25f, 2}.with_k(1).k_max == 1);
  CHECK(TopP{0.25f, 2}.with_k(4).p == 0.25f);
  CHECK(chosen(TopP{1.0f, 2}.with_k(3), {0.5f, 0.25f, 0.125f, 0.125f}, {0.5f, 0.25f, 0.125f, 0.125f}) ==
        std::vector<ExpertId>{0, 1, 2});
}

TEST_CASE("TopP says of every setting what is allowed, and takes its bounds") {
  CHECK(said(TopP{1.0f, 3}.check(3)) == "ok");
  CHECK(said(TopP{1e-30f, 0}.check(1)) == "ok");
  CHECK(said(TopP{0.0f}.check(3)) == "usage: p of top-p is not in (0, 1]");
  CHECK(said(TopP{0.5f, -1}.check(3)) == "usage: k_max of top-p, at least (got -1, allowed 0)");
  CHECK(said(TopP{0.5f, 4}.check(3)) == "usage: k_max of top-p against experts (got 4, allowed 3)");
  CHECK(TopP{0.5f}.min_k(1) == 1);
  CHECK(TopP{0.5f, 3}.max_k(3) == 3);
}

TEST_CASE("TopP asks again for as many experts as it takes, at every number of them") {
  for (const index_t n : {1, 7, 8, 9, 31, 32, 33, 70, 128, 129}) {
    const std::vector<float> even(as_size(n), 1.0f / 128.0f);
    for (const index_t wanted : {1, 8, 9, 32, 33, 70, 128}) {
      const std::vector<ExpertId> ids = chosen({static_cast<float>(wanted) / 128.0f}, even, even);
      REQUIRE(ids.size() == as_size(std::min(n, wanted)));
      for (std::size_t i = 0; i < ids.size(); ++i) CHECK(ids[i] == static_cast<ExpertId>(i));
    }
    const std::vector<ExpertId> limited = chosen({1.0f, std::min<index_t>(n, 9)}, even, even);
    CHECK(limited.size() == as_size(std::min<index_t>(n, 9)));
  }
}

TEST_CASE("TopP keeps k_min experts also where fewer reach p, and a call's k is above it") {
  const std::vector<float> s = {0.125f, 0.5f, 0.0625f, 0.25f, 0.0625f};
  CHECK(chosen({0.25f, 0, 3}, s, s) == std::vector<ExpertId>{1, 3, 0});
  CHECK(chosen({0.25f, 3, 3}, s, s) == std::vector<ExpertId>{1, 3, 0});
  CHECK(chosen({0.875f, 0, 2}, s, s) == std::vector<ExpertId>{1, 3, 0});
  CHECK(chosen(TopP{0.25f, 4, 3}.with_k(2), s, s) == std::vector<ExpertId>{1, 3});
  constexpr float masked = -std::numeric_limits<float>::infinity();
  CHECK(chosen({0.25f, 0, 3}, {masked, 0.5f, masked, 0.25f, masked}, s) == std::vector<ExpertId>{1, 3});
  CHECK(TopP{0.25f, 0, 3}.min_k(7) == 3);
  CHECK(TopP{0.25f, 0, 3}.min_k(2) == 2);
  CHECK(TopP{0.25f, 0, 7}.check(7).ok());
  CHECK(said(TopP{0.25f, 0, 0}.check(7)) == "usage: k_min of top-p, at least (got 0, allowed 1)");
  CHECK(said(TopP{0.25f, 2, 3}.check(7)) == "usage: k_min of top-p against k_max (got 3, allowed 2)");
  CHECK(said(TopP{0.25f, 0, 8}.check(7)) == "usage: k_min of top-p against k_max (got 8, allowed 7)");
}
