#include "headgate/models/mixtral.hpp"

#include "models/changed_config.hpp"

using namespace headgate;
using namespace models_test;

using Changed = ChangedConfig;

TEST_CASE("a model with code of its own that calls itself mixtral is not read as mixtral where it scales something") {
  const Changed config("mixtral_f32");
  const std::string code = R"({"AutoModelForCausalLM": "modeling_mixtral.MixtralForCausalLM"})";
  CHECK(config.refused({{"auto_map", code}, {"scale_factor", "4.0"}}) == "scale_factor");
  CHECK(config.refused({{"auto_map", code}, {"logit_multiplier", "1"}}) == "logit_multiplier");
  CHECK(config.refused({{"auto_map", code}, {"scale_factor", "null"}}).empty());
  CHECK(config.refused("auto_map", code).empty());
  CHECK(config.describe({{"scale_factor", "4.0"}}).unknown_keys == std::vector<std::string>{"scale_factor"});
}

TEST_CASE("every layer of mixtral has the window, which is none without the key and never 0 (D24)") {
  const Changed config("mixtral_f32");
  const auto words = [&](const Changed::Keys& keys) { return ModelDescription::words(config.describe(keys).mixers); };
  CHECK(words({}) == "6 heads of 14, 2 KV heads, window 7");
  CHECK(words({{"sliding_window", ""}}) == "6 heads of 14, 2 KV heads");
  CHECK(words({{"sliding_window", "null"}}) == "6 heads of 14, 2 KV heads");
  CHECK(config.refused("sliding_window", "0") == "sliding_window");
  CHECK(config.refused("layer_types", R"(["full_attention", "sliding_attention", "full_attention"])") == "layer_types");
}

TEST_CASE("what mixtral does not compute is refused by name") {
  const Changed config("mixtral_stacked_bf16");
  CHECK(config.refused("hidden_act", "\"gelu\"") == "hidden_act");
  CHECK(config.refused("quantization_config", R"({"quant_method": "gptq"})") == "quantization_config.quant_method");
  CHECK(config.refused("architectures", R"(["OlmoeForCausalLM"])") == "architectures");
  CHECK(config.refused("num_experts_per_tok", "12") == "num_experts_per_tok");
  CHECK(config.refused("num_experts_per_tok", "11").empty());
  CHECK(config.refused("num_experts", "10") == "num_local_experts");
}
