// Attention over a cache, chunk by chunk. Positions are cut into chunks of 256, counted from position 0. Of each chunk
// a query has a softmax of its own:
//   largest = max of its scores,  total = sum of exp(score - largest),  sums = sum of exp(score - largest) * value
// and chunks are joined in the order of positions, with what the larger of two maxima leaves of each (Milakov and
// Gimelshein 2018, "Online normalizer calculation for softmax"). So a score lives as long as its chunk, scratch does
// not grow with the text, and what a query gets depends on nothing but what it reads: not on the queries beside it, nor
// on where a cache begins, nor on who computes which chunk.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "headgate/attention/cache_layout.hpp"
#include "headgate/core/context.hpp"
#include "headgate/kernels/kernel_backend.hpp"

namespace headgate::inline HEADGATE_ABI {

// Of a query: what it has read, or what it reads of a chunk. The sums of values, (value_width), stand elsewhere. With a
// score that is not finite, of which softmax would make a weight, the total is NaN, and stays so.
struct Softmax {
  float largest = -std::numeric_limits<float>::infinity();
  float total = 0.0f;

  bool is_finite() const noexcept { return !std::isnan(total); }

  // Joins a chunk, whose sums it overwrites, to sums.
  template <class Backend>
  void join(const Softmax& chunk, float* chunk_sums, float* sums, index_t width) noexcept {
    if (chunk.largest <= largest) {
      const float left = std::exp(chunk.largest - largest);
      total = fused_multiply_add(chunk.total, left, total);
      Backend::axpy(left, chunk_sums, width, sums);
    } else {
      const float left = std::exp(largest - chunk.largest);
      total = fused_multiply_add(total, left, chunk.total);
      largest = chunk.largest;
      Backend::axpy(left, sums, width, chunk_sums);
      std::memcpy(sums, chunk_sums, as_size(width) * sizeof(float));
    }
  }
  // out (channels) = the mean of the values. Adding 0 makes a sum of nothing but -0 the 0 that it is beside others.
  void finish(const float* sums, index_t channels, float* out) const noexcept {
    const float inverse = 1.0f / total;
    for (index_t i = 0; i < channels; ++i) out[i] = sums[i] * inverse + 0.0f;
  }
};

// Floats of one thread for attend_chunk: scores of a tile of queries in a chunk.
inline constexpr index_t score_stride = chunk_positions + panel_rows;  // no power of two: rows share no cache sets
inline constexpr std::int64_t chunk_scores = std::int64_t{F32Tile::max_rows} * score_stride;

template <class Backend>
void score_cache(const CacheView& cache, index_t first_position, index_t num_panels, const float* tile, index_t m,
                 float* scores) noexcept {
  visit_cache_format(cache.layout.type, [&](auto format) {
    Backend::score(format, cache.keys_from(first_position), cache.layout.key_channels, num_panels, tile, m, scores,
                   score_stride);
  });
}
template <class Backend>
void weigh_cache(const CacheView& cache, Slice positions, const float* weights, index_t m, float* sums) noexcept {
  visit_cache_format(cache.layout.type, [&](auto format) {
    Backend::weigh(format, cache.values_from(positions.first), cache.layout.value_channels,
                   positions.last - positions.first, weights, score_stride, m, sums);
  });
}

// Scores of a query become weights.
template <class Backend>
Softmax soften(float* scores, index_t count) noexcept {
  const bool is_finite = Backend::all_finite(scores, count);
  const float largest = Backend::max(scores, count);
  const float total = Backend::exp_sum(scores, count, largest);
  return {largest, is_finite ? total : std::numeric_limits<float>::quiet_NaN()};
}

// A tile of m queries in a chunk of a cache, reads[r] being the positions of the chunk that query r reads: ascending,
// maybe none, but one of them some. Sets found[r] and sums (m, value_width) of those that read any. scores:
// chunk_scores.
template <class Backend>
void attend_chunk(const CacheView& cache, const float* tile, std::span<const Slice> reads, float* scores, float* sums,
                  Softmax* found) noexcept {
  const auto m = static_cast<index_t>(reads.size());
  Slice all{max_index, 0};
  for (const Slice& own : reads) {
    if (own.first >= own.last) continue;
    all.first = std::min(all.first, own.first);
    all.last = std::max(all.last, own.last);
  }
  const index_t first_panel = (all.first - cache.origin) / panel_rows;
  const index_t end_panel = (all.last - cache.origin - 1) / panel_rows + 1;
  const index_t begin = cache.origin + first_panel * panel_rows;  // position of the first score
  score_cache<Backend>(cache, begin, end_panel - first_panel, tile, m, scores);
  for (index_t r = 0; r < m; ++r) {
    const Slice own = reads[as_size(r)];
    float* const row = scores + r * score_stride;
    if (own.first >= own.last) {
      std::fill(row + (all.first - begin), row + (all.last - begin), 0.0f);
      continue;
    }
    found[r] = soften<Backend>(row + (own.first - begin), own.last - own.first);
    std::fill(row + (all.first - begin), row + (own.first - begin), 0.0f);
    std::fill(row + (own.last - begin), row + (all.last - begin), 0.0f);
  }
  std::fill_n(sums, std::int64_t{m} * cache.value_width(), 0.0f);
  // What others read is weighed by 0, which changes nothing but the sign of 0 (finish).
  weigh_cache<Backend>(cache, all, scores + (all.first - begin), m, sums);
}

}  // namespace headgate::inline HEADGATE_ABI
