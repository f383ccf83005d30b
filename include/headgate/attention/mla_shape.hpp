// MlaShape: the sizes of multi-head latent attention (mla.hpp), and what follows from them: what a text's state holds
// and what a pass takes from the workspace.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "headgate/attention/attention_chunk.hpp"
#include "headgate/attention/latent_cache.hpp"
#include "headgate/attention/mixer.hpp"
#include "headgate/kernels/formats/f32_tile.hpp"

namespace headgate::inline HEADGATE_ABI {

struct MlaShape {
  index_t hidden_size = 0;
  index_t num_heads = 0;
  index_t query_rank = 0;      // q_lora_rank: queries come from so many latents of their own; 0: from the row
  index_t latent_size = 0;     // kv_lora_rank
  index_t nope_dim = 0;        // qk_nope_head_dim: channels of a query head without positions
  index_t rope_dim = 0;        // qk_rope_head_dim: and with them; of the key all heads share them
  index_t value_dim = 0;       // v_head_dim
  bool has_bias = false;       // attention_bias: of the projections to latents and of the output
  float norm_epsilon = 1e-6f;  // of the latents' norms: transformers' default, whatever rms_norm_eps says
  // Of q . k: (nope_dim + rope_dim)^-0.5, under YaRN times the square of RopeSettings::yarn_scale(factor,
  // mscale_all_dim).
  float scale = 0.0f;

  static float default_scale(index_t nope_dim, index_t rope_dim) noexcept {
    return 1.0f / std::sqrt(static_cast<float>(nope_dim + rope_dim));
  }

  constexpr index_t head_dim() const noexcept { return nope_dim + rope_dim; }
  constexpr index_t query_size() const noexcept { return num_heads * head_dim(); }
  constexpr index_t key_size() const noexcept { return latent_size + rope_dim; }  // that a position remembers
  constexpr index_t value_size() const noexcept { return num_heads * value_dim; }
  // Widths in whole panels, as products write them.
  constexpr index_t padded_latents() const noexcept { return divide_up(latent_size, panel_rows) * panel_rows; }
  constexpr index_t padded_values() const noexcept { return divide_up(value_dim, panel_rows) * panel_rows; }

  Status check() const noexcept {
    constexpr index_t max_size = index_t{1} << 20;
    constexpr index_t max_heads = 4096;
    const auto finite = [](float value) { return std::abs(value) <= std::numeric_limits<float>::max(); };
    const auto size = [&](const char* least, const char* most, std::int64_t found, index_t low, index_t high) {
      if (found < low) return Status::mismatch(least, found, low);
      if (found > high) return Status::mismatch(most, found, high);
      return Status::success();
    };
    for (const Status& status : {size("hidden_size, at least", "hidden_size", hidden_size, 1, max_size),
                                 size("attention heads, at least", "attention heads", num_heads, 1, max_heads),
                                 size("q_lora_rank, at least", "q_lora_rank", query_rank, 0, max_size),
                                 size("kv_lora_rank, at least", "kv_lora_rank", latent_size, 1, max_size / 2),
                                 size("qk_nope_head_dim, at least", "qk_nope_head_dim", nope_dim, 1, max_size / 2),
                                 size("qk_rope_head_dim, at least", "qk_rope_head_dim", rope_dim, 0, max_size / 2),
                                 size("v_head_dim, at least", "v_head_dim", value_dim, 1, max_size / 2)}) {
      if (!status.ok()) return status;
    }
    for (const std::int64_t all : {std::int64_t{num_heads} * (nope_dim + rope_dim), std::int64_t{num_heads} * value_dim,
                                   std::int64_t{num_heads} * latent_size}) {
      if (all > max_index / 2) return Status::mismatch("channels of all heads", all, max_index / 2);
    }
    if (!(scale > 0.0f && finite(scale))) return {ErrorCode::usage, "scale of an attention is not a positive number"};
    if (!(norm_epsilon >= 0.0f && finite(norm_epsilon)))
      return {ErrorCode::usage, "epsilon of a norm is not a finite number from 0 on"};
    return Status::success();
  }

  // Bytes of the state of one text. Precondition of this and the next: check() is a success.
  std::int64_t state_bytes(const StateSize& size) const noexcept {
    return LatentCache::bytes(size, latent_size, rope_dim);
  }
  // What forward takes from the workspace at a time, at most, in floats, through an AnyMixer, too; x and y excluded.
  std::int64_t scratch_floats(const PassSize& pass) const noexcept {
    constexpr std::int64_t take_padding = 16 * 16;  // a take is rounded up to lines of 16 floats
    const std::int64_t whole = pass.rows * (query_size() + value_size()) + 6 * pass.sequences;
    const std::int64_t projection =
        pass.rows * (std::int64_t{query_rank} + key_size() + std::max(hidden_size, query_rank));
    const std::int64_t attending = pass.threads * (attend_floats() + 1);
    const std::int64_t output = pass.rows * value_size();
    return whole + std::max({projection, attending, output}) + take_padding;
  }

  // Of one thread: for each query of a tile its absorbed form, what it has read, its part of a chunk and its values;
  // and one tile at a time.
  std::int64_t attend_floats() const noexcept {
    const std::int64_t widest = std::max({nope_dim, key_size(), latent_size});
    return F32Tile::max_rows * (padded_latents() + rope_dim + 2 * padded_latents() + padded_values() + widest) +
           chunk_scores;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
