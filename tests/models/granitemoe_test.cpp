#include "headgate/models/granitemoe.hpp"

#include "models/changed_config.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("a multiplier of granite that is null, 0 or negative is refused, one that is left out is 1") {
  const ChangedConfig config("granitemoe_f32");
  for (const std::string key :
       {"attention_multiplier", "embedding_multiplier", "residual_multiplier", "logits_scaling"}) {
    for (const char* const value : {"null", "0", "-0.5", "\"1\"", "1e400"}) CHECK(config.refused(key, value) == key);
    CHECK(config.refused(key, "").empty());
  }
}

TEST_CASE("granite models of other positions, windows or shared experts than their family has are refused") {
  const ChangedConfig config("granitemoe_f32");
  CHECK(config.refused("position_embedding_type", "\"nope\"") == "position_embedding_type");
  CHECK(config.refused("position_embedding_type", "\"rope\"").empty());
  CHECK(config.refused("position_embedding_type", "null").empty());
  CHECK(config.refused("shared_intermediate_size", "29") == "shared_intermediate_size");
  CHECK(config.refused("shared_intermediate_size", "0").empty());
  CHECK(config.refused("sliding_window", "4").empty());  // which nothing reads
  CHECK(config.refused("layer_types", "[\"sliding_attention\"]") == "layer_types");
  CHECK(config.refused("hidden_act", "\"gelu\"") == "hidden_act");
  const ChangedConfig shared("granitemoeshared_f32");
  CHECK(shared.refused("shared_intermediate_size", "-1") == "shared_intermediate_size");
  CHECK(shared.refused("sliding_window", "4").empty());  // which nothing reads
  const std::string unused = "model.layers.0.shared_mlp.input_linear.weight";
  const std::vector<std::string> left = shared.describe({{"shared_intermediate_size", "0"}}).unused_tensors;
  CHECK(std::find(left.begin(), left.end(), unused) != left.end());
}

TEST_CASE("granitemoe_swa has a window where a layer slides and a theta for each layer") {
  const ChangedConfig config("granitemoe_swa_f32");
  CHECK(config.refused("sliding_window", "0") == "sliding_window");
  CHECK(config.refused("sliding_window", "null") == "sliding_window");
  const auto words = [&](const ChangedConfig::Keys& keys) {
    return ModelDescription::words(config.describe(keys).mixers);
  };
  CHECK(io_test::contains(words({{"sliding_window", ""}}), "window 128, sinks"));
  CHECK(!io_test::contains(
      words({{"sliding_window", "0"},
             {"layer_types", R"(["full_attention", "full_attention", "full_attention", "full_attention"])"}}),
      "window"));
  CHECK(config.refused("layer_types", R"(["full_attention"])") == "layer_types");
  CHECK(config.refused("layer_types", R"(["full_attention", "conv", "conv", "conv"])") == "layer_types");
  CHECK(config.refused("layer_rope_theta", "[1e4, 1e4]") == "layer_rope_theta");
  CHECK(config.refused("layer_rope_theta", "[1e4, 1e4, 1e4, 1e4, 1e4]") == "layer_rope_theta");
  CHECK(config.refused("layer_rope_theta", "[1e4, -1, 0, 1e4]") == "layer_rope_theta");
  CHECK(config.refused("layer_rope_theta", "[1e4, 0.5, 0, 1e4]") == "layer_rope_theta");
}
