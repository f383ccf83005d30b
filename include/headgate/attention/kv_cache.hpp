// KvCache: the keys and values of one text in one layer, by position, in float32, f16 or q8_0, as they lie in memory
// (kernels/cache_format.hpp): keys of a head in panels of 16 positions, values as rows.
//
// With a window it holds the end of the text: the window - 1 positions that the next row reads, the spare ones, and the
// rows of a pass. When it is full, what is still needed moves down by whole panels, so that it always lies in one
// stretch; memory does not grow with the text. A snapshot is a copy of the panels that the next row reads.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "headgate/attention/attention_chunk.hpp"
#include "headgate/attention/sequence_state.hpp"
#include "headgate/core/aligned_buffer.hpp"

namespace headgate::inline HEADGATE_ABI {

class KvCache {
 public:
  // Bytes of a cache of these sizes, without snapshots. window: positions that a row reads, itself included; 0: all.
  static constexpr std::int64_t bytes(const StateSize& size, index_t num_kv_heads, index_t head_dim,
                                      index_t window = 0) noexcept {
    const index_t positions = capacity(size, window);
    return num_kv_heads * (keys_bytes(size.cache, positions, head_dim) + values_bytes(size.cache, positions, head_dim));
  }

  // Empty. Preconditions: no size is negative, head_dim at most 2^20. Throws std::bad_alloc.
  KvCache(const StateSize& size, index_t num_kv_heads, index_t head_dim, index_t window = 0)
      : buffer_(as_size(bytes(size, num_kv_heads, head_dim, window))),
        size_(size),
        num_kv_heads_(num_kv_heads),
        head_dim_(head_dim),
        window_(window),
        capacity_(capacity(size, window)),
        panel_bytes_(visit_cache_format(size.cache, [&](auto format) { return format.panel_bytes(head_dim); })),
        row_bytes_(visit_cache_format(size.cache, [&](auto format) { return format.row_bytes(head_dim); })) {}

  index_t context_size() const noexcept { return size_.context_size; }
  index_t rows_per_pass() const noexcept { return window_ == 0 ? size_.context_size : size_.rows_per_pass; }
  index_t num_kv_heads() const noexcept { return num_kv_heads_; }
  index_t head_dim() const noexcept { return head_dim_; }
  index_t window() const noexcept { return window_; }
  CacheType type() const noexcept { return size_.cache; }

  index_t position() const noexcept { return position_; }
  index_t nearest(index_t positions) const noexcept {
    if (positions >= first_reachable()) return positions;
    for (auto snapshot = snapshots_.rbegin(); snapshot != snapshots_.rend(); ++snapshot) {
      if (snapshot->position <= positions) return snapshot->position;
    }
    return 0;
  }
  void truncate(index_t positions) noexcept {
    while (!snapshots_.empty() && snapshots_.back().position > positions) snapshots_.pop_back();
    if (positions < first_reachable()) {
      origin_ = 0;
      if (positions > 0) restore(snapshots_.back());
    }
    position_ = positions;
  }
  bool keeps_present(index_t positions, bool is_one_pass) const noexcept {
    return is_one_pass || window_ == 0 || position_ == 0 || positions <= size_.spare || has_snapshot();
  }
  void snapshot() {
    if (window_ == 0 || position_ == 0 || has_snapshot()) return;
    const index_t origin = std::max(position_ - (window_ - 1), 0) / panel_rows * panel_rows;
    Snapshot copy{position_, origin, {}};
    for_each_piece(copy, [&](const std::byte* piece, std::int64_t size) {
      copy.bytes.insert(copy.bytes.end(), piece, piece + size);
    });
    snapshots_.push_back(std::move(copy));
  }
  std::int64_t bytes() const noexcept {
    std::size_t total = buffer_.size();
    for (const Snapshot& snapshot : snapshots_) total += snapshot.bytes.size();
    return static_cast<std::int64_t>(total);
  }
  KvCache clone() const {
    KvCache copy(size_, num_kv_heads_, head_dim_, window_);
    const index_t held = position_ - origin_;
    const std::int64_t used = divide_up(held, panel_rows) * panel_bytes_;
    for (index_t h = 0; h < num_kv_heads_; ++h) {
      std::memcpy(copy.keys_of(h), keys_of(h), as_size(used));
      std::memcpy(copy.values_of(h), values_of(h), as_size(held * row_bytes_));
    }
    copy.position_ = position_;
    copy.origin_ = origin_;
    copy.snapshots_ = snapshots_;
    return copy;
  }

