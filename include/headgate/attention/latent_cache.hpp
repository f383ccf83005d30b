// LatentCache: what multi-head latent attention (mla.hpp) remembers of one text in one layer: a row of latents and
// rotary channels for each position, which all heads share. Any position can be gone back to.
//
// The latents lie twice, as each of the two products of an attention reads them (kernels/cache_format.hpp): with the
// rotary channels as keys, and alone as values.
#pragma once

#include <cstring>

#include "headgate/attention/attention_chunk.hpp"
#include "headgate/attention/sequence_state.hpp"
#include "headgate/core/aligned_buffer.hpp"

namespace headgate::inline HEADGATE_ABI {

class LatentCache {
 public:
  // Bytes of a cache of these sizes.
  static constexpr std::int64_t bytes(const StateSize& size, index_t latent_size, index_t rope_dim) noexcept {
    return keys_bytes(size.cache, size.context_size, latent_size + rope_dim) +
           values_bytes(size.cache, size.context_size, latent_size);
  }

  // Empty. Preconditions: no size is negative, the widths together at most 2^20. Throws std::bad_alloc.
  LatentCache(const StateSize& size, index_t latent_size, index_t rope_dim)
      : buffer_(as_size(bytes(size, latent_size, rope_dim))),
        size_(size),
        latent_size_(latent_size),
        rope_dim_(rope_dim) {}

  index_t context_size() const noexcept { return size_.context_size; }
  index_t latent_size() const noexcept { return latent_size_; }
  index_t rope_dim() const noexcept { return rope_dim_; }

  index_t position() const noexcept { return position_; }
  index_t nearest(index_t positions) const noexcept { return positions; }
  void truncate(index_t positions) noexcept { position_ = positions; }
  bool keeps_present(index_t /*positions*/, bool /*is_one_pass*/) const noexcept { return true; }
  void snapshot() noexcept {}
  std::int64_t bytes() const noexcept { return static_cast<std::int64_t>(buffer_.size()); }
  LatentCache clone() const {
    LatentCache copy(size_, latent_size_, rope_dim_);
    std::memcpy(copy.buffer_.data(), buffer_.data(),
                as_size(keys_bytes(size_.cache, position_, latent_size_ + rope_dim_)));
    std::memcpy(copy.values(), values(), as_size(values_bytes(size_.cache, position_, latent_size_)));
    copy.position_ = position_;
    return copy;
  }

  // The next rows, to be stored. Precondition: the context has room.
  void append(index_t rows) noexcept { position_ += rows; }
  // Preconditions: the position exists and has been appended; row holds the latents, then the rotary channels.
  void store(index_t position, const float* row) noexcept {
    visit_cache_format(size_.cache, [&]<class Format>(Format format) {
      const index_t width = latent_size_ + rope_dim_;
      format.store_key(row, width, position % panel_rows,
                       buffer_.data() + position / panel_rows * Format::panel_bytes(width));
      format.store_value(row, latent_size_, values() + position * Format::row_bytes(latent_size_));
    });
  }

  CacheView view() const noexcept {
    return {size_.cache, buffer_.data(), values(), latent_size_ + rope_dim_, latent_size_, 0};
  }

 private:
  std::byte* values() noexcept { return buffer_.data() + values_offset(); }
  const std::byte* values() const noexcept { return buffer_.data() + values_offset(); }
  std::int64_t values_offset() const noexcept {
    return keys_bytes(size_.cache, size_.context_size, latent_size_ + rope_dim_);
  }

  AlignedBuffer buffer_;  // keys, then values
  StateSize size_;
  index_t latent_size_;
  index_t rope_dim_;
  index_t position_ = 0;
};
static_assert(SequenceState<LatentCache>);

}  // namespace headgate::inline HEADGATE_ABI
