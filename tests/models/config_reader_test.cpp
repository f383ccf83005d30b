#include "headgate/models/config_reader.hpp"

#include "headgate/io/json.hpp"
#include "io/refusal.hpp"

using namespace headgate;

namespace {

// What a reader makes of a document, or the field it refuses.
template <class Read>
auto read(const std::string& text, Read&& reader) {
  const Json json = parse_json(text, "config.json");
  return reader(JsonObject(json, "config.json"));
}
template <class Read>
std::string refused(const std::string& text, Read&& reader) {
  const Error error = io_test::error_of([&] { read(text, reader); });
  CHECK(error.code() == ErrorCode::bad_file);
  return error.detail().field;
}

}  // namespace

TEST_CASE("a window of 0 is none, and any other counts only where use_sliding_window says so") {
  const auto reader = [](const JsonObject& json) { require_no_sliding_window(json); };
  for (const char* const neutral :
       {"{}", "{\"sliding_window\": 0}", "{\"sliding_window\": null, \"use_sliding_window\": true}",
        "{\"sliding_window\": 0, \"use_sliding_window\": true}",
        "{\"use_sliding_window\": null, \"sliding_window\": 9}",
        "{\"sliding_window\": 4096, \"use_sliding_window\": false}", "{\"layer_types\": [\"full_attention\"]}"}) {
    INFO(neutral);
    CHECK_NOTHROW(read(neutral, reader));
  }
  CHECK(refused("{\"sliding_window\": 1, \"use_sliding_window\": true}", reader) == "use_sliding_window");
  CHECK(refused("{\"sliding_window\": -1}", reader) == "sliding_window");
}

TEST_CASE("layers that the model does not have are no dense ones, whatever their number") {
  const auto reader = [](const JsonObject& json) { return read_layers(json, "layers"); };
  CHECK(read("{\"layers\": [1, -1, 4095, 4096, 9223372036854775807, -9223372036854775807]}", reader) ==
        std::vector<index_t>{1, 4095});
  CHECK(refused("{\"layers\": [1, \"2\"]}", reader) == "layers");
  CHECK(refused("{\"layers\": [0.5]}", reader) == "layers");
}

TEST_CASE("the number of experts has two names") {
  CHECK(read("{\"num_experts\": 8}", read_num_experts) == 8);
  CHECK(read("{\"num_local_experts\": 8}", read_num_experts) == 8);
  CHECK(read("{\"num_experts\": 8, \"num_local_experts\": 8}", read_num_experts) == 8);
  CHECK(refused("{\"num_experts\": 8, \"num_local_experts\": 7}", read_num_experts) == "num_local_experts");
  CHECK(refused("{}", read_num_experts) == "num_experts");
}

TEST_CASE("head_dim is given or follows from the width") {
  ModelConfig config;
  config.hidden_size = 48;
  config.num_attention_heads = 6;
  const auto reader = [&](const JsonObject& json) { return read_head_dim(json, "head_dim", config); };
  CHECK(read("{}", reader) == 8);
  CHECK(read("{\"head_dim\": null}", reader) == 8);
  CHECK(read("{\"head_dim\": 26}", reader) == 26);
  CHECK(refused("{\"head_dim\": 5}", reader) == "head_dim");
  config.num_attention_heads = 48;
  CHECK(refused("{}", reader) == "head_dim");
  config.num_attention_heads = 5;
  CHECK(refused("{}", reader) == "num_attention_heads");
}

TEST_CASE("a key with a neutral value may be there with that value") {
  const auto flag = [](const JsonObject& json) { require_neutral(json, "flag", false); };
  const auto count = [](const JsonObject& json) { require_neutral(json, "count", std::int64_t{0}); };
  const auto factor = [](const JsonObject& json) { require_neutral(json, "factor", 1.0); };
  const auto none = [](const JsonObject& json) { require_absent(json, "key"); };
  read("{\"flag\": false, \"count\": 0, \"factor\": 1, \"key\": null}", [&](const JsonObject& json) {
    flag(json);
    count(json);
    factor(json);
    none(json);
  });
  CHECK(refused("{\"flag\": true}", flag) == "flag");
  CHECK(refused("{\"count\": 1}", count) == "count");
  CHECK(refused("{\"factor\": 0.5}", factor) == "factor");
  CHECK_NOTHROW(read("{\"key\": {}}", none));
  CHECK(refused("{\"key\": {\"a\": null}}", none) == "key");
  CHECK(refused("{\"key\": []}", none) == "key");
}

