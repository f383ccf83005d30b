#include "headgate/attention/region_cache.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a region cache averages the keys of a region when its last position is written") {
  RegionCache cache(10, 2, 4, 3);
  Context ctx;
  const auto store = [&](index_t position) {
    for (index_t h = 0; h < 2; ++h) {
      const float value = static_cast<float>(position + 10 * h);
      const float key[] = {value, 2 * value, 0, 1};
      cache.kv().store(position, h, key, key);
    }
    cache.update_means(position, position + 1, ctx);
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
  const RegionCache copy = cache.clone(10);
  CHECK(copy.means().row_data(2)[0] == 7.0f);
  CHECK(copy.region_size() == 3);
  CHECK(RegionCache::bytes(10, 2, 4, 3) == KvCache::bytes(10, 2, 4) + 3 * 2 * 4 * 4);
}
