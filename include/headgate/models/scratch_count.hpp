// ScratchCount: how many bytes of a workspace one pass through a decoder takes at a time, at most. The frames of a pass
// lie inside each other: the rows between the layers, those in a layer, and of what a layer does one after
// the other, attention, routing and experts, the largest.
#pragma once

#include <algorithm>

#include "headgate/attention/bilevel_causal_attention.hpp"
#include "headgate/attention/gqa_shape.hpp"
#include "headgate/core/workspace.hpp"
#include "headgate/experts/glu_layout.hpp"
#include "headgate/models/model_config.hpp"

namespace headgate::inline HEADGATE_ABI {

// In braces, which keep a temporary config as long as the count: ScratchCount{config, rows, context, threads}.
struct ScratchCount {
  const ModelConfig& config;
  std::int64_t rows;     // tokens of a pass
  std::int64_t context;  // positions of the text
  std::int64_t threads;

  // Of a pass that leaves so many rows of logits.
  std::size_t bytes(std::int64_t logits_rows) const noexcept {
    const std::int64_t x = rows * config.hidden_size;
    const std::int64_t rotation = rows * config.head_dim;
    const std::int64_t layer = 2 * x + std::max({attention(), routing(), experts()});
    const std::int64_t head = 2 * logits_rows * config.hidden_size;
    constexpr std::int64_t lines = 64 * 40;  // every take is rounded up to whole lines
    return as_size(std::int64_t{sizeof(float)} * (x + std::max(rotation + layer, head)) + lines);
  }

 private:
  std::int64_t attention() const noexcept {
    const GqaShape shape{.hidden_size = config.hidden_size,
                         .num_heads = config.num_attention_heads,
                         .num_kv_heads = config.num_key_value_heads,
                         .head_dim = config.head_dim};
    const PassSize pass{.rows = rows, .sequences = 1, .positions = context, .threads = threads};
    if (config.attention == AttentionKind::dense) return shape.scratch_floats(pass);
    return BilevelCausalShape{shape, config.region_size, config.routed_regions}.scratch_floats(pass);
  }
  // Logits, and of a recurrent router its projection, both products of its cell and their rows; of every thread keys
  // and marks.
  std::int64_t routing() const noexcept {
    const std::int64_t logits = std::int64_t{config.num_experts} + config.null_experts;
    const std::int64_t recurrent = std::int64_t{8} * config.router_state_size;
    return rows * (logits + recurrent + config.hidden_size) + threads * (2 * logits + 16) + logits;
  }
  // The plan by expert, gathered rows and what the activation makes of them.
  std::int64_t experts() const noexcept {
    const auto of = [&](std::int64_t num_experts, std::int64_t k, index_t ffn_size) {
      const GluShape shape{.hidden_size = config.hidden_size, .ffn_size = ffn_size};
      const std::int64_t entries = rows * k;
      return 3 * (num_experts + 1) + 3 * entries + 2 * threads +
             std::min<std::int64_t>(entries, shape.entries_at_a_time()) * shape.floats_per_entry();
    };
    return std::max(of(1, 1, config.intermediate_size),
                    of(config.num_experts, config.num_experts_per_tok, config.moe_intermediate_size));
  }
};

}  // namespace headgate::inline HEADGATE_ABI
