#include "headgate/core/best_k.hpp"

#include <algorithm>
#include <random>
#include <vector>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("the best keys are those that a stable sort puts first, without minus infinity") {
  std::mt19937 rng(1);
  constexpr double inf = std::numeric_limits<double>::infinity();
  for (int round = 0; round < 200; ++round) {
    std::vector<double> keys(rng() % 12);
    for (double& key : keys) key = rng() % 4 == 0 ? -inf : static_cast<double>(rng() % 5);
    std::vector<index_t> sorted;
    for (index_t i = 0; as_size(i) < keys.size(); ++i) {
      if (keys[as_size(i)] > -inf) sorted.push_back(i);
    }
    std::stable_sort(sorted.begin(), sorted.end(),
                     [&](index_t a, index_t b) { return keys[as_size(a)] > keys[as_size(b)]; });
    for (index_t k = 0; k <= 13; ++k) {
      std::vector<index_t> order(13, -1);
      BestK<double> best(keys.data(), k, order.data());
      for (index_t i = 0; as_size(i) < keys.size(); ++i) best.offer(i);
      const std::size_t expected = std::min(as_size(k), sorted.size());
      REQUIRE(as_size(best.size()) == expected);
      CHECK(std::equal(order.begin(), order.begin() + best.size(), sorted.begin()));
      CHECK(std::count(order.begin() + best.size(), order.end(), -1) == static_cast<std::ptrdiff_t>(13 - expected));
    }
  }
}
