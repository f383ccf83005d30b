#include "headgate/attention/latent_cache.hpp"

#include "support/catch.hpp"
#include "support/random.hpp"

using namespace headgate;

namespace {

std::vector<float> row_of(index_t position) { return random_floats(26, 1.0f, static_cast<unsigned>(position) + 1); }
void append(LatentCache& cache, index_t count) {
  const index_t first = cache.position();
  cache.append(count);
  for (index_t p = first; p < first + count; ++p) cache.store(p, row_of(p).data());
}
// Every position is there in both forms, and nothing behind.
void check_holds(const LatentCache& cache, index_t positions) {
  REQUIRE(cache.position() == positions);
  for (index_t p = 0; p < cache.context_size(); ++p) {
    const std::vector<float> row = row_of(p);
    const PanelView<F32> values = cache.values(p / 64);
    REQUIRE(values.rows == 20);
    REQUIRE(values.cols == 64);
    for (index_t i = 0; i < 26 && p < positions; ++i) CHECK(cache.keys()(p, i) == row[as_size(i)]);
    for (index_t i = 0; i < 20; ++i) CHECK(values(i, p % 64) == (p < positions ? row[as_size(i)] : 0.0f));
  }
}

}  // namespace

TEST_CASE("latents of a text are found by position, for scores and for sums") {
  LatentCache cache(150, 20, 6);
  check_holds(cache, 0);
  append(cache, 1);
  check_holds(cache, 1);
  append(cache, 129);
  check_holds(cache, 130);
  LatentCache fork = cache.clone();
  append(cache, 20);
  check_holds(cache, 150);
  check_holds(fork, 130);
}

TEST_CASE("latents can go back anywhere, and leave zeros behind") {
  LatentCache cache(150, 20, 6);
  append(cache, 140);
  for (const index_t positions : {139, 70, 64, 63, 1, 0}) {
    CHECK(cache.nearest(positions) == positions);
    cache.truncate(positions);
    check_holds(cache, positions);
  }
  append(cache, 3);
  check_holds(cache, 3);
}

TEST_CASE("latents take twice their size, whatever the heads") {
  CHECK(LatentCache::bytes(0, 20, 6) == 0);
  CHECK(LatentCache::bytes(64, 512, 64) == 4 * 64 * (2 * 512 + 64));
  CHECK(LatentCache::bytes(65, 20, 6) == 4 * (80 * 26 + 128 * 32));  // panels of 16, blocks of 64
  CHECK(LatentCache(65, 20, 6).bytes() == LatentCache::bytes(65, 20, 6));
  CHECK(LatentCache(65, 20, 6).clone().bytes() == LatentCache::bytes(65, 20, 6));
}