  // Makes room for the next rows. Preconditions: they fit the context and a pass.
  void reserve(index_t rows) noexcept {
    if (position_ + rows - origin_ <= capacity_) return;
    const index_t first_kept = std::max(position_ - (window_ - 1) - size_.spare, 0);
    const index_t dropped = first_kept / panel_rows - origin_ / panel_rows;
    const index_t panels = divide_up(position_ - origin_, panel_rows) - dropped;
    const index_t rows_held = position_ - origin_ - dropped * panel_rows;
    for (index_t h = 0; h < num_kv_heads_; ++h) {
      std::memmove(keys_of(h), keys_of(h) + dropped * panel_bytes_, as_size(panels * panel_bytes_));
      std::memmove(values_of(h), values_of(h) + std::int64_t{dropped} * panel_rows * row_bytes_,
                   as_size(std::int64_t{rows_held} * row_bytes_));
    }
    origin_ += dropped * panel_rows;
  }
  // Preconditions: there is room for the position, the head exists; key and value have head_dim elements.
  void store(index_t position, index_t kv_head, const float* key, const float* value) noexcept {
    const index_t row = position - origin_;
    visit_cache_format(type(), [&](auto format) {
      format.store_key(key, head_dim_, row % panel_rows, keys_of(kv_head) + row / panel_rows * panel_bytes_);
      format.store_value(value, head_dim_, values_of(kv_head) + row * row_bytes_);
    });
  }
  // The next rows have been stored.
  void append(index_t rows) noexcept { position_ += rows; }

  // The position of the first row held, a multiple of panel_rows.
  index_t origin() const noexcept { return origin_; }
  // Of the positions from origin() to position().
  CacheView view(index_t kv_head) const noexcept {
    return {type(), keys_of(kv_head), values_of(kv_head), head_dim_, head_dim_, origin_};
  }

 private:
  struct Snapshot {
    index_t position;
    index_t origin;                // of the first panel kept, a multiple of panel_rows
    std::vector<std::byte> bytes;  // of each head keys, then values, from there to the position
  };

  // use(bytes, size) of each head's keys and values of a snapshot, where they lie while origin_ <= its origin.
  template <class F>
  void for_each_piece(const Snapshot& snapshot, F&& use) const {
    const std::int64_t first = (snapshot.origin - origin_) / panel_rows;
    const index_t rows = snapshot.position - snapshot.origin;
    for (index_t h = 0; h < num_kv_heads_; ++h) {
      use(keys_of(h) + first * panel_bytes_, divide_up(rows, panel_rows) * panel_bytes_);
      use(values_of(h) + first * panel_rows * row_bytes_, rows * row_bytes_);
    }
  }
  void restore(const Snapshot& snapshot) noexcept {
    origin_ = snapshot.origin;
    const std::byte* from = snapshot.bytes.data();
    for_each_piece(snapshot, [&](const std::byte* piece, std::int64_t size) {
      std::memcpy(buffer_.data() + (piece - buffer_.data()), from, as_size(size));
      from += size;
    });
  }
  bool has_snapshot() const noexcept { return !snapshots_.empty() && snapshots_.back().position == position_; }

  // Positions held at a time. Room for a panel's worth of rows at least, so that not every step moves the rest.
  static constexpr index_t capacity(const StateSize& size, index_t window) noexcept {
    if (window == 0) return size.context_size;
    const std::int64_t kept = std::int64_t{window} - 1 + size.spare + panel_rows - 1;
    const std::int64_t most = kept + std::max(size.rows_per_pass, panel_rows);
    return static_cast<index_t>(std::min<std::int64_t>(most, size.context_size));
  }
  // Where everything that the next row reads is held from, but for 0.
  index_t first_reachable() const noexcept { return origin_ == 0 ? 0 : origin_ + window_ - 1; }
  std::byte* keys_of(index_t kv_head) noexcept { return buffer_.data() + keys_offset(kv_head); }
  const std::byte* keys_of(index_t kv_head) const noexcept { return buffer_.data() + keys_offset(kv_head); }
  std::byte* values_of(index_t kv_head) noexcept { return buffer_.data() + values_offset(kv_head); }
  const std::byte* values_of(index_t kv_head) const noexcept { return buffer_.data() + values_offset(kv_head); }
  std::int64_t keys_offset(index_t kv_head) const noexcept {
    return kv_head * keys_bytes(type(), capacity_, head_dim_);
  }
  std::int64_t values_offset(index_t kv_head) const noexcept {
    return keys_offset(num_kv_heads_) + kv_head * values_bytes(type(), capacity_, head_dim_);
  }

  AlignedBuffer buffer_;  // keys of all heads, then values of all heads
  StateSize size_;
  index_t num_kv_heads_;
  index_t head_dim_;
  index_t window_;            // 0: none
  index_t capacity_;          // positions held at a time
  std::int64_t panel_bytes_;  // of 16 keys
  std::int64_t row_bytes_;    // of a value
  index_t position_ = 0;
  index_t origin_ = 0;
  std::vector<Snapshot> snapshots_;  // by position, ascending
};
static_assert(SequenceState<KvCache>);

}  // namespace headgate::inline HEADGATE_ABI
