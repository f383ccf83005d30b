#include "headgate/attention/kv_cache.hpp"

#include <algorithm>
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
  cache.append(last - first);
}

bool holds(const KvCache& cache, index_t first, index_t last, index_t heads, index_t head_dim) {
  for (index_t p = first; p < last; ++p) {
    for (index_t h = 0; h < heads; ++h) {
      for (index_t i = 0; i < head_dim; ++i) {
        if (cache.view(h).key(p, i) != element(p, h, i, false)) return false;
        if (cache.view(h).value(p, i) != element(p, h, i, true)) return false;
      }
    }
  }
  return true;
}

}  // namespace

TEST_CASE("a KV cache gives back what was stored, by position and head") {
  for (const index_t context : {1, 15, 16, 17, 40, 256, 257, 600}) {
    KvCache cache({context, 7, 0}, 3, 26);
    fill(cache, 0, context, 3, 26);
    CHECK(holds(cache, 0, context, 3, 26));
    CHECK(cache.context_size() == context);
    CHECK(cache.rows_per_pass() == context);
    CHECK(cache.num_kv_heads() == 3);
    CHECK(cache.head_dim() == 26);
    CHECK(cache.window() == 0);
    CHECK(cache.position() == context);
    CHECK(cache.bytes() == KvCache::bytes({context, 7, 0}, 3, 26));
  }
}

TEST_CASE("a clone of a KV cache holds its positions and is independent") {
  for (const index_t positions : {0, 1, 15, 16, 17, 32, 40, 255, 257, 300}) {
    KvCache cache({300, 40, 0}, 2, 24);
    fill(cache, 0, positions, 2, 24);
    const KvCache clone = cache.clone();
    std::vector<float> zero(24, 0.0f);
    for (index_t p = 0; p < positions; ++p) cache.store(p, 1, zero.data(), zero.data());
    CHECK(holds(clone, 0, positions, 2, 24));
    CHECK(clone.context_size() == 300);
    CHECK(clone.position() == positions);
    CHECK(clone.bytes() == cache.bytes());
  }
}

TEST_CASE("a KV cache takes the bytes that it says") {
  CHECK(KvCache::bytes({16, 1, 0}, 2, 48) == 2 * 2 * 16 * 48 * 4);
  CHECK(KvCache::bytes({17, 1, 0}, 2, 48) == 2 * (32 + 17) * 48 * 4);       // keys in whole panels of 16 positions
  CHECK(KvCache::bytes({17, 1, 0}, 2, 24) == 2 * (32 * 24 + 17 * 32) * 4);  // values in whole lines of 16 channels
  CHECK(KvCache::bytes({16, 1, 0, CacheType::f16}, 2, 48) == 2 * 2 * 16 * 48 * 2);
  CHECK(KvCache::bytes({17, 1, 0, CacheType::f16}, 2, 24) == 2 * (32 * 24 + 17 * 32) * 2);
  CHECK(KvCache::bytes({16, 1, 0, CacheType::q8_0}, 2, 64) == 2 * 2 * 16 * (64 + 2 * 2));
  CHECK(KvCache::bytes({32, 1, 0, CacheType::q8_0}, 1, 40) == 32 * (40 + 2 * 2) + 32 * (48 + 2 * 2));
  CHECK(KvCache::bytes({0, 1, 0}, 2, 8) == 0);
  CHECK(KvCache::bytes({1 << 30, 1, 0}, 8, 128) == std::int64_t{1} << 43);
  // Of a window: what the next row reads, the spare rows, a panel's remainder, and a pass.
  CHECK(KvCache::bytes({1 << 30, 64, 10}, 2, 8, 40) == KvCache::bytes({39 + 10 + 15 + 64, 1, 0}, 2, 8));
  CHECK(KvCache::bytes({1 << 30, 1, 0}, 2, 8, 1) == KvCache::bytes({15 + 16, 1, 0}, 2, 8));
  CHECK(KvCache::bytes({50, 64, 10}, 2, 8, 40) == KvCache::bytes({50, 1, 0}, 2, 8));
  constexpr index_t largest = (1 << 30) + ((1 << 30) - 1);
  CHECK(KvCache::bytes({50, largest, largest}, 2, 8, largest) == KvCache::bytes({50, 1, 0}, 2, 8));
}

TEST_CASE("a KV cache of all positions goes back to any") {
  KvCache cache({40, 40, 0}, 1, 3);
  fill(cache, 0, 33, 1, 3);
  for (const index_t p : {0, 1, 16, 32, 33}) CHECK(cache.nearest(p) == p);
  cache.snapshot();
  cache.truncate(17);
  CHECK(cache.position() == 17);
  CHECK(holds(cache, 0, 17, 1, 3));
  fill(cache, 17, 40, 1, 3);
  CHECK(holds(cache, 0, 40, 1, 3));
}

TEST_CASE("a KV cache that takes memory ahead of the text keeps the text, also where it goes back") {
  for (const index_t rows : {1, 7, 256, 300}) {
    KvCache cache({1100, 1100, 0}, 2, 3);
    for (const index_t back : {0, 255, 256, 511, 700}) {
      cache.truncate(std::min(back, cache.position()));
      for (index_t p = cache.position(); p + rows <= 1100; p += rows) {
        cache.reserve(rows);
        fill(cache, p, p + rows, 2, 3);
      }
      CHECK(holds(cache, 0, cache.position(), 2, 3));
    }
  }
}

