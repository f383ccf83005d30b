#include "headgate/models/lfm2_moe.hpp"

#include "models/changed_config.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("lfm2_moe says of every layer whether it is a convolution") {
  const ChangedConfig config("lfm2_moe_f32");
  CHECK(config.refused("layer_types", "") == "layer_types");
  CHECK(config.refused("layer_types", "null") == "layer_types");
  CHECK(config.refused("layer_types", R"(["conv", "conv"])") == "layer_types");
  CHECK(config.refused("layer_types", R"(["conv", "sliding_attention", "conv", "conv", "conv"])") == "layer_types");
  // The tensors contradict it.
  CHECK(config.refused("layer_types", R"(["conv", "conv", "conv", "conv", "conv"])") ==
        "model.layers.1.conv.in_proj.weight");
}

TEST_CASE("what lfm2_moe does not compute is refused by name") {
  const ChangedConfig config("lfm2_moe_f32");
  CHECK(config.refused("num_dense_layers", "6") == "num_dense_layers");
  CHECK(config.refused("num_dense_layers", "-1") == "num_dense_layers");
  CHECK(config.refused("conv_L_cache", "0") == "conv_L_cache");
  CHECK(config.refused("conv_L_cache", "4") == "model.layers.0.conv.conv.weight");
  CHECK(config.refused("conv_bias", "true") == "model.layers.0.conv.in_proj.bias");
  CHECK(config.refused("routed_scaling_factor", "0") == "routed_scaling_factor");
  CHECK(config.refused("sliding_window", "8").empty());  // which nothing reads
  CHECK(config.refused("norm_eps", "") == "norm_eps");
  CHECK(config.refused("use_expert_bias", "1") == "use_expert_bias");
  // The older key stands above the newer one.
  CHECK(config.refused({{"tie_embedding", "false"}, {"tie_word_embeddings", "true"}}) == "lm_head.weight");
  CHECK(config.refused({{"tie_embedding", "true"}, {"tie_word_embeddings", "false"}}).empty());
}
