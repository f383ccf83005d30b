// LatentCache: what multi-head latent attention (mla.hpp) remembers of one text in one layer, in float32: a row of
// latents and rotary channels for each position, which all heads share. Any position can be gone back to.
//
// The rows lie twice, as each of the two products of an attention reads them: packed as a matrix (positions, latents
// and rotary channels) for the scores, and the latents alone, in blocks of 64 positions, as (latents, positions) for
// the weighted sums.
#pragma once

#include <algorithm>
#include <cstring>

#include "headgate/attention/sequence_state.hpp"
#include "headgate/core/aligned_buffer.hpp"
#include "headgate/kernels/panel16.hpp"

namespace headgate::inline HEADGATE_ABI {

class LatentCache {
 public:
  static constexpr index_t block_positions = 64;

  // Bytes of a cache of these sizes.
  static constexpr std::int64_t bytes(index_t context_size, index_t latent_size, index_t rope_dim) noexcept {
    return keys_bytes(context_size, latent_size + rope_dim) +
           divide_up(context_size, block_positions) * block_bytes(latent_size);
  }

  // Empty. Preconditions: no size is negative, the widths together at most 2^20. Throws std::bad_alloc.
  LatentCache(index_t context_size, index_t latent_size, index_t rope_dim)
      : buffer_(as_size(bytes(context_size, latent_size, rope_dim))),
        context_size_(context_size),
        latent_size_(latent_size),
        rope_dim_(rope_dim) {}

  index_t context_size() const noexcept { return context_size_; }
  index_t latent_size() const noexcept { return latent_size_; }
  index_t rope_dim() const noexcept { return rope_dim_; }

  index_t position() const noexcept { return position_; }
  index_t nearest(index_t positions) const noexcept { return positions; }
  void truncate(index_t positions) noexcept {
    // A block is multiplied whole, so that behind the text there must be numbers, if only to be weighed by 0.
    for (index_t p = positions; p < position_; ++p) {
      for (index_t i = 0; i < latent_panels(); ++i) std::memset(line(p, i), 0, line_bytes);
    }
    position_ = positions;
  }
  bool keeps_present(index_t /*positions*/, bool /*is_one_pass*/) const noexcept { return true; }
  void snapshot() noexcept {}
  std::int64_t bytes() const noexcept { return static_cast<std::int64_t>(buffer_.size()); }
  LatentCache clone() const {
    LatentCache copy(context_size_, latent_size_, rope_dim_);
    const std::int64_t keys = divide_up(position_, panel_rows) * F32::panel_bytes(latent_size_ + rope_dim_);
    const std::int64_t values = divide_up(position_, block_positions) * block_bytes(latent_size_);
    std::memcpy(copy.buffer_.data(), buffer_.data(), as_size(keys));
    std::memcpy(copy.values(), values_data(), as_size(values));
    copy.position_ = position_;
    return copy;
  }

  // The next rows, to be stored. Precondition: the context has room.
  void append(index_t rows) noexcept { position_ += rows; }
  // Preconditions: the position exists and has been appended; row holds the latents, then the rotary channels.
  void store(index_t position, const float* row) noexcept {
    const index_t width = latent_size_ + rope_dim_;
    std::byte* const panel = buffer_.data() + position / panel_rows * F32::panel_bytes(width);
    F32::pack(row, width, position % panel_rows, panel);
    for (index_t i = 0; i < latent_panels(); ++i) {
      const index_t count = std::min(panel_rows, latent_size_ - i * panel_rows);
      std::memcpy(line(position, i), row + i * panel_rows, as_size(count) * sizeof(float));
    }
  }

  // (context_size, latents and rotary channels)
  PanelView<F32> keys() const noexcept { return {buffer_.data(), context_size_, latent_size_ + rope_dim_}; }
  // (latents, block_positions) of a block of positions; beyond position() they are 0.
  PanelView<F32> values(index_t block) const noexcept {
    return {values_data() + block * block_bytes(latent_size_), latent_size_, block_positions};
  }

 private:
  static constexpr std::size_t line_bytes = 64;

  static constexpr std::int64_t keys_bytes(index_t context_size, index_t width) noexcept {
    return divide_up(context_size, panel_rows) * F32::panel_bytes(width);
  }
  static constexpr std::int64_t block_bytes(index_t latent_size) noexcept {
    return divide_up(latent_size, panel_rows) * F32::panel_bytes(block_positions);
  }
  index_t latent_panels() const noexcept { return divide_up(latent_size_, panel_rows); }
  std::byte* values() noexcept { return buffer_.data() + keys_bytes(context_size_, latent_size_ + rope_dim_); }
  const std::byte* values_data() const noexcept {
    return buffer_.data() + keys_bytes(context_size_, latent_size_ + rope_dim_);
  }
  // 16 latents of a position.
  std::byte* line(index_t position, index_t panel) noexcept {
    return values() + position / block_positions * block_bytes(latent_size_) +
           panel * F32::panel_bytes(block_positions) + std::int64_t{line_bytes} * (position % block_positions);
  }

  AlignedBuffer buffer_;  // keys, then blocks of values
  index_t context_size_;
  index_t latent_size_;
  index_t rope_dim_;
  index_t position_ = 0;
};
static_assert(SequenceState<LatentCache>);

}  // namespace headgate::inline HEADGATE_ABI
