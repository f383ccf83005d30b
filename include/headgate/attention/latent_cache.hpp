// LatentCache: what multi-head latent attention (mla.hpp) remembers of one text in one layer: a row of latents and
// rotary channels for each position, which all heads share. Any position can be gone back to.
//
// The latents lie twice, as each of the two products of an attention reads them (cache_layout.hpp): with the rotary
// channels as keys, and alone as values.
#pragma once

#include <cstring>

#include "headgate/attention/cache_layout.hpp"
#include "headgate/attention/sequence_state.hpp"
#include "headgate/core/aligned_buffer.hpp"

namespace headgate::inline HEADGATE_ABI {

class LatentCache {
 public:
  // Bytes of a cache of these sizes.
  static constexpr std::int64_t bytes(const StateSize& size, index_t latent_size, index_t rope_dim) noexcept {
    return layout(size, latent_size, rope_dim).bytes();
  }

  // Empty. Preconditions: no size is negative, the widths together at most 2^20. Throws std::bad_alloc.
  LatentCache(const StateSize& size, index_t latent_size, index_t rope_dim)
      : buffer_(as_size(bytes(size, latent_size, rope_dim))),
        size_(size),
        layout_(layout(size, latent_size, rope_dim)) {}

  index_t context_size() const noexcept { return size_.context_size; }
  index_t latent_size() const noexcept { return layout_.value_channels; }
  index_t rope_dim() const noexcept { return layout_.key_channels - layout_.value_channels; }

  index_t position() const noexcept { return position_; }
  index_t nearest(index_t positions) const noexcept { return positions; }
  void truncate(index_t positions) noexcept { position_ = positions; }
  bool keeps_present(index_t /*positions*/, bool /*is_one_pass*/) const noexcept { return true; }
  void snapshot() noexcept {}
  std::int64_t bytes() const noexcept { return static_cast<std::int64_t>(buffer_.size()); }
  LatentCache clone() const {
    LatentCache copy(size_, latent_size(), rope_dim());
    std::memcpy(copy.buffer_.data(), buffer_.data(), as_size(layout_.bytes_of_first(position_)));
    copy.position_ = position_;
    return copy;
  }

  // The next rows, to be stored. Precondition: the context has room.
  void append(index_t rows) noexcept { position_ += rows; }
  // Preconditions: the position exists and has been appended; row holds the latents, then the rotary channels.
  void store(index_t position, const float* row) noexcept {
    visit_cache_format(layout_.type, [&](auto format) {
      format.store_key(row, layout_.key_channels, position % panel_rows,
                       buffer_.data() + layout_.key_panel(0, position));
      format.store_value(row, layout_.value_channels, buffer_.data() + layout_.value_row(0, position));
    });
  }

  CacheView view() const noexcept { return {layout_, buffer_.data()}; }

 private:
  static constexpr CacheLayout layout(const StateSize& size, index_t latent_size, index_t rope_dim) noexcept {
    return {size.cache, 1, latent_size + rope_dim, latent_size, size.context_size};
  }

  AlignedBuffer buffer_;
  StateSize size_;
  CacheLayout layout_;
  index_t position_ = 0;
};
static_assert(SequenceState<LatentCache>);

}  // namespace headgate::inline HEADGATE_ABI
