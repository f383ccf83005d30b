#include "headgate/attention/attention_chunk.hpp"

#include <vector>

#include "headgate/attention/kv_cache.hpp"
#include "headgate/kernels/native.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

using namespace headgate;

namespace {

constexpr index_t head_dim = 24;

KvCache filled(CacheType type, index_t positions, index_t window = 0) {
  KvCache cache({positions, 40, 0, type}, 1, head_dim, window);
  for (index_t p = 0; p < positions; ++p) {
    cache.reserve(1);
    const std::vector<float> key = random_floats(head_dim, 1.0f, static_cast<unsigned>(2 * p));
    const std::vector<float> value = random_floats(head_dim, 1.0f, static_cast<unsigned>(2 * p + 1));
    cache.store(p, 0, key.data(), value.data());
    cache.append(1);
  }
  return cache;
}

// What query r, of `queries` (m, head_dim), gets of a chunk.
struct Found {
  std::vector<Softmax> softmaxes;
  std::vector<float> sums;
};
Found attend(const KvCache& cache, const std::vector<float>& queries, const std::vector<Slice>& reads) {
  const auto m = static_cast<index_t>(reads.size());
  std::vector<const float*> rows;
  for (index_t r = 0; r < m; ++r) rows.push_back(queries.data() + r * head_dim);
  std::vector<float> tile(as_size(m * head_dim)), scores(as_size(chunk_scores), std::nanf(""));
  NativeBackend::make_tile(F32Tile{}, rows.data(), m, head_dim, tile.data());
  Found found{std::vector<Softmax>(as_size(m)), std::vector<float>(as_size(m * 32), 7.0f)};
  attend_chunk<NativeBackend>(cache.view(0), tile.data(), reads, scores.data(), found.sums.data(),
                              found.softmaxes.data());
  return found;
}

}  // namespace

TEST_CASE("a query gets of a chunk what its definition says, of whatever numbers the cache holds") {
  const std::vector<Slice> reads{{256, 257}, {256, 300}, {270, 299}, {0, 0}, {258, 320}};
  const std::vector<float> queries = random_floats(5 * head_dim, 1.0f, 9);
  for (const CacheType type : {CacheType::f32, CacheType::f16, CacheType::q8_0}) {
    const KvCache cache = filled(type, 320);
    const Found found = attend(cache, queries, reads);
    for (std::size_t r = 0; r < reads.size(); ++r) {
      if (reads[r].first == reads[r].last) continue;
      std::vector<double> scores;
      double largest = -1e30;
      for (index_t p = reads[r].first; p < reads[r].last; ++p) {
        double score = 0.0;
        for (index_t i = 0; i < head_dim; ++i) {
          score += double(queries[r * 24 + as_size(i)]) * double(cache.view(0).key(p, i));
        }
        scores.push_back(score);
        largest = std::max(largest, score);
      }
      double total = 0.0;
      std::vector<double> sums(32);
      for (std::size_t s = 0; s < scores.size(); ++s) {
        const double weight = std::exp(scores[s] - largest);
        total += weight;
        for (index_t i = 0; i < head_dim; ++i) {
          sums[as_size(i)] += weight * double(cache.view(0).value(reads[r].first + static_cast<index_t>(s), i));
        }
      }
      CHECK(found.softmaxes[r].largest == Catch::Approx(largest).epsilon(1e-5));
      CHECK(found.softmaxes[r].total == Catch::Approx(total).epsilon(1e-5));
      for (std::size_t i = 0; i < 32; ++i) CHECK(std::abs(double(found.sums[r * 32 + i]) - sums[i]) < 1e-4);
    }
  }
}

TEST_CASE("a query has the same bits alone, among others, and in a cache that begins later") {
  for (const CacheType type : {CacheType::f32, CacheType::f16, CacheType::q8_0}) {
    const KvCache cache = filled(type, 320);
    const KvCache window = filled(type, 320, 70);
    CHECK(window.origin() > 0);
    std::vector<Slice> reads;
    for (index_t r = 0; r < 12; ++r) reads.push_back({270 + 2 * r, 300 + r});
    reads[3] = {0, 0};
    const std::vector<float> queries = random_floats(12 * head_dim, 1.0f, 10);
    const Found all = attend(cache, queries, reads);
    for (std::size_t r = 0; r < reads.size(); ++r) {
      if (reads[r].first == reads[r].last) continue;
      const std::vector<float> own(queries.begin() + static_cast<std::ptrdiff_t>(r * 24),
                                   queries.begin() + static_cast<std::ptrdiff_t>(r * 24 + 24));
      for (const KvCache* const held : {&cache, &window}) {
        const Found alone = attend(*held, own, {reads[r]});
        CHECK(alone.softmaxes[0].largest == all.softmaxes[r].largest);
        CHECK(alone.softmaxes[0].total == all.softmaxes[r].total);
        CHECK(std::equal(alone.sums.begin(), alone.sums.end(), all.sums.begin() + static_cast<std::ptrdiff_t>(r * 32)));
      }
    }
  }
}

TEST_CASE("a query with a score that is not finite is known by its total, and those beside it are not blamed") {
  const KvCache cache = filled(CacheType::f32, 40);
  std::vector<float> queries = random_floats(3 * head_dim, 1.0f, 11);
  const auto are_finite = [&](const std::vector<Slice>& reads) {
    std::vector<bool> finite;
    for (const Softmax& softmax : attend(cache, queries, reads).softmaxes) finite.push_back(softmax.is_finite());
    return finite;
  };
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    queries[as_size(head_dim)] = bad;
    CHECK(are_finite({{0, 40}, {3, 40}, {0, 40}}) == std::vector<bool>{true, false, true});
    CHECK(are_finite({{0, 40}, {0, 0}, {0, 40}}) == std::vector<bool>{true, true, true});  // what it does not read
  }
  for (const float largest : {-2.0f, 0.0f, 2.0f}) {
    Softmax all{0.0f, 1.0f};
    float sums[] = {1.0f};
    float chunk_sums[] = {1.0f};
    all.join<NativeBackend>({largest, std::nanf("")}, chunk_sums, sums, 1);
    all.join<NativeBackend>({largest + 1.0f, 1.0f}, chunk_sums, sums, 1);
    CHECK_FALSE(all.is_finite());
  }
}

TEST_CASE("chunks join to the softmax of all, whichever has the larger score") {
  for (const float second : {-3.0f, 0.0f, 5.0f, 200.0f}) {
    // Scores 0 and `second` of values (1, -2) and (3, 4).
    Softmax all;
    float sums[2] = {};
    float first_sums[] = {1.0f, -2.0f};
    float second_sums[] = {3.0f, 4.0f};
    all.join<NativeBackend>({0.0f, 1.0f}, first_sums, sums, 2);
    all.join<NativeBackend>({second, 1.0f}, second_sums, sums, 2);
    float out[2];
    all.finish(sums, 2, out);
    const double weight = 1.0 / (1.0 + std::exp(-double(second)));
    CHECK(out[0] == Catch::Approx(1.0 - weight + 3.0 * weight));
    CHECK(out[1] == Catch::Approx(-2.0 + 6.0 * weight));
  }
  Softmax one;
  float sums[] = {0.0f};
  float negative_zero[] = {-0.0f};
  one.join<NativeBackend>({1.0f, 1.0f}, negative_zero, sums, 1);
  float out[1];
  one.finish(sums, 1, out);
  CHECK_FALSE(std::signbit(out[0]));
}
