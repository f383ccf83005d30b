#include "headgate/attention/latent_cache.hpp"

#include <cmath>

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
// Every position is there in both forms.
void check_holds(const LatentCache& cache, index_t positions) {
  REQUIRE(cache.position() == positions);
  for (index_t p = 0; p < positions; ++p) {
    const std::vector<float> row = row_of(p);
    for (index_t i = 0; i < 26; ++i) CHECK(cache.view().key(p, i) == row[as_size(i)]);
    for (index_t i = 0; i < 20; ++i) CHECK(cache.view().value(p, i) == row[as_size(i)]);
  }
}

}  // namespace

TEST_CASE("latents of a text are found by position, for scores and for sums") {
  LatentCache cache({150, 150, 0}, 20, 6);
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

TEST_CASE("latents can go back anywhere") {
  LatentCache cache({150, 150, 0}, 20, 6);
  append(cache, 140);
  for (const index_t positions : {139, 70, 64, 63, 1, 0}) {
    CHECK(cache.nearest(positions) == positions);
    cache.truncate(positions);
    check_holds(cache, positions);
  }
  append(cache, 3);
  check_holds(cache, 3);
}

TEST_CASE("latents in fewer bits are the nearest numbers of theirs") {
  for (const auto& [type, bound] : {std::pair(CacheType::f16, 5e-4f), std::pair(CacheType::q8_0, 4e-3f)}) {
    LatentCache cache({150, 150, 0, type}, 20, 6);
    append(cache, 150);
    const LatentCache fork = cache.clone();
    float worst = 0.0f;
    for (index_t p = 0; p < 150; ++p) {
      const std::vector<float> row = row_of(p);
      for (index_t i = 0; i < 26; ++i) worst = std::max(worst, std::abs(fork.view().key(p, i) - row[as_size(i)]));
      for (index_t i = 0; i < 20; ++i) worst = std::max(worst, std::abs(fork.view().value(p, i) - row[as_size(i)]));
    }
    CHECK(worst > 0.0f);
    CHECK(worst < bound);
  }
}

TEST_CASE("latents take twice their size, whatever the heads") {
  CHECK(LatentCache::bytes({0, 1, 0}, 20, 6) == 0);
  CHECK(LatentCache::bytes({64, 1, 0}, 512, 64) == 4 * 64 * (2 * 512 + 64));
  CHECK(LatentCache::bytes({65, 1, 0}, 20, 6) == 4 * (80 * 26 + 65 * 32));  // panels of 16 positions, lines of 16
  CHECK(LatentCache::bytes({64, 1, 0, CacheType::f16}, 512, 64) == 2 * 64 * (2 * 512 + 64));
  CHECK(LatentCache::bytes({64, 1, 0, CacheType::q8_0}, 512, 64) == 64 * (2 * 512 + 64 + 2 * (16 + 18)));
  for (const CacheType type : {CacheType::f32, CacheType::f16, CacheType::q8_0}) {
    const StateSize size{65, 1, 0, type};
    CHECK(LatentCache(size, 20, 6).bytes() == LatentCache::bytes(size, 20, 6));
    CHECK(LatentCache(size, 20, 6).clone().bytes() == LatentCache::bytes(size, 20, 6));
  }
}