TEST_CASE("a dense width is required where there is a dense layer") {
  ModelConfig config;
  config.num_hidden_layers = 2;
  config.num_experts = 4;
  const auto reader = [&](const JsonObject& json) { return read_dense_width(json, "intermediate_size", config); };
  CHECK(read("{}", reader) == 0);
  CHECK(read("{\"intermediate_size\": 9}", reader) == 0);  // nothing reads it
  CHECK(read("{\"intermediate_size\": 0}", reader) == 0);
  CHECK(read("{\"intermediate_size\": \"none\"}", reader) == 0);
  config.mlp_only_layers = {1};
  CHECK(refused("{\"intermediate_size\": 0}", reader) == "intermediate_size");
  CHECK(refused("{}", reader) == "intermediate_size");
  CHECK(read("{\"intermediate_size\": 9}", reader) == 9);
}

TEST_CASE("end-of-text ids are sorted, distinct and from every file") {
  ModelConfig config;
  config.vocab_size = 10;
  const auto reader = [&](const JsonObject& json) { add_eos(json, config); };
  read("{\"eos_token_id\": [7, 3, 7]}", reader);
  read("{\"eos_token_id\": 5}", reader);
  read("{\"eos_token_id\": null}", reader);
  read("{}", reader);
  CHECK(config.eos_token_ids == std::vector<std::int32_t>{3, 5, 7});
  CHECK(refused("{\"eos_token_id\": 10}", reader) == "eos_token_id");
}

TEST_CASE("numbers of a configuration are read up to both ends of their range") {
  const auto context = [](const JsonObject& json) { return read_context_size(json, "n"); };
  CHECK(read("{\"n\": 1}", context) == 1);
  CHECK(read("{\"n\": " + std::to_string(ConfigLimits::context_size) + "}", context) == ConfigLimits::context_size);
  CHECK(refused("{\"n\": 0}", context) == "n");
  const Error too_long = io_test::error_of(
      [&] { read("{\"n\": " + std::to_string(std::int64_t{ConfigLimits::context_size} + 1) + "}", context); });
  CHECK(too_long.code() == ErrorCode::limit);
  CHECK(too_long.detail().offset == 6);
  CHECK(std::string(too_long.what())
            .find("too many positions (has " + std::to_string(std::int64_t{ConfigLimits::context_size} + 1) +
                  ", allowed " + std::to_string(ConfigLimits::context_size) + ")") != std::string::npos);
  CHECK(ConfigLimits::context_size == max_index - panel_rows);

  const auto epsilon = [](const JsonObject& json) { return read_epsilon(json, "e"); };
  CHECK(read("{\"e\": 1}", epsilon) == 1.0f);
  CHECK(read("{\"e\": 1e-45}", epsilon) > 0.0f);
  CHECK(refused("{\"e\": 1.001}", epsilon) == "e");
  CHECK(refused("{\"e\": 9e-46}", epsilon) == "e");

  const auto kv_heads = [](const JsonObject& json) { return read_kv_heads(json, "h", 6); };
  for (const int heads : {1, 2, 3, 6}) CHECK(read("{\"h\": " + std::to_string(heads) + "}", kv_heads) == heads);
  for (const int heads : {0, 4, 5, 7, 12}) CHECK(refused("{\"h\": " + std::to_string(heads) + "}", kv_heads) == "h");

  CHECK(read("{\"num_experts\": 65536}", read_num_experts) == 65536);
  CHECK(read("{\"num_experts\": 1}", read_num_experts) == 1);
  CHECK(refused("{\"num_experts\": 65537}", read_num_experts) == "num_experts");
  CHECK(refused("{\"num_experts\": 0}", read_num_experts) == "num_experts");
  CHECK(refused("{\"num_local_experts\": 65537}", read_num_experts) == "num_local_experts");

  ModelConfig config;
  config.hidden_size = 8;
  config.num_attention_heads = 4;
  const auto head_dim = [&](const JsonObject& json) { return read_head_dim(json, "d", config); };
  CHECK(read("{}", head_dim) == 2);
  CHECK(read("{\"d\": 2}", head_dim) == 2);
  CHECK(read("{\"d\": 4096}", head_dim) == 4096);
  CHECK(refused("{\"d\": 4098}", head_dim) == "d");
  CHECK(refused("{\"d\": 1}", head_dim) == "d");

  config.num_hidden_layers = 1;
  const auto width = [&](const JsonObject& json) { return read_dense_width(json, "w", config); };
  CHECK(read("{\"w\": 1}", width) == 1);
  CHECK(read("{\"w\": 1048576}", width) == 1048576);
  CHECK(refused("{\"w\": 1048577}", width) == "w");
}

