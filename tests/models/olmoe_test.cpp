#include "headgate/models/olmoe.hpp"

#include "models/changed_config.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("what olmoe does not compute is refused by name, what it has by default may be left out") {
  const ChangedConfig config("olmoe_f32");
  CHECK(config.refused("clip_qkv", "-1") == "clip_qkv");
  CHECK(config.refused("clip_qkv", "0") == "clip_qkv");
  CHECK(config.refused("clip_qkv", "null").empty());
  CHECK(config.refused("norm_topk_prob", "\"true\"") == "norm_topk_prob");
  CHECK(config.refused("norm_topk_prob", "").empty());
  CHECK(config.refused("sliding_window", "128").empty());  // which nothing reads
  CHECK(config.refused("sliding_window", "null").empty());
  CHECK(config.refused("layer_types", "[\"sliding_attention\"]") == "layer_types");
  CHECK(config.refused("hidden_act", "\"gelu\"") == "hidden_act");
  CHECK(config.refused("head_dim", "12") == "model.layers.0.self_attn.q_proj.weight");
  CHECK(config.refused({{"num_experts", "11"}, {"num_local_experts", "5"}}) == "num_local_experts");
}
