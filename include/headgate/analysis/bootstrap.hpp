// 95 % confidence intervals by the bootstrap (Efron 1979; percentile method). A text is cut into blocks of neighbouring
// tokens, for neighbours are alike; blocks are drawn with replacement, as many as there are, and the statistic is taken
// of what was drawn. The interval holds the middle 95 % of those values. With few blocks, and for a maximum such as
// MaxVio, which noise only raises, it is rough.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "headgate/core/error.hpp"

namespace headgate::inline HEADGATE_ABI {

// A number and where it would likely be for another text of the same kind. NaN: there is none.
struct Interval {
  double value = std::numeric_limits<double>::quiet_NaN();
  double low = std::numeric_limits<double>::quiet_NaN();
  double high = std::numeric_limits<double>::quiet_NaN();
};

struct BootstrapOptions {
  std::uint64_t seed = 1;
  index_t resamples = 400;
  double level = 0.95;
};

// Several statistics of the same blocks: statistics(times) gives one number each, times (blocks) being how often a
// block counts. The value is that of every block once. Throws where the level is not in [0, 1].
template <class F>
std::vector<Interval> bootstrap(index_t blocks, F&& statistics, const BootstrapOptions& options = {}) {
  if (blocks < 0) throw_if_error(Status::mismatch("blocks, at least", blocks, 0));
  if (!(options.level >= 0.0 && options.level <= 1.0)) {
    throw_if_error({ErrorCode::usage, "level of an interval is not in [0, 1]"});
  }
  std::vector<index_t> times(as_size(blocks), 1);
  const std::vector<double> values = statistics(std::span<const index_t>(times));
  std::vector<Interval> intervals;
  for (const double value : values) intervals.push_back({value, value, value});
  if (blocks < 2 || options.resamples < 1) return intervals;

  std::mt19937_64 generator(options.seed);
  std::vector<std::vector<double>> drawn(values.size());
  for (index_t i = 0; i < options.resamples; ++i) {
    std::fill(times.begin(), times.end(), 0);
    // The remainder favours small numbers by 2^-33 at most; distributions of the standard library differ.
    for (index_t b = 0; b < blocks; ++b) ++times[generator() % as_size(blocks)];
    const std::vector<double> sample = statistics(std::span<const index_t>(times));
    for (std::size_t s = 0; s < drawn.size(); ++s) {
      if (!std::isnan(sample[s])) drawn[s].push_back(sample[s]);
    }
  }
  for (std::size_t s = 0; s < drawn.size(); ++s) {
    std::sort(drawn[s].begin(), drawn[s].end());
    if (drawn[s].empty()) continue;
    const auto last = static_cast<double>(drawn[s].size() - 1);
    const auto quantile = [&](double q) { return drawn[s][static_cast<std::size_t>(std::lround(q * last))]; };
    intervals[s].low = quantile((1.0 - options.level) / 2.0);
    intervals[s].high = quantile((1.0 + options.level) / 2.0);
  }
  return intervals;
}

}  // namespace headgate::inline HEADGATE_ABI
