#include "headgate/analysis/load_stats.hpp"

#include <cmath>
#include <fstream>
#include <map>
#include <string>

#include "support/catch.hpp"
#include "support/shared_data.hpp"

using namespace headgate;

TEST_CASE("equal loads are perfectly balanced, one expert alone is not") {
  const std::int64_t equal[] = {7, 7, 7, 7, 7};
  const LoadStats even = LoadStats::of(equal);
  CHECK(even.total == 35);
  CHECK(even.max_violation == Catch::Approx(0).margin(1e-12));
  CHECK(even.variation == Catch::Approx(0).margin(1e-12));
  CHECK(even.entropy_ratio == Catch::Approx(1));
  CHECK(even.gini == Catch::Approx(0).margin(1e-12));
  CHECK(even.jain == Catch::Approx(1));
  CHECK(even.dead == 0);

  const std::int64_t alone[] = {0, 0, 12, 0};
  const LoadStats skew = LoadStats::of(alone);
  CHECK(skew.max_violation == Catch::Approx(3));
  CHECK(skew.entropy_ratio == Catch::Approx(0).margin(1e-12));
  CHECK(skew.gini == Catch::Approx(0.75));
  CHECK(skew.jain == Catch::Approx(0.25));
  CHECK(skew.dead == 3);

  const std::int64_t nobody[] = {0, 0};
  CHECK(LoadStats::of(nobody).dead == 2);
  const std::int64_t single[] = {5};
  CHECK(LoadStats::of(single).entropy_ratio == 1);
}

TEST_CASE("Gini equals the sum of all absolute differences") {
  const std::int64_t loads[] = {5, 1, 9, 0, 2, 2, 30};
  double sum = 0;
  for (const auto a : loads)
    for (const auto b : loads) sum += std::abs(static_cast<double>(a - b));
  CHECK(LoadStats::of(loads).gini == Catch::Approx(sum / (2.0 * 7 * 49)));
}

TEST_CASE("balance metrics of real routing counts are the published ones to four decimals") {
  const auto path = shared_data("data/routing/expert_counts.csv");
  if (!path) return;
  std::map<std::string, std::vector<std::int64_t>> counts;
  std::ifstream in(*path);
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    const std::size_t last = line.rfind(',');
    counts[line.substr(0, line.rfind(',', last - 1))].push_back(std::stoll(line.substr(last + 1)));
  }
  struct Expected {
    const char* key;
    double max_violation, variation, entropy_ratio, gini, jain;
  };
  const Expected table[] = {{"olmoe,c4,0", 2.0165, 0.3242, 0.9897, 0.1371, 0.9049},
                            {"olmoe,c4,7", 1.6579, 0.4023, 0.9817, 0.2119, 0.8607},
                            {"olmoe,c4,15", 1.4992, 0.5124, 0.9683, 0.2878, 0.7920},
                            {"olmoe,wikipedia,0", 5.1786, 0.8977, 0.9389, 0.3489, 0.5537},
                            {"olmoe,wikipedia,15", 3.6507, 1.3012, 0.8293, 0.6333, 0.3713},
                            {"mistral,wikipedia,0", 0.1132, 0.0875, 0.9981, 0.0478, 0.9924},
                            {"mistral,wikipedia,15", 0.1894, 0.1596, 0.9932, 0.0766, 0.9752}};
  for (const Expected& e : table) {
    INFO(e.key);
    REQUIRE(counts.count(e.key) == 1);
    const LoadStats stats = LoadStats::of(counts[e.key]);
    CHECK(std::abs(stats.max_violation - e.max_violation) < 0.5001e-4);
    CHECK(std::abs(stats.variation - e.variation) < 0.5001e-4);
    CHECK(std::abs(stats.entropy_ratio - e.entropy_ratio) < 0.5001e-4);
    CHECK(std::abs(stats.gini - e.gini) < 0.5001e-4);
    CHECK(std::abs(stats.jain - e.jain) < 0.5001e-4);
  }
}

TEST_CASE("balance of loads 1, 2 and 3 by hand, and of nobody") {
  const std::int64_t loads[] = {3, 1, 2};
  const LoadStats stats = LoadStats::of(loads);
  CHECK(stats.total == 6);
  CHECK(stats.max_violation == 0.5);
  CHECK(stats.variation == Catch::Approx(std::sqrt(2.0 / 3.0) / 2.0).epsilon(1e-15));
  CHECK(stats.gini == Catch::Approx(2.0 * 4.0 / (2.0 * 9.0 * 2.0)).epsilon(1e-15));
  CHECK(stats.jain == Catch::Approx(36.0 / (3.0 * 14.0)).epsilon(1e-15));
  const double entropy = -(std::log(1.0 / 6) / 6 + std::log(2.0 / 6) / 3 + std::log(3.0 / 6) / 2);
  CHECK(stats.entropy_ratio == Catch::Approx(entropy / std::log(3.0)).epsilon(1e-15));
  CHECK(stats.dead == 0);
  const std::int64_t nobody[] = {0, 0};
  const LoadStats none = LoadStats::of(nobody);
  CHECK(none.total == 0);
  CHECK(none.max_violation == 0.0);
  CHECK(none.variation == 0.0);
  CHECK(none.entropy_ratio == 1.0);
  CHECK(none.gini == 0.0);
  CHECK(none.jain == 1.0);
  const std::int64_t pair[] = {1, 3};
  CHECK(LoadStats::of(pair).entropy_ratio ==
        Catch::Approx(-(0.25 * std::log(0.25) + 0.75 * std::log(0.75)) / std::log(2.0)).epsilon(1e-15));
}
