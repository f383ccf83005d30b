#include "headgate/attention/kv_cache.hpp"

#include <vector>

#include "support/catch.hpp"

using namespace headgate;

namespace {

// Element i of the key (or value) of a head at a position.
float element(index_t position, index_t head, index_t i, bool is_value) {
  return static_cast<float>(position * 1000 + head * 100 + i) + (is_value ? 0.5f : 0.0f);
}

void fill(KvCache& cache, index_t first, index_t last, index_t heads, index_t head_dim) {
  std::vector<float> key(as_size(head_dim));
  std::vector<float> value(as_size(head_dim));
  for (index_t p = first; p < last; ++p) {
    for (index_t h = 0; h < heads; ++h) {
      for (index_t i = 0; i < head_dim; ++i) {
        key[as_size(i)] = element(p, h, i, false);
        value[as_size(i)] = element(p, h, i, true);
      }
      cache.store(p, h, key.data(), value.data());
    }
  }
}

bool holds(const KvCache& cache, index_t positions, index_t heads, index_t head_dim) {
  for (index_t p = 0; p < positions; ++p) {
    for (index_t h = 0; h < heads; ++h) {
      for (index_t i = 0; i < head_dim; ++i) {
        if (cache.keys(h)(p, i) != element(p, h, i, false)) return false;
        if (cache.values(h).row(p)[as_size(i)] != element(p, h, i, true)) return false;
      }
    }
  }
  return true;
}

}  // namespace

TEST_CASE("a KV cache gives back what was stored, by position and head") {
  for (const index_t context : {1, 15, 16, 17, 40}) {
    KvCache cache(context, 3, 26);
    fill(cache, 0, context, 3, 26);
    CHECK(holds(cache, context, 3, 26));
    CHECK(cache.context_size() == context);
    CHECK(cache.num_kv_heads() == 3);
  }
}

TEST_CASE("a clone of a KV cache holds the first positions and is independent") {
  KvCache cache(40, 2, 24);
  fill(cache, 0, 19, 2, 24);
  const KvCache clone = cache.clone(19);
  std::vector<float> zero(24, 0.0f);
  for (index_t p = 0; p < 40; ++p) cache.store(p, 1, zero.data(), zero.data());
  CHECK(holds(clone, 19, 2, 24));
  CHECK(clone.context_size() == 40);
  CHECK(clone.clone(0).keys(0)(0, 1) == 0.0f);
}

TEST_CASE("a KV cache takes the bytes that it says") {
  CHECK(KvCache::bytes(16, 2, 8) == 2 * 2 * 16 * 8 * 4);
  CHECK(KvCache::bytes(17, 2, 8) == 2 * 2 * 32 * 8 * 4);  // whole panels of 16 positions
  CHECK(KvCache::bytes(0, 2, 8) == 0);
  CHECK(KvCache::bytes(1 << 30, 8, 128) == std::int64_t{1} << 43);
}

TEST_CASE("a clone of a whole cache, or of whole panels, holds every position") {
  for (const index_t positions : {1, 15, 16, 17, 32, 40}) {
    KvCache cache(40, 3, 6);
    fill(cache, 0, positions, 3, 6);
    CHECK(holds(cache.clone(positions), positions, 3, 6));
    CHECK(cache.clone(positions).num_kv_heads() == 3);
    CHECK(cache.clone(positions).keys(0).cols == 6);
  }
}
