// KvCache: the keys and values of one layer, by position, in float32. Keys of a head are packed as a matrix
// (positions, head_dim) in Panel16, so that q . k for many positions is one product whose queries share a KV head;
// values are rows, for the weighted sum.
#pragma once

#include <algorithm>
#include <cstring>

#include "headgate/core/aligned_buffer.hpp"
#include "headgate/kernels/panel16.hpp"

namespace headgate::inline HEADGATE_ABI {

class KvCache {
 public:
  // Bytes of a cache of these sizes.
  static constexpr std::int64_t bytes(index_t context_size, index_t num_kv_heads, index_t head_dim) noexcept {
    return 2 * num_kv_heads * head_bytes(context_size, head_dim);
  }

  // All zero. Preconditions: no size is negative, head_dim at most 2^20. Throws std::bad_alloc.
  KvCache(index_t context_size, index_t num_kv_heads, index_t head_dim)
      : buffer_(as_size(bytes(context_size, num_kv_heads, head_dim))),
        context_size_(context_size),
        num_kv_heads_(num_kv_heads),
        head_dim_(head_dim) {}

  index_t context_size() const noexcept { return context_size_; }
  index_t num_kv_heads() const noexcept { return num_kv_heads_; }

  // Preconditions: the position and the head exist; key and value have head_dim elements.
  void store(index_t position, index_t kv_head, const float* key, const float* value) noexcept {
    std::byte* const panel = keys_of(kv_head) + position / panel_rows * F32::panel_bytes(head_dim_);
    F32::pack(key, head_dim_, position % panel_rows, panel);
    std::memcpy(values_of(kv_head) + position * row_bytes(), value, as_size(row_bytes()));
  }

  // (context_size, head_dim)
  PanelView<F32> keys(index_t kv_head) const noexcept { return {keys_of(kv_head), context_size_, head_dim_}; }
  ConstRows values(index_t kv_head) const noexcept {
    return {reinterpret_cast<const float*>(values_of(kv_head)), context_size_, head_dim_};
  }

  // A cache of the same size that holds the first so many positions, at most all. Throws std::bad_alloc.
  KvCache clone(index_t positions) const {
    positions = std::clamp(positions, 0, context_size_);
    KvCache copy(context_size_, num_kv_heads_, head_dim_);
    const std::int64_t used = divide_up(positions, panel_rows) * F32::panel_bytes(head_dim_);
    for (index_t h = 0; h < num_kv_heads_; ++h) {
      std::memcpy(copy.keys_of(h), keys_of(h), as_size(used));
      std::memcpy(copy.values_of(h), values_of(h), as_size(positions * row_bytes()));
    }
    return copy;
  }

 private:
  // Of the keys of a head, and of its values: whole panels of positions.
  static constexpr std::int64_t head_bytes(index_t context_size, index_t head_dim) noexcept {
    return divide_up(context_size, panel_rows) * F32::panel_bytes(head_dim);
  }
  std::int64_t row_bytes() const noexcept { return std::int64_t{sizeof(float)} * head_dim_; }
  std::int64_t keys_offset(index_t kv_head) const noexcept { return kv_head * head_bytes(context_size_, head_dim_); }
  std::byte* keys_of(index_t kv_head) noexcept { return buffer_.data() + keys_offset(kv_head); }
  const std::byte* keys_of(index_t kv_head) const noexcept { return buffer_.data() + keys_offset(kv_head); }
  std::byte* values_of(index_t kv_head) noexcept { return keys_of(num_kv_heads_ + kv_head); }
  const std::byte* values_of(index_t kv_head) const noexcept { return keys_of(num_kv_heads_ + kv_head); }

  AlignedBuffer buffer_;  // keys of all heads, then values of all heads
  index_t context_size_;
  index_t num_kv_heads_;
  index_t head_dim_;
};

}  // namespace headgate::inline HEADGATE_ABI
