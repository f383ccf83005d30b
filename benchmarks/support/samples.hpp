// Samples of seconds: of competitors taken in turn, and of what is too short for a clock.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

namespace bench {

struct Sample {
  double least = 0.0;  // seconds
  double p10 = 0.0;
  double median = 0.0;
  double p90 = 0.0;
};

inline Sample summary(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  const auto last = static_cast<double>(seconds.size() - 1);
  const auto quantile = [&](double q) { return seconds[static_cast<std::size_t>(q * last + 0.5)]; };
  return {seconds.front(), quantile(0.1), quantile(0.5), quantile(0.9)};
}

template <class F>
double seconds_of(F&& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// One sample of each in turn, `rounds` times, after one round that does not count: what disturbs one disturbs all.
inline std::vector<Sample> interleaved(int rounds, const std::vector<std::function<void()>>& works) {
  std::vector<std::vector<double>> seconds(works.size());
  for (int round = -1; round < rounds; ++round) {
    for (std::size_t i = 0; i < works.size(); ++i) {
      const double once = seconds_of(works[i]);
      if (round >= 0) seconds[i].push_back(once);
    }
  }
  std::vector<Sample> samples;
  for (const std::vector<double>& each : seconds) samples.push_back(summary(each));
  return samples;
}

// Seconds of one call of something short: it is repeated until a sample lasts some 2 ms.
template <class F>
Sample repeated(int rounds, F&& work) {
  int times = 1;
  const auto loop = [&] {
    for (int i = 0; i < times; ++i) work();
  };
  while (seconds_of(loop) < 2e-3 && times < (1 << 24)) times *= 2;
  std::vector<double> seconds;
  for (int round = 0; round < rounds; ++round) seconds.push_back(seconds_of(loop) / times);
  return summary(seconds);
}

template <class T>
void keep(const T& value) {
  __asm__ volatile("" : : "r"(&value) : "memory");
}

}  // namespace bench
