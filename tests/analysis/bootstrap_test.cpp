#include "headgate/analysis/bootstrap.hpp"

#include "support/catch.hpp"
#include "support/random.hpp"

using namespace headgate;

namespace {

std::vector<Interval> interval_of_mean(const std::vector<float>& values, std::uint64_t seed) {
  return bootstrap(static_cast<index_t>(values.size()),
                   [&](std::span<const index_t> times) {
                     double sum = 0;
                     double count = 0;
                     for (std::size_t i = 0; i < values.size(); ++i) {
                       sum += times[i] * static_cast<double>(values[i]);
                       count += times[i];
                     }
                     return std::vector<double>{sum / count};
                   },
                   {.seed = seed});
}

}  // namespace

TEST_CASE("bootstrap intervals hold the true mean about 95 times of 100") {
  int covered = 0;
  for (unsigned seed = 0; seed < 200; ++seed) {
    const std::vector<Interval> intervals = interval_of_mean(random_floats(40, 1.0f, seed), seed);  // mean 0, sd 0.577
    REQUIRE(intervals[0].low <= intervals[0].value);
    REQUIRE(intervals[0].value <= intervals[0].high);
    // 2 * 1.96 * 0.577 / sqrt(40) is 0.358.
    CHECK(intervals[0].high - intervals[0].low == Catch::Approx(0.358).epsilon(0.4));
    covered += intervals[0].low <= 0.0 && intervals[0].high >= 0.0 ? 1 : 0;
  }
  CHECK(covered >= 178);
  CHECK(covered <= 198);
}

TEST_CASE("the same seed gives the same interval, another seed another one") {
  const std::vector<float> values = random_floats(31, 2.0f, 7);
  CHECK(interval_of_mean(values, 5)[0].low == interval_of_mean(values, 5)[0].low);
  CHECK(interval_of_mean(values, 5)[0].low != interval_of_mean(values, 6)[0].low);
}

TEST_CASE("one block has no interval, and a statistic of nothing is not a number") {
  const auto one = bootstrap(1, [](std::span<const index_t>) { return std::vector<double>{3.0}; });
  CHECK(one[0].low == 3.0);
  CHECK(one[0].high == 3.0);
  const auto none = bootstrap(4, [](std::span<const index_t>) { return std::vector<double>{std::nan("")}; });
  CHECK(std::isnan(none[0].value));
  CHECK(std::isnan(none[0].low));
}

TEST_CASE("the ends of an interval are the quantiles of what was drawn, and what is not a number is no draw") {
  double calls = 0.0;
  const auto counted = bootstrap(2, [&](std::span<const index_t>) { return std::vector<double>{calls++}; });
  CHECK(counted[0].value == 0.0);
  CHECK(counted[0].low == 11.0);  // 400 draws are 1 to 400; places 10 and 389
  CHECK(counted[0].high == 390.0);
  calls = 0.0;
  const auto half = bootstrap(2, [&](std::span<const index_t>) { return std::vector<double>{calls++}; },
                              {.resamples = 5, .level = 0.5});
  CHECK(half[0].low == 2.0);
  CHECK(half[0].high == 4.0);

  const auto first = bootstrap(3, [](std::span<const index_t> times) {
    return std::vector<double>{times[0] == 0 ? std::nan("") : static_cast<double>(times[0]), 7.0};
  });
  CHECK(first[0].value == 1.0);
  CHECK(first[0].low == 1.0);
  CHECK(first[0].high == 3.0);
  CHECK(first[1].low == 7.0);
  CHECK(first[1].high == 7.0);
}

TEST_CASE("blocks are drawn as many as there are, each as often as any other") {
  std::vector<double> drawn(4, 0.0);
  double calls = 0.0;
  bootstrap(4,
            [&](std::span<const index_t> times) {
              index_t total = 0;
              for (std::size_t b = 0; b < 4; ++b) {
                total += times[b];
                drawn[b] += static_cast<double>(times[b]);
              }
              CHECK(total == 4);
              ++calls;
              return std::vector<double>{0.0};
            },
            {.resamples = 1000});
  CHECK(calls == 1001.0);
  for (const double count : drawn) CHECK(std::abs(count - 1001.0) < 120.0);
  const auto none = bootstrap(4, [](std::span<const index_t> times) { return std::vector<double>{1.0 * times[0]}; },
                              {.resamples = 0});
  CHECK(none[0].low == 1.0);
  CHECK(none[0].high == 1.0);
  CHECK(BootstrapOptions{}.seed == 1);
  CHECK(BootstrapOptions{}.resamples == 400);
  CHECK(BootstrapOptions{}.level == 0.95);
  CHECK(std::isnan(Interval{}.value));
}

TEST_CASE("levels of an interval lie in [0, 1], and there is no negative number of blocks") {
  const auto at_level = [](double level) {
    double calls = 0.0;
    return bootstrap(2, [&](std::span<const index_t>) { return std::vector<double>{calls++}; },
                     {.resamples = 5, .level = level})[0];
  };
  CHECK(at_level(1.0).low == 1.0);
  CHECK(at_level(1.0).high == 5.0);
  CHECK(at_level(0.0).low == 3.0);
  CHECK(at_level(0.0).high == 3.0);
  for (const double level : {-0.01, 1.01, std::nan(""), std::numeric_limits<double>::infinity()}) {
    CHECK_THROWS_WITH(at_level(level), "level of an interval is not in [0, 1]");
  }
  const auto nothing = [](std::span<const index_t>) { return std::vector<double>{1.0}; };
  CHECK(bootstrap(0, nothing)[0].low == 1.0);
  CHECK_THROWS_WITH(bootstrap(-1, nothing), "blocks, at least (got -1, allowed 0)");
}

TEST_CASE("of one block nothing is drawn, of two and one resample one number") {
  double calls = 0.0;
  const auto counted = [&](std::span<const index_t>) { return std::vector<double>{calls++}; };
  CHECK(bootstrap(1, counted)[0].high == 0.0);
  CHECK(calls == 1.0);
  calls = 0.0;
  const auto once = bootstrap(2, counted, {.resamples = 1});
  CHECK(once[0].value == 0.0);
  CHECK(once[0].low == 1.0);
  CHECK(once[0].high == 1.0);
}
