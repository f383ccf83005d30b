#include "headgate/models/scratch_count.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("scratch of a pass is counted frame by frame") {
  ModelConfig config;
  config.hidden_size = 8;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 1;
  config.head_dim = 4;
  config.num_experts = 4;
  config.num_experts_per_tok = 2;
  config.moe_intermediate_size = 16;
  constexpr std::int64_t lines = 64 * 40;
  // Between layers 3 (8 + 4), in one 2 * 3 * 8, and its attention.
  const GqaShape shape{.hidden_size = 8, .num_heads = 2, .num_kv_heads = 1, .head_dim = 4};
  CHECK(ScratchCount{config, 3, 10, 2}.bytes(1) == 4 * as_size(36 + 48 + shape.scratch_floats({3, 1, 10, 2})) + lines);
  // With 256 experts their routing is larger than the attention's scratch.
  config.num_experts = 256;
  CHECK(ScratchCount{config, 3, 10, 1}.bytes(1) == 4 * (36 + 48 + 3 * (256 + 8) + 528 + 256) + lines);
  // Logits of all rows of wide states: 3 * 8 between layers, then 2 * 3 * 8 of the head, less than a layer.
  CHECK(ScratchCount{config, 3, 10, 1}.bytes(3) == ScratchCount{config, 3, 10, 1}.bytes(1));
}

TEST_CASE("scratch of bi-level attention follows the regions that a text has") {
  ModelConfig config;
  config.hidden_size = 8;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 1;
  config.head_dim = 4;
  config.attention = AttentionKind::bilevel;
  config.region_size = 4;
  config.routed_regions = 1'000'000;
  const GqaShape shape{.hidden_size = 8, .num_heads = 2, .num_kv_heads = 1, .head_dim = 4};
  const auto scratch = [&](index_t regions) {
    return BilevelCausalShape{shape, 4, regions}.scratch_floats({3, 1, 100, 1});
  };
  CHECK(ScratchCount{config, 3, 100, 1}.bytes(1) == 4 * as_size(36 + 48 + scratch(1'000'000)) + 64 * 40);
  config.routed_regions = 1;
  CHECK(ScratchCount{config, 3, 100, 1}.bytes(1) == 4 * as_size(36 + 48 + scratch(1)) + 64 * 40);
  CHECK(scratch(1) < scratch(1'000'000));
}
