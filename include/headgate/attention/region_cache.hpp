// RegionCache: a KV cache (kv_cache.hpp) that also keeps the mean key of every whole region of positions, for
// attentions that choose among regions. A mean is computed from the stored keys, in the order of positions, when the
// region's last position has been written, so it does not depend on how a text was cut into passes.
#pragma once

#include <vector>

#include "headgate/attention/kv_cache.hpp"
#include "headgate/core/context.hpp"

namespace headgate::inline HEADGATE_ABI {

class RegionCache {
 public:
  // Bytes of a cache of these sizes.
  static constexpr std::int64_t bytes(index_t context_size, index_t num_kv_heads, index_t head_dim,
                                      index_t region_size) noexcept {
    return KvCache::bytes(context_size, num_kv_heads, head_dim) +
           std::int64_t{sizeof(float)} * (context_size / region_size) * num_kv_heads * head_dim;
  }

  // Preconditions: as KvCache, region_size > 0. Throws std::bad_alloc.
  RegionCache(index_t context_size, index_t num_kv_heads, index_t head_dim, index_t region_size)
      : kv_(context_size, num_kv_heads, head_dim),
        region_size_(region_size),
        means_(as_size(context_size / region_size) * as_size(num_kv_heads) * as_size(head_dim)) {}

  KvCache& kv() noexcept { return kv_; }
  const KvCache& kv() const noexcept { return kv_; }
  index_t context_size() const noexcept { return kv_.context_size(); }
  index_t region_size() const noexcept { return region_size_; }
  // (whole regions, kv heads * head_dim)
  ConstRows means() const noexcept {
    const index_t width = kv_.num_kv_heads() * head_dim();
    return {means_.data(), context_size() / region_size_, width};
  }

  // Averages the regions whose last position lies in [first, last).
  void update_means(index_t first, index_t last, Context& ctx) {
    const index_t begin = first / region_size_;
    const index_t count = last / region_size_ - begin;
    if (count == 0) return;
    const index_t n = ctx.slices(count);
    ctx.parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(count, n, i);
      for (index_t r = slice.first; r < slice.last; ++r) average(begin + r);
    });
  }

  RegionCache clone(index_t positions) const { return {kv_.clone(positions), region_size_, means_}; }

 private:
  RegionCache(KvCache kv, index_t region_size, std::vector<float> means)
      : kv_(std::move(kv)), region_size_(region_size), means_(std::move(means)) {}

  index_t head_dim() const noexcept { return kv_.keys(0).cols; }
  void average(index_t region) noexcept {
    float* mean = means_.data() + std::int64_t{region} * kv_.num_kv_heads() * head_dim();
    for (index_t h = 0; h < kv_.num_kv_heads(); ++h) {
      const PanelView<F32> keys = kv_.keys(h);
      for (index_t i = 0; i < head_dim(); ++i) {
        float sum = 0.0f;
        for (index_t p = region * region_size_; p < (region + 1) * region_size_; ++p) sum += keys(p, i);
        *mean++ = sum / static_cast<float>(region_size_);
      }
    }
  }

  KvCache kv_;
  index_t region_size_;
  std::vector<float> means_;
};

}  // namespace headgate::inline HEADGATE_ABI
