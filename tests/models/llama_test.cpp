#include "headgate/models/llama.hpp"

#include "models/changed_config.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("what llama does not compute is refused by name") {
  const ChangedConfig config("llama_f32");
  // transformers turns all channels whatever it says.
  CHECK(config.refused("partial_rotary_factor", "0.5") == "rope_parameters.partial_rotary_factor");
  CHECK(config.refused("partial_rotary_factor", "1.0").empty());
  CHECK(config.refused("sliding_window", "4096").empty());  // which nothing reads
  CHECK(config.refused({{"sliding_window", "4096"}, {"use_sliding_window", "false"}}).empty());
  CHECK(config.refused("layer_types", "[\"sliding_attention\"]") == "layer_types");
  CHECK(config.refused("hidden_act", "\"gelu\"") == "hidden_act");
  CHECK(config.refused("quantization_config", R"({"quant_method": "fp8"})") == "quantization_config.quant_method");
  CHECK(config.refused("pretraining_tp", "2").empty());
  CHECK(config.describe().routed_layers == 0);
}
