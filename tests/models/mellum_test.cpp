#include "headgate/models/mellum.hpp"

#include "models/changed_config.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("mellum has rotary positions for each kind of layer, and no others") {
  const ChangedConfig config("mellum_f32");
  const std::string flat = R"({"rope_type": "default", "rope_theta": 500.0})";
  CHECK(config.refused("rope_parameters", flat) == "rope_parameters.sliding_attention");
  CHECK(config.refused("rope_parameters", "") == "rope_parameters");
  CHECK(config.refused("rope_parameters", "null") == "rope_parameters");
  CHECK(config.refused("rope_parameters", "{\"full_attention\": " + flat + "}") == "rope_parameters.sliding_attention");
  CHECK(config.refused("rope_parameters", "{\"full_attention\": " + flat + ", \"sliding_attention\": null}") ==
        "rope_parameters.sliding_attention");
  CHECK(config.refused("rope_theta", "500.0") == "rope_theta");
  CHECK(config.refused("rope_scaling", R"({"rope_type": "linear", "factor": 2.0})") == "rope_scaling");
  const std::string all_full = R"(["full_attention", "full_attention", "full_attention", "full_attention"])";
  CHECK(config
            .refused({{"layer_types", all_full},
                      {"rope_parameters", "{\"full_attention\": " + flat + ", \"sliding_attention\": null}"}})
            .empty());
}

TEST_CASE("layers of mellum that slide have a window, whatever else the configuration says") {
  const ChangedConfig config("mellum_f32");
  CHECK(config.refused("use_sliding_window", "false") == "use_sliding_window");
  CHECK(config.refused("use_sliding_window", "").empty());
  for (const char* const value : {"", "null", "0", "-1"}) {
    CHECK(config.refused("sliding_window", value) == "sliding_window");
  }
  CHECK(config.refused("layer_types", "") == "layer_types");
  CHECK(config.refused("mlp_layer_types", R"(["sparse"])") == "mlp_layer_types");
  CHECK(config.refused("num_experts", "3") == "num_local_experts");
  CHECK(config.refused("hidden_act", "\"gelu\"") == "hidden_act");
}
