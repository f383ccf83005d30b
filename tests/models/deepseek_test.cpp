#include "headgate/models/deepseek.hpp"

#include "models/changed_config.hpp"

using namespace headgate;
using namespace models_test;

namespace {

// What all three have in common.
void check_common(const ChangedConfig& config) {
  CHECK(config.refused("num_key_value_heads", "1") == "num_key_value_heads");
  CHECK(config.refused("num_key_value_heads", "").empty());
  CHECK(config.refused("q_lora_rank", "") == "q_lora_rank");
  CHECK(config.refused("q_lora_rank", "0") == "q_lora_rank");
  CHECK(config.refused("qk_rope_head_dim", "7") == "qk_rope_head_dim");
  for (const char* const value : {"0", "NaN", "-1", "1e38", "null"}) {
    CHECK(config.refused("routed_scaling_factor", value) == "routed_scaling_factor");
  }
  CHECK(config.refused("n_shared_experts", "null") == "n_shared_experts");
  CHECK(config.refused("n_shared_experts", "65537") == "n_shared_experts");
  CHECK(config.refused("num_local_experts", "4") == "num_local_experts");
  CHECK(config.refused("scoring_func", "\"relu\"") == "scoring_func");
  CHECK(config.refused("topk_method", "\"random\"") == "topk_method");
  CHECK(config.refused("norm_topk_prob", "\"true\"") == "norm_topk_prob");
  CHECK(config.refused("sliding_window", "4").empty());  // which nothing reads
  CHECK(config.refused("hidden_act", "\"gelu\"") == "hidden_act");
}
// Of six or fifteen experts, of which three are chosen.
void check_groups(const ChangedConfig& config) {
  CHECK(config.refused("n_group", "4") == "n_group");
  CHECK(config.refused("n_group", "0") == "n_group");
  CHECK(config.refused("n_group", "null") == "n_group");
  CHECK(config.refused({{"n_group", "3"}, {"topk_group", "4"}}) == "topk_group");
  CHECK(config.refused("topk_group", "0") == "topk_group");
  CHECK(config.refused("topk_group", "null") == "topk_group");
}

}  // namespace

TEST_CASE("deepseek_v2 whose configuration contradicts itself or the class is refused by name") {
  const ChangedConfig config("deepseek_v2_groups_bf16");
  check_common(config);
  check_groups(config);
  CHECK(config.refused({{"n_group", "15"}, {"topk_group", "2"}}) == "topk_group");  // of so many experts three
  CHECK(config.refused("scoring_func", "\"sigmoid\"") == "scoring_func");
  CHECK(config.refused("topk_method", "\"noaux_tc\"") == "topk_method");
  CHECK(config.refused("moe_layer_freq", "2") == "moe_layer_freq");
  CHECK(config.refused("first_k_dense_replace", "4096") == "first_k_dense_replace");
  CHECK(config.refused("mlp_bias", "1") == "mlp_bias");
  // Groups say nothing where all experts are one.
  const ChangedConfig greedy("deepseek_v2_lite_f32");
  CHECK(greedy.refused({{"n_group", "4"}, {"topk_group", "null"}}).empty());
}

TEST_CASE("deepseek_v3 whose configuration contradicts itself or the class is refused by name") {
  const ChangedConfig config("deepseek_v3_fp8");
  check_common(config);
  check_groups(config);
  CHECK(config.refused({{"n_group", "3"}, {"topk_group", "1"}}) == "topk_group");
  CHECK(config.refused({{"n_group", "6"}, {"topk_group", "6"}}) == "n_group");  // judged by the two best of one
  CHECK(config.refused("scoring_func", "\"softmax\"") == "scoring_func");
  CHECK(config.refused("topk_method", "\"group_limited_greedy\"") == "topk_method");
  CHECK(config.refused("moe_layer_freq", "2") == "moe_layer_freq");
  CHECK(config.refused("first_k_dense_replace", "3") == "first_k_dense_replace");
  CHECK(config.refused("rope_interleave", "0") == "rope_interleave");
}

TEST_CASE("eight bits of deepseek_v3 have blocks of 128 and scales, or are refused") {
  const ChangedConfig config("deepseek_v3_fp8");
  const auto with = [&](const char* value) { return config.refused("quantization_config", value); };
  CHECK(with(R"({"quant_method": "fp8", "weight_block_size": [128, 128]})").empty());
  CHECK(with("null").empty());  // scales are there all the same
  CHECK(with(R"({"quant_method": "awq", "weight_block_size": [128, 128]})") == "quantization_config.quant_method");
  CHECK(with(R"({"weight_block_size": [128, 128]})") == "quantization_config.quant_method");
  for (const char* const size : {"[64, 64]", "[128]", "[128, 128, 128]", "null", "128"}) {
    CHECK(with((std::string(R"({"quant_method": "fp8", "weight_block_size": )") + size + "}").c_str()) ==
          "quantization_config.weight_block_size");
  }
  CHECK(with("\"fp8\"") == "quantization_config");
}

TEST_CASE("glm4_moe_lite is dense where mlp_layer_types says so, and nothing else may contradict it") {
  const ChangedConfig config("glm4_moe_lite_f32");
  check_common(config);
  CHECK(config.refused("first_k_dense_replace", "1").empty());
  CHECK(config.refused("first_k_dense_replace", "0") == "first_k_dense_replace");
  CHECK(config.refused("first_k_dense_replace", "2") == "first_k_dense_replace");
  CHECK(config.refused("mlp_layer_types", "").empty());  // the first dense, which is what it says
  CHECK(config.refused("mlp_layer_types", R"(["dense", "sparse"])") == "mlp_layer_types");
  CHECK(config.refused("mlp_layer_types", R"(["dense", "sparse", "moe"])") == "mlp_layer_types");
  CHECK(config.refused("scoring_func", "\"softmax\"") == "scoring_func");
}
