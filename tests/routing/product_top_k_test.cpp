#include "headgate/routing/product_top_k.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

namespace {

using namespace headgate;

struct Best {
  std::vector<ExpertId> ids;
  std::vector<float> sums;
  friend bool operator==(const Best&, const Best&) = default;
};

// All sums, the largest first, ties to the lower id.
Best enumerated(const std::vector<float>& a, const std::vector<float>& b, index_t k) {
  std::vector<float> all;
  for (const float x : a) {
    for (const float y : b) all.push_back(x + y);
  }
  Best best;
  best.ids.resize(all.size());
  std::iota(best.ids.begin(), best.ids.end(), 0);
  std::stable_sort(best.ids.begin(), best.ids.end(),
                   [&](ExpertId e, ExpertId f) { return all[as_size(e)] > all[as_size(f)]; });
  best.ids.resize(std::min(as_size(k), all.size()));
  for (const ExpertId e : best.ids) best.sums.push_back(all[as_size(e)]);
  return best;
}

template <class Backend = NativeBackend>
Best of_sides(const std::vector<float>& a, const std::vector<float>& b, index_t k) {
  const auto n = static_cast<std::size_t>(
      ProductTopK<Backend>::scratch_size(static_cast<index_t>(std::max(a.size(), b.size())), k));
  std::vector<index_t> indices(3 * n);
  std::vector<float> floats(n);
  Best best{std::vector<ExpertId>(as_size(k)), std::vector<float>(as_size(k))};
  const std::size_t count = as_size(ProductTopK<Backend>(k, indices, floats).choose(a, b, best.ids, best.sums));
  best.ids.resize(count);
  best.sums.resize(count);
  return best;
}

}  // namespace

TEST_CASE("the best sums of two sides are those of enumeration") {
  for (const auto& [rows, columns] : {std::pair{1, 1}, {1, 7}, {5, 1}, {3, 3}, {11, 5}, {32, 32}, {40, 97}}) {
    const std::vector<float> a = random_floats(as_size(rows), 3.0f, 1);
    const std::vector<float> b = random_floats(as_size(columns), 2.0f, 2);
    for (const index_t k : {1, 2, 3, 5, 16, 35, 64}) {
      INFO(rows << " x " << columns << ", k " << k);
      CHECK(of_sides(a, b, k) == enumerated(a, b, k));
      CHECK(of_sides<Scalar>(a, b, k) == enumerated(a, b, k));
    }
  }
}

TEST_CASE("equal sums go to the lower id, whether sides are equal or rounding makes them so") {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 rng(seed);
    const auto side = [&](std::size_t n, float large) {
      std::vector<float> values(n);
      for (float& v : values) v = static_cast<float>(rng() % 5);
      // A number beside which a step of the other side is rounded away, or not.
      if (large > 0.0f) values[rng() % n] += large;
      return values;
    };
    const float large = seed % 3 == 0 ? 0.0f : seed % 3 == 1 ? 0x1p25f : 0x1p24f;
    std::vector<float> a = side(1 + rng() % 12, seed % 2 == 0 ? large : 0.0f);
    std::vector<float> b = side(1 + rng() % 12, seed % 2 == 1 ? large : 0.0f);
    if (seed % 5 == 0) a.assign(a.size(), -0.0f);
    if (seed % 7 == 0) b.assign(b.size(), 0.0f);
    for (index_t k = 1; k <= 9; ++k) CHECK(of_sides(a, b, k) == enumerated(a, b, k));
  }
  // By the sides alone the first of a would lose to the second: 0x1p24 + 1 is 0x1p24.
  CHECK(of_sides({0.0f, 1.0f}, {0x1p24f}, 1).ids == std::vector<ExpertId>{0});
}

TEST_CASE("sums that are minus infinity are never chosen, and those that are infinite come first") {
  const float most = std::numeric_limits<float>::max();
  CHECK(of_sides({-most, 1.0f}, {-most, 2.0f}, 4).ids == std::vector<ExpertId>{3, 1, 2});
  CHECK(of_sides({most, 0.0f}, {0.0f, most}, 2).sums ==
        std::vector<float>{std::numeric_limits<float>::infinity(), most});
}