TEST_CASE("an architecture, an activation, a file and a kind of layer that are not known are named") {
  const auto says = [](const std::string& text, auto&& reader, const std::string& part) {
    const Error error = io_test::error_of([&] { read(text, reader); });
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(std::string(error.what()).find(part) != std::string::npos);
  };
  const auto architecture = [](const JsonObject& json) { check_architecture(json, "Known"); };
  for (const char* const good : {"{}", "{\"architectures\": []}", "{\"architectures\": [\"Other\", \"Known\"]}"})
    CHECK_NOTHROW(read(good, architecture));
  says("{\"architectures\": [\"Other\", \"Third\"]}", architecture, "expected Known, as model_type says, found Other");

  const auto silu = [](const JsonObject& json) { require_silu(json, "act"); };
  for (const char* const good : {"{}", "{\"act\": \"silu\"}", "{\"act\": \"swish\"}"}) CHECK_NOTHROW(read(good, silu));
  says("{\"act\": \"gelu\"}", silu, "the activation \"gelu\" is not supported, known: \"silu\"");

  const auto weights = [](const JsonObject& json) { require_usual_weights(json); };
  CHECK_NOTHROW(read("{\"transformers_weights\": \"model.safetensors\"}", weights));
  says("{\"transformers_weights\": \"other.bin\"}", weights,
       "weights in \"other.bin\" are not supported, expected \"model.safetensors\"");

  const auto window = [](const JsonObject& json) { require_no_sliding_window(json); };
  says("{\"layer_types\": [\"full_attention\", \"sliding_attention\"]}", window,
       "the kind \"sliding_attention\" is not supported, known: \"full_attention\"");
  CHECK_NOTHROW(read("{\"sliding_window\": 2147483647}", window));
  says("{\"use_sliding_window\": true, \"sliding_window\": 1}", window, "expected false");

  const auto flag = [](const JsonObject& json) { require_neutral(json, "flag", true); };
  CHECK_NOTHROW(read("{\"flag\": true}", flag));
  says("{\"flag\": false}", flag, "false is not supported");
  says(
      "{\"flag\": true}", [](const JsonObject& json) { require_neutral(json, "flag", false); },
      "true is not supported");
  says(
      "{\"key\": 3}", [](const JsonObject& json) { require_absent(json, "key"); },
      "not supported, expected null, found 3");
}

TEST_CASE("ids of the first and the last token are tokens, a begin is none where nothing says it") {
  ModelConfig config;
  config.vocab_size = 10;
  const auto reader = [&](const JsonObject& json) { read_token_ids(json, config); };
  read("{\"bos_token_id\": 9, \"eos_token_id\": [0, 9]}", reader);
  CHECK(config.bos_token_id == 9);
  CHECK(config.eos_token_ids == std::vector<std::int32_t>{0, 9});
  read("{\"bos_token_id\": 0}", reader);
  CHECK(config.bos_token_id == 0);
  read("{}", reader);
  CHECK(config.bos_token_id == -1);
  CHECK(refused("{\"bos_token_id\": 10}", reader) == "bos_token_id");
  CHECK(refused("{\"eos_token_id\": [10]}", reader) == "eos_token_id");
  CHECK(refused("{\"eos_token_id\": -1}", reader) == "eos_token_id");
}
