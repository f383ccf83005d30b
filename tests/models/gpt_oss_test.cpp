#include "headgate/models/gpt_oss.hpp"

#include "models/changed_config.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("gpt_oss that contradicts itself or its class is refused by name") {
  const ChangedConfig config("gpt_oss_mxfp4");
  CHECK(config.refused("experts_per_token", "2") == "experts_per_token");
  CHECK(config.refused("experts_per_token", "").empty());
  CHECK(config.refused("num_experts_per_tok", "").empty());  // the other name says it
  CHECK(config.refused({{"num_experts_per_tok", ""}, {"experts_per_token", ""}}) == "num_experts_per_tok");
  CHECK(config.refused("num_experts", "4") == "num_local_experts");
  for (const char* const value : {"0", "null", "-1"}) {
    CHECK(config.refused("sliding_window", value) == "sliding_window");
  }
  CHECK(config.refused("swiglu_limit", "0") == "swiglu_limit");
  CHECK(config.refused("swiglu_alpha", "\"1.702\"") == "swiglu_alpha");
  CHECK(config.refused("layer_types", R"(["full_attention"])") == "layer_types");
  CHECK(config.refused("hidden_act", "\"gelu\"").empty());  // the class has its own
}

TEST_CASE("experts of gpt_oss are in MXFP4 or in bfloat16, and no other method is known") {
  const ChangedConfig config("gpt_oss_mxfp4");
  const std::string key = "quantization_config";
  CHECK(config.refused(key, R"({"quant_method": "fp8"})") == "quantization_config.quant_method");
  CHECK(config.refused(key, R"({"bits": 4})") == "quantization_config.quant_method");
  CHECK(config.refused(key, R"({"quant_method": null})") == "quantization_config.quant_method");
  CHECK(config.refused(key, "[]") == key);
  CHECK(config.refused(key, "null").empty());  // the tensors say so themselves
  CHECK(ChangedConfig("gpt_oss_bf16").refused(key, R"({"quant_method": "mxfp4"})").empty());
}
