// RegionCache: a KV cache (kv_cache.hpp) that also keeps the mean key of every whole region of positions, for
// attentions that choose among regions. A mean is float32, computed from the keys as they are stored, in the order of
// positions, when the region's last position has been written, so it does not depend on how a text was cut into passes.
#pragma once

#include <vector>

#include "headgate/attention/kv_cache.hpp"
#include "headgate/core/context.hpp"

namespace headgate::inline HEADGATE_ABI {

class RegionCache {
 public:
  // Bytes of a cache of these sizes.
  static constexpr std::int64_t bytes(const StateSize& size, index_t num_kv_heads, index_t head_dim,
                                      index_t region_size) noexcept {
    return KvCache::bytes(size, num_kv_heads, head_dim) +
           std::int64_t{sizeof(float)} * (size.context_size / region_size) * num_kv_heads * head_dim;
  }

  // Preconditions: as KvCache, region_size > 0. Throws std::bad_alloc.
  RegionCache(const StateSize& size, index_t num_kv_heads, index_t head_dim, index_t region_size)
      : kv_(size, num_kv_heads, head_dim),
        region_size_(region_size),
        means_(as_size(size.context_size / region_size) * as_size(num_kv_heads) * as_size(head_dim)) {}

  const KvCache& kv() const noexcept { return kv_; }
  index_t context_size() const noexcept { return kv_.context_size(); }
  index_t region_size() const noexcept { return region_size_; }

  index_t position() const noexcept { return kv_.position(); }
  index_t nearest(index_t positions) const noexcept { return kv_.nearest(positions); }
  void truncate(index_t positions) noexcept {
    kv_.truncate(positions);
  }  // means of regions that end later are not read
  bool keeps_present(index_t positions, bool is_one_pass) const noexcept {
    return kv_.keeps_present(positions, is_one_pass);
  }
  void snapshot() noexcept {}
  RegionCache clone() const { return {kv_.clone(), region_size_, means_}; }
  std::int64_t bytes() const noexcept { return kv_.bytes() + static_cast<std::int64_t>(means_.size() * sizeof(float)); }

  // (whole regions, kv heads * head_dim)
  ConstRows means() const noexcept {
    return {means_.data(), context_size() / region_size_, kv_.num_kv_heads() * kv_.head_dim()};
  }

  void reserve(index_t rows) noexcept { kv_.reserve(rows); }
  void store(index_t position, index_t kv_head, const float* key, const float* value) noexcept {
    kv_.store(position, kv_head, key, value);
  }
  // The next rows have been stored: averages the regions that end in them.
  void append(index_t rows, Context& ctx) {
    const index_t begin = position() / region_size_;
    kv_.append(rows);
    const index_t count = position() / region_size_ - begin;
    if (count == 0) return;
    const index_t n = ctx.slices(count);
    ctx.parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(count, n, i);
      for (index_t r = slice.first; r < slice.last; ++r) average(begin + r);
    });
  }

 private:
  RegionCache(KvCache kv, index_t region_size, std::vector<float> means)
      : kv_(std::move(kv)), region_size_(region_size), means_(std::move(means)) {}

  void average(index_t region) noexcept {
    float* mean = means_.data() + std::int64_t{region} * kv_.num_kv_heads() * kv_.head_dim();
    for (index_t h = 0; h < kv_.num_kv_heads(); ++h) {
      const CacheView cache = kv_.view(h);
      for (index_t i = 0; i < kv_.head_dim(); ++i) {
        float sum = 0.0f;
        for (index_t p = region * region_size_; p < (region + 1) * region_size_; ++p) sum += cache.key(p, i);
        *mean++ = sum / static_cast<float>(region_size_);
      }
    }
  }

  KvCache kv_;
  index_t region_size_;
  std::vector<float> means_;
};
static_assert(SequenceState<RegionCache>);

}  // namespace headgate::inline HEADGATE_ABI
