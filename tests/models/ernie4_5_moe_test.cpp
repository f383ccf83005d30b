#include "headgate/models/ernie4_5_moe.hpp"

#include "models/changed_config.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("what ernie4_5_moe does not compute is refused by name") {
  const ChangedConfig config("ernie4_5_moe_f32");
  CHECK(config.refused("num_experts", "4") == "num_experts");
  CHECK(config.refused("num_experts", "11").empty());
  CHECK(config.refused("num_experts_per_tok", "2") == "num_experts_per_tok");
  CHECK(config.refused("moe_k", "12") == "moe_k");
  CHECK(config.refused("moe_k", "") == "moe_k");
  CHECK(config.refused("moe_norm_min", "-1") == "moe_norm_min");
  CHECK(config.refused("moe_num_shared_experts", "65536") == "moe_num_shared_experts");
  CHECK(config.refused("moe_num_shared_experts", "1") == "model.layers.1.mlp.shared_experts.gate_proj.weight");
  CHECK(config.refused("moe_layer_interval", "0") == "moe_layer_interval");
  CHECK(config.refused("moe_layer_start_index", "[1]") == "moe_layer_start_index");
  CHECK(config.refused("use_bias", "true") == "lm_head.bias");
  CHECK(config.refused("sliding_window", "4").empty());  // which nothing reads
  CHECK(config.refused("hidden_act", "\"gelu\"") == "hidden_act");
}

TEST_CASE("the last layer with experts may be called -1") {
  const ChangedConfig config("ernie4_5_moe_f32");
  const index_t routed = config.describe().routed_layers;
  CHECK(routed == 2);
  CHECK(config.refused("moe_layer_end_index", "-2") == "moe_layer_end_index");
  CHECK(config.refused("moe_layer_end_index", "-1") == "model.layers.3.mlp.gate.weight");
  CHECK(config.refused("moe_layer_interval", "2") == "model.layers.2.mlp.gate_proj.weight");
}
