// Numbers for tests, the same on every machine and standard library.
#pragma once

#include <random>
#include <vector>

// n floats, uniform in [-scale, scale).
inline std::vector<float> random_floats(std::size_t n, float scale, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<float> values(n);
  for (float& value : values) value = scale * (static_cast<float>(rng() >> 8) * 0x1p-23f - 1.0f);
  return values;
}

// The numbers 0 ... n - 1 in a random order.
inline std::vector<std::int32_t> random_order(std::int32_t n, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<std::int32_t> order(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::size_t j = rng() % (i + 1);
    order[i] = order[j];
    order[j] = static_cast<std::int32_t>(i);
  }
  return order;
}
