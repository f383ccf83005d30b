#include "headgate/attention/region_cache.hpp"

#include <algorithm>
#include <vector>

#include "support/catch.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;

TEST_CASE("a region cache averages the keys of a region when its last position is written") {
  RegionCache cache({10, 10, 0}, 2, 4, 3);
  Context ctx;
  const auto store = [&](index_t position) {
    for (index_t h = 0; h < 2; ++h) {
      const float value = static_cast<float>(position + 10 * h);
      const float key[] = {value, 2 * value, 0, 1};
      cache.store(position, h, key, key);
    }
    cache.append(1, ctx);
  };
  store(0);
  store(1);
  CHECK(cache.means().row_data(0)[0] == 0.0f);
  store(2);
  CHECK(cache.means().rows == 3);
  CHECK(cache.means().cols == 8);
  CHECK(cache.means().row_data(0)[0] == 1.0f);
  CHECK(cache.means().row_data(0)[1] == 2.0f);
  CHECK(cache.means().row_data(0)[4] == 11.0f);
  CHECK(cache.means().row_data(0)[7] == 1.0f);
  for (index_t p = 3; p < 10; ++p) store(p);
  CHECK(cache.means().row_data(2)[0] == 7.0f);
  const RegionCache copy = cache.clone();
  CHECK(copy.means().row_data(2)[0] == 7.0f);
  CHECK(copy.region_size() == 3);
  CHECK(RegionCache::bytes({10, 10, 0}, 2, 4, 3) == KvCache::bytes({10, 10, 0}, 2, 4) + 3 * 2 * 4 * 4);
  CHECK(copy.bytes() == RegionCache::bytes({10, 10, 0}, 2, 4, 3));
  CHECK(copy.position() == 10);
}

TEST_CASE("means of many regions are the same in one update and in many, on any number of threads") {
  const auto filled = [](index_t step, index_t threads) {
    RegionCache cache({41, 41, 0}, 3, 2, 4);
    ThreadExecutor executor(threads);
    Context ctx(executor);
    for (index_t p = 0; p < 41; ++p) {
      for (index_t h = 0; h < 3; ++h) {
        const float key[] = {static_cast<float>((p * 37 + h * 11) % 64), static_cast<float>(p + 100 * h)};
        cache.store(p, h, key, key);
      }
    }
    for (index_t first = 0; first < 41; first += step) cache.append(std::min(step, 41 - first), ctx);
    return std::vector<float>(cache.means().data, cache.means().data + cache.means().rows * cache.means().cols);
  };
  const std::vector<float> means = filled(41, 1);
  REQUIRE(means.size() == 10 * 6);
  for (index_t r = 0; r < 10; ++r) {
    for (index_t h = 0; h < 3; ++h) {
      float sum = 0.0f;
      for (index_t p = 4 * r; p < 4 * r + 4; ++p) sum += static_cast<float>((p * 37 + h * 11) % 64);
      CHECK(means[as_size(6 * r + 2 * h)] == sum / 4.0f);
      CHECK(means[as_size(6 * r + 2 * h + 1)] == static_cast<float>(4 * r + 100 * h) + 1.5f);
    }
  }
  for (const index_t step : {1, 3, 7, 41}) {
    for (const index_t threads : {1, 2, 7}) CHECK(filled(step, threads) == means);
  }
}

TEST_CASE("a region that a text goes back into is averaged again when it is whole again") {
  RegionCache cache({9, 9, 0}, 1, 1, 3);
  Context ctx;
  const auto append = [&](float value) {
    cache.store(cache.position(), 0, &value, &value);
    cache.append(1, ctx);
  };
  for (const float value : {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f, 7.0f}) append(value);
  CHECK(cache.means().row_data(1)[0] == 5.0f);
  CHECK(cache.nearest(4) == 4);
  cache.snapshot();
  cache.truncate(4);
  CHECK(cache.position() == 4);
  append(8.0f);
  append(9.0f);
  CHECK(cache.means().row_data(0)[0] == 2.0f);
  CHECK(cache.means().row_data(1)[0] == 7.0f);
}
