#include "headgate/routing/stages/positive.hpp"

#include <limits>
#include <vector>

#include "headgate/kernels/native.hpp"
#include "support/catch.hpp"

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
