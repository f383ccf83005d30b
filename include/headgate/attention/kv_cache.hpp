// KvCache: the keys and values of one text in one layer, by position, in float32, f16 or q8_0 (cache_layout.hpp). Its
// pages come from the system when the text first reaches them: creation costs nothing, whatever the context. A pass
// also takes the chunk behind it, so that the tokens after a prompt do not wait for memory.
//
// With a window it holds the end of the text: the window - 1 positions that the next row reads, the spare ones, and the
// rows of a pass. When it is full, what is still needed moves down by whole panels, so that it always lies in one
// stretch; memory does not grow with the text. A snapshot is a copy of the panels that the next row reads.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "headgate/attention/cache_layout.hpp"
#include "headgate/attention/sequence_state.hpp"
#include "headgate/core/aligned_buffer.hpp"

namespace headgate::inline HEADGATE_ABI {

class KvCache {
 public:
  // Bytes of a cache of these sizes, without snapshots. window: positions that a row reads, itself included; 0: all.
  static constexpr std::int64_t bytes(const StateSize& size, index_t num_kv_heads, index_t head_dim,
                                      index_t window = 0) noexcept {
    return layout(size, num_kv_heads, head_dim, window).bytes();
  }

  // Empty. Preconditions: no size is negative, head_dim at most 2^20. Throws std::bad_alloc.
  KvCache(const StateSize& size, index_t num_kv_heads, index_t head_dim, index_t window = 0)
      : buffer_(as_size(bytes(size, num_kv_heads, head_dim, window))),
        size_(size),
        layout_(layout(size, num_kv_heads, head_dim, window)),
        window_(window) {}

  index_t context_size() const noexcept { return size_.context_size; }
  index_t rows_per_pass() const noexcept { return window_ == 0 ? size_.context_size : size_.rows_per_pass; }
  index_t num_kv_heads() const noexcept { return layout_.heads; }
  index_t head_dim() const noexcept { return layout_.key_channels; }
  index_t window() const noexcept { return window_; }
  CacheType type() const noexcept { return layout_.type; }

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
    for_each_piece(copy, [&](std::int64_t offset, std::int64_t size) {
      copy.bytes.insert(copy.bytes.end(), buffer_.data() + offset, buffer_.data() + offset + size);
    });
    snapshots_.push_back(std::move(copy));
  }
  std::int64_t bytes() const noexcept {
    std::size_t total = buffer_.size();
    for (const Snapshot& snapshot : snapshots_) total += snapshot.bytes.size();
    return static_cast<std::int64_t>(total);
  }
  KvCache clone() const {
    KvCache copy(size_, num_kv_heads(), head_dim(), window_);
    std::memcpy(copy.buffer_.data(), buffer_.data(), as_size(layout_.bytes_of_first(position_ - origin_)));
    copy.position_ = position_;
    copy.origin_ = origin_;
    copy.snapshots_ = snapshots_;
    return copy;
  }

  // Makes room for the next rows. Preconditions: they fit the context and a pass.
  void reserve(index_t rows) noexcept {
    if (window_ == 0) return touch_behind(position_ + rows);
    if (position_ + rows - origin_ <= layout_.capacity) return;
    const index_t first_kept = std::max(position_ - (window_ - 1) - size_.spare, 0);
    const index_t dropped = (first_kept / panel_rows - origin_ / panel_rows) * panel_rows;
    const index_t held = position_ - origin_ - dropped;
    for (index_t h = 0; h < num_kv_heads(); ++h) {
      const Piece from = piece(h, dropped, held);
      const Piece to = piece(h, 0, held);
      std::memmove(buffer_.data() + to.keys, buffer_.data() + from.keys, as_size(to.key_bytes));
      std::memmove(buffer_.data() + to.values, buffer_.data() + from.values, as_size(to.value_bytes));
    }
    origin_ += dropped;
  }
  // Preconditions: there is room for the position, the head exists; key and value have head_dim elements.
  void store(index_t position, index_t kv_head, const float* key, const float* value) noexcept {
    const index_t row = position - origin_;
    visit_cache_format(type(), [&](auto format) {
      format.store_key(key, head_dim(), row % panel_rows, buffer_.data() + layout_.key_panel(kv_head, row));
      format.store_value(value, head_dim(), buffer_.data() + layout_.value_row(kv_head, row));
    });
  }
  // The next rows have been stored.
  void append(index_t rows) noexcept { position_ += rows; }

  // The position of the first row held, a multiple of panel_rows.
  index_t origin() const noexcept { return origin_; }
  // Of the positions from origin() to position().
  CacheView view(index_t kv_head) const noexcept { return {layout_, buffer_.data(), kv_head, origin_}; }

 private:
  struct Snapshot {
    index_t position;
    index_t origin;                // of the first panel kept, a multiple of panel_rows
    std::vector<std::byte> bytes;  // of each head keys, then values, from there to the position
  };

  // Offsets and sizes of rows of a head in one chunk, the first being the first of a panel.
  struct Piece {
    std::int64_t keys, key_bytes, values, value_bytes;
  };
  Piece piece(index_t head, index_t first_row, index_t rows) const noexcept {
    return visit_cache_format(type(), [&](auto format) {
      return Piece{layout_.key_panel(head, first_row), divide_up(rows, panel_rows) * format.panel_bytes(head_dim()),
                   layout_.value_row(head, first_row), rows * format.row_bytes(head_dim())};
    });
  }
  // use(offset, size) of each head's keys and values of a snapshot, where they lie while origin_ <= its origin.
  template <class F>
  void for_each_piece(const Snapshot& snapshot, F&& use) const {
    for (index_t h = 0; h < num_kv_heads(); ++h) {
      const Piece own = piece(h, snapshot.origin - origin_, snapshot.position - snapshot.origin);
      use(own.keys, own.key_bytes);
      use(own.values, own.value_bytes);
    }
  }
  void restore(const Snapshot& snapshot) noexcept {
    origin_ = snapshot.origin;
    const std::byte* from = snapshot.bytes.data();
    for_each_piece(snapshot, [&](std::int64_t offset, std::int64_t size) {
      std::copy_n(from, size, buffer_.data() + offset);
      from += size;
    });
  }
  // The pages of the chunk behind so many rows, once.
  void touch_behind(index_t rows) noexcept {
    const std::int64_t first = layout_.bytes_of_first(rows);
    if (first < touched_) return;
    touched_ = std::min(first + layout_.chunk_bytes(), layout_.bytes());
    for (std::int64_t offset = first; offset < touched_; offset += 4096) buffer_.data()[offset] = std::byte{0};
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
  // With a window all rows are of one chunk, so that they can move.
  static constexpr CacheLayout layout(const StateSize& size, index_t num_kv_heads, index_t head_dim,
                                      index_t window) noexcept {
    const index_t rows = capacity(size, window);
    return {size.cache, num_kv_heads, head_dim, head_dim, rows, window == 0 ? chunk_positions : std::max(rows, 1)};
  }

  AlignedBuffer buffer_;
  StateSize size_;
  CacheLayout layout_;
  index_t window_;            // 0: none
  std::int64_t touched_ = 0;  // bytes, ahead of the text
  index_t position_ = 0;
  index_t origin_ = 0;
  std::vector<Snapshot> snapshots_;  // by position, ascending
};
static_assert(SequenceState<KvCache>);

}  // namespace headgate::inline HEADGATE_ABI
