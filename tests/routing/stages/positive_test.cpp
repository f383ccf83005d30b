#include "headgate/routing/stages/positive.hpp"

#include <limits>
#include <vector>

#include "headgate/kernels/native.hpp"
#include "support/catch.hpp"
#include "support/status.hpp"

namespace {
using namespace headgate;

std::vector<ExpertId> choose(const Positive& select, const std::vector<float>& keys) {
  std::vector<ExpertId> chosen(as_size(select.max_k(static_cast<index_t>(keys.size()))));
  chosen.resize(as_size(select.choose<NativeBackend>(keys, keys, chosen)));
  return chosen;
}
}  // namespace

TEST_CASE("every expert with a positive key is chosen, best first, ties to the lower id") {
  constexpr float masked = -std::numeric_limits<float>::infinity();
  CHECK(choose({}, {0.5f, 0.0f, 2.0f, -1.0f, 0.5f, 1e-40f, masked}) == std::vector<ExpertId>{2, 0, 4, 5});
  CHECK(choose({2}, {0.5f, 0.0f, 2.0f, -1.0f, 0.5f}) == std::vector<ExpertId>{2, 0});
  CHECK(choose({}, {0.0f, -0.0f, -3.0f}).empty());
  CHECK(choose({}, {1.0f, 1.0f}) == std::vector<ExpertId>{0, 1});
}

TEST_CASE("the limit of positive selection is checked") {
  CHECK(Positive{}.check(3).ok());
  CHECK(Positive{3}.check(3).ok());
  CHECK_FALSE(Positive{4}.check(3).ok());
  CHECK_FALSE(Positive{-1}.check(3).ok());
  CHECK(Positive{}.with_k(2).max_k(3) == 2);
}

TEST_CASE("positive selection says of its limit what is allowed, and takes a call's k in place of it") {
  CHECK(said(Positive{0}.check(0)) == "ok");
  CHECK(said(Positive{-1}.check(3)) == "usage: k_max of positive scores, at least (got -1, allowed 0)");
  CHECK(said(Positive{4}.check(3)) == "usage: k_max of positive scores against experts (got 4, allowed 3)");
  CHECK(Positive{2}.with_k(4).max_k(7) == 4);
  CHECK(Positive{2}.with_k(1).max_k(7) == 1);
  CHECK(Positive{}.max_k(7) == 7);
  CHECK(Positive{3}.max_k(3) == 3);
  CHECK(Positive{3}.max_k(2) == 2);
  CHECK(Positive{3}.min_k(7) == 0);
  CHECK(choose(Positive{1}.with_k(2), {1.0f, 3.0f, 2.0f}) == std::vector<ExpertId>{1, 2});
}

TEST_CASE("where no key is positive the unmasked expert with the largest score may be chosen, ties to the lower id") {
  constexpr float masked = -std::numeric_limits<float>::infinity();
  const Positive select{.or_best = true};
  const auto choose_by = [&](const std::vector<float>& keys, const std::vector<float>& scores) {
    std::vector<ExpertId> chosen(keys.size());
    chosen.resize(as_size(select.choose<NativeBackend>(keys, scores, chosen)));
    return chosen;
  };
  CHECK(choose_by({-0.1f, -0.3f, -0.3f}, {0.1f, 0.5f, 0.5f}) == std::vector<ExpertId>{1});
  CHECK(choose_by({masked, -0.3f, 0.0f}, {0.9f, 0.5f, 0.2f}) == std::vector<ExpertId>{1});
  CHECK(choose_by({-0.1f, 0.2f, -0.3f}, {0.9f, 0.5f, 0.5f}) == std::vector<ExpertId>{1});
  CHECK(choose_by({masked, masked}, {0.9f, 0.5f}).empty());
  CHECK(select.min_k(3) == 1);
  CHECK(select.min_k(0) == 0);
  CHECK(select.with_k(2).or_best);
  CHECK(Positive{}.min_k(3) == 0);
}
