#include "headgate/models/qwen2_moe.hpp"

#include "models/changed_config.hpp"

using namespace headgate;
using namespace models_test;

namespace {

const std::string full = "\"full_attention\"";
const std::string sliding = "\"sliding_attention\"";

std::vector<index_t> windows(const std::string& text) {
  const Json json = parse_json(text, "config.json");
  return Qwen2Moe::read_windows(JsonObject(json, "config.json"), 4);
}

}  // namespace

TEST_CASE("layers of qwen2_moe have windows where layer_types and use_sliding_window agree") {
  const std::string types = ", \"layer_types\": [" + full + "," + sliding + "," + sliding + "," + full + "]";
  const std::string used = "\"use_sliding_window\": true";
  CHECK(windows("{}") == std::vector<index_t>{0, 0, 0, 0});
  CHECK(windows(R"({"use_sliding_window": false, "sliding_window": 0})") == std::vector<index_t>{0, 0, 0, 0});
  CHECK(windows(R"({"use_sliding_window": false, "sliding_window": 32768})") == std::vector<index_t>{0, 0, 0, 0});
  CHECK(windows("{" + used + types + ", \"sliding_window\": 7}") == std::vector<index_t>{0, 7, 7, 0});
  CHECK(windows("{" + used + types + "}") == std::vector<index_t>{0, 4096, 4096, 0});
  CHECK(windows("{" + used + ", \"sliding_window\": 7, \"max_window_layers\": 2}") == std::vector<index_t>{7, 0, 0, 0});
  const auto refused = [](const std::string& text) { return io_test::error_of([&] { windows(text); }).detail().field; };
  CHECK(refused("{\"use_sliding_window\": false" + types + "}") == "layer_types");
  CHECK(refused("{\"sliding_window\": 7" + types + "}") == "layer_types");
  CHECK(refused("{" + used + types + ", \"sliding_window\": 0}") == "sliding_window");
  CHECK(refused("{" + used + types + ", \"sliding_window\": null}") == "sliding_window");
  CHECK(refused("{" + used + ", \"layer_types\": [" + full + "]}") == "layer_types");
}

TEST_CASE("what qwen2_moe does not compute is refused by name") {
  const ChangedConfig config("qwen2_moe_f32");
  CHECK(config.refused("use_sliding_window", "false") == "layer_types");
  CHECK(config.refused("shared_expert_intermediate_size", "0") == "shared_expert_intermediate_size");
  CHECK(config.refused("mlp_only_layers", "[1.5]") == "mlp_only_layers");
  CHECK(config.refused("decoder_sparse_step", "0") == "decoder_sparse_step");
  CHECK(config.refused("qkv_bias", "1") == "qkv_bias");
  CHECK(config.refused("hidden_act", "\"relu\"") == "hidden_act");
  CHECK(config.refused("num_local_experts", "5") == "num_local_experts");
}
