// GqaShape: the sizes and options of grouped-query attention (gqa.hpp), and what follows from them: what a text's state
// holds and what a pass takes from the workspace.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "headgate/attention/attention_chunk.hpp"
#include "headgate/attention/kv_cache.hpp"
#include "headgate/attention/mixer.hpp"
#include "headgate/kernels/formats/f32_tile.hpp"

namespace headgate::inline HEADGATE_ABI {

// The RMSNorm of queries and keys.
enum class QkNorm : std::uint8_t {
  none,
  per_head,  // of each head, weights (head_dim) [Qwen3]
  full,      // of all heads together, weights (heads * head_dim) [OLMoE]
};

struct GqaShape {
  index_t hidden_size = 0;
  index_t num_heads = 0;
  index_t num_kv_heads = 0;
  index_t head_dim = 0;
  bool has_query_bias = false;
  bool has_key_bias = false;
  bool has_value_bias = false;
  bool has_output_bias = false;
  QkNorm qk_norm = QkNorm::none;
  float norm_epsilon = 1e-6f;
  float clip = 0.0f;       // q, k and v are clamped to +-clip, after biases and norms [OLMoE]; 0: not
  float scale = 0.0f;      // of q . k; default_scale, unless a checkpoint says otherwise
  index_t window = 0;      // positions that a row reads, itself included; 0: all
  bool has_sinks = false;  // one logit a head joins the denominator of the softmax [gpt-oss]

  static float default_scale(index_t head_dim) noexcept { return 1.0f / std::sqrt(static_cast<float>(head_dim)); }

  constexpr index_t query_size() const noexcept { return num_heads * head_dim; }
  constexpr index_t kv_size() const noexcept { return num_kv_heads * head_dim; }
  constexpr index_t group() const noexcept { return num_heads / num_kv_heads; }  // heads that share a KV head

  Status check() const noexcept {
    constexpr index_t max_size = index_t{1} << 20;
    const auto finite = [](float value) { return std::abs(value) <= std::numeric_limits<float>::max(); };
    if (hidden_size < 1) return Status::mismatch("hidden_size, at least", hidden_size, 1);
    if (num_heads < 1) return Status::mismatch("attention heads, at least", num_heads, 1);
    if (num_kv_heads < 1) return Status::mismatch("KV heads, at least", num_kv_heads, 1);
    if (num_heads % num_kv_heads != 0)
      return Status::mismatch("attention heads left over by KV heads", num_heads % num_kv_heads, 0);
    if (head_dim < 1) return Status::mismatch("head_dim, at least", head_dim, 1);
    const std::int64_t all = std::int64_t{num_heads} * head_dim;
    if (hidden_size > max_size) return Status::mismatch("hidden_size", hidden_size, max_size);
    if (all > max_size) return Status::mismatch("attention heads times head_dim", all, max_size);
    if (window < 0) return Status::mismatch("window of an attention, at least", window, 0);
    if (!(scale > 0.0f && finite(scale))) return {ErrorCode::usage, "scale of an attention is not a positive number"};
    if (!(clip >= 0.0f && finite(clip))) return {ErrorCode::usage, "clip of an attention is not a number from 0 on"};
    if (!(norm_epsilon >= 0.0f && finite(norm_epsilon)))
      return {ErrorCode::usage, "epsilon of a norm is not a finite number from 0 on"};
    return Status::success();
  }

  // Bytes of the state of one text. Precondition of this and the next: check() is a success.
  std::int64_t state_bytes(const StateSize& size) const noexcept {
    return KvCache::bytes(size, num_kv_heads, head_dim, window);
  }
  // What forward takes from the workspace at a time, at most, in floats, through an AnyMixer, too; x and y excluded.
  std::int64_t scratch_floats(const PassSize& pass) const noexcept {
    return projection_floats(pass, (attend_floats() + 1) * pass.threads + 2 * pass.sequences) + take_padding;
  }

  // Of every pass: queries, mixed values and pointers to states; then, one after the other, projections, whatever
  // mixes the rows, and the output's product. A product of several rows transposes them first.
  std::int64_t projection_floats(const PassSize& pass, std::int64_t mixing) const noexcept {
    const std::int64_t projection = pass.rows * (std::int64_t{2} * kv_size() + hidden_size);
    const std::int64_t output = pass.rows * query_size();
    return 2 * output + 2 * pass.sequences + std::max({projection, mixing, output});
  }
  // Queries that share a KV head and meet a chunk of its positions together, while those are in the cache.
  static constexpr index_t queries_at_once = 4 * F32Tile::max_rows;
  // Of one thread: so many queries in tiles, what they have read, and a tile's part of a chunk.
  std::int64_t attend_floats() const noexcept {
    return queries_at_once * (head_dim + value_width() + softmax_floats) + F32Tile::max_rows * value_width() +
           chunk_scores;
  }
  std::int64_t value_width() const noexcept { return std::int64_t{divide_up(head_dim, panel_rows)} * panel_rows; }
  static constexpr index_t softmax_floats = sizeof(Softmax) / sizeof(float);
  // Every take is rounded up to whole lines of 16 floats.
  static constexpr std::int64_t take_padding = 16 * 16;
};

}  // namespace headgate::inline HEADGATE_ABI