TEST_CASE("a KV cache with a window holds what rows read, the spare ones and the start of the last pass") {
  for (const index_t window : {1, 2, 5, 16, 17, 40}) {
    for (const index_t spare : {0, 1, 7, 16, 33}) {
      for (const index_t rows : {1, 3, 16, 20}) {
        KvCache cache({500, rows, spare}, 2, 5, window);
        CHECK(cache.bytes() == KvCache::bytes({500, rows, spare}, 2, 5, window));
        CHECK(cache.rows_per_pass() == rows);
        bool holds_all = true;
        index_t highest = 0;
        for (index_t p = 0; p < 500; p += rows) {
          const index_t count = std::min(rows, 500 - p);
          cache.reserve(count);
          fill(cache, p, p + count, 2, 5);
          // Every row of the pass reads from here.
          const index_t first = std::max(p - window + 1, 0);
          holds_all = holds_all && cache.origin() % panel_rows == 0 && cache.origin() <= first &&
                      holds(cache, first, p + count, 2, 5) && cache.nearest(p) == p;
          const index_t back = std::max(p - spare, 0);
          holds_all = holds_all && cache.nearest(back) == back;
          highest = std::max(highest, p + count - cache.origin());
        }
        INFO("window " << window << ", spare " << spare << ", rows " << rows);
        CHECK(holds_all);
        CHECK(highest <= window - 1 + spare + 15 + std::max(rows, panel_rows));
        CHECK(cache.nearest(window + spare) == 0);  // forgotten
        CHECK(holds(cache.clone(), cache.origin(), 500, 2, 5));
        CHECK(cache.clone().origin() == cache.origin());
      }
    }
  }
}

TEST_CASE("a KV cache with a window goes back within what it holds, or to the start") {
  KvCache cache({500, 4, 8}, 1, 3, 6);
  for (index_t p = 0; p < 100; p += 4) {
    cache.reserve(4);
    fill(cache, p, p + 4, 1, 3);
  }
  const index_t reach = cache.origin() + 5;
  CHECK(reach <= 92);
  CHECK(cache.nearest(reach) == reach);
  CHECK(cache.nearest(reach - 1) == 0);
  CHECK(cache.nearest(0) == 0);
  cache.truncate(92);
  CHECK(cache.position() == 92);
  CHECK(holds(cache, 92 - 5, 92, 1, 3));
  for (index_t p = 92; p < 200; ++p) {  // on by single rows
    cache.reserve(1);
    fill(cache, p, p + 1, 1, 3);
    CHECK(holds(cache, p - 5, p + 1, 1, 3));
  }
  cache.truncate(0);
  CHECK(cache.origin() == 0);
  cache.reserve(4);
  fill(cache, 0, 4, 1, 3);
  CHECK(holds(cache, 0, 4, 1, 3));
}

TEST_CASE("a KV cache with a window goes back to its snapshots, until it has gone back further") {
  for (const index_t window : {1, 2, 5, 16, 17, 40}) {
    for (const index_t spare : {0, 7}) {
      for (const index_t at : {1, 3, 16, 37, 64, 101}) {
        INFO("window " << window << ", spare " << spare << ", snapshot at " << at);
        KvCache cache({500, 20, spare}, 2, 5, window);
        const auto go_on = [&](KvCache& c, index_t last) {
          while (c.position() < last) {
            const index_t rows = std::min({20, last - c.position(), at > c.position() ? at - c.position() : 20});
            c.reserve(rows);
            fill(c, c.position(), c.position() + rows, 2, 5);
          }
        };
        cache.snapshot();  // of nothing
        CHECK(cache.bytes() == KvCache::bytes({500, 20, spare}, 2, 5, window));
        go_on(cache, at);
        CHECK(cache.keeps_present(100, false) == false);
        CHECK(cache.keeps_present(20, true));
        CHECK(cache.keeps_present(spare, false));
        cache.snapshot();
        CHECK(cache.keeps_present(100, false));
        const std::int64_t bytes = cache.bytes();
        CHECK(bytes - KvCache::bytes({500, 20, spare}, 2, 5, window) <=
              2 * (window - 1 + 2 * panel_rows) * (5 + 16) * std::int64_t{sizeof(float)});
        cache.snapshot();  // the same
        CHECK(cache.bytes() == bytes);
        go_on(cache, 300);
        CHECK(cache.nearest(at - 1) == 0);
        CHECK(cache.nearest(at) == at);
        CHECK(cache.nearest(200) == at);

        KvCache fork = cache.clone();
        fork.truncate(fork.nearest(200));
        CHECK(fork.position() == at);
        CHECK(fork.origin() <= std::max(at - window + 1, 0));
        CHECK(holds(fork, fork.origin(), at, 2, 5));
        for (index_t p = at; p < at + 60; ++p) {  // on by single rows
          fork.reserve(1);
          fill(fork, p, p + 1, 2, 5);
          CHECK(holds(fork, std::max(p - window + 1, 0), p + 1, 2, 5));
        }
        go_on(fork, 300);
        fork.truncate(at);  // again
        CHECK(holds(fork, std::max(at - window + 1, 0), at, 2, 5));
        fork.truncate(0);
        CHECK(fork.bytes() == KvCache::bytes({500, 20, spare}, 2, 5, window));
        go_on(fork, 300);
        CHECK(fork.nearest(200) == 0);
        CHECK(cache.nearest(200) == at);  // the fork's own
      }
    }
  }
}
