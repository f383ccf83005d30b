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

TEST_CASE("a window is none without the key, and never 0 (D24)") {
  const auto reader = [](const JsonObject& json) { return read_window(json, "sliding_window"); };
  CHECK(read("{}", reader) == 0);
  CHECK(read("{\"sliding_window\": null}", reader) == 0);
  CHECK(read("{\"sliding_window\": 2147483647}", reader) == 2147483647);
  CHECK(refused("{\"sliding_window\": 0}", reader) == "sliding_window");
  CHECK(refused("{\"sliding_window\": -1}", reader) == "sliding_window");
}

TEST_CASE("layers that have a window need one, others need none") {
  const auto used = [](const JsonObject& json) { return read_window(json, "sliding_window", true); };
  const auto by_class = [](const JsonObject& json) { return read_window(json, "sliding_window", true, 128); };
  const auto unused = [](const JsonObject& json) { return read_window(json, "sliding_window", false, 128); };
  CHECK(read("{\"sliding_window\": 7}", used) == 7);
  CHECK(read("{\"sliding_window\": 7}", by_class) == 7);
  CHECK(read("{}", by_class) == 128);
  CHECK(refused("{}", used) == "sliding_window");
  for (const char* const none : {"{\"sliding_window\": null}", "{\"sliding_window\": 0}"}) {
    CHECK(refused(none, used) == "sliding_window");
    CHECK(refused(none, by_class) == "sliding_window");
    CHECK(read(none, unused) == 0);
  }
  CHECK(read("{\"sliding_window\": 7}", unused) == 0);
  CHECK(refused("{\"sliding_window\": -1}", unused) == "sliding_window");
}

TEST_CASE("the kinds of layers are one for each, of those that are known, or what their absence means") {
  const auto reader = [](const JsonObject& json) {
    return read_layer_types(json, 3, {"a", "b"}, [](index_t l) { return l == 1 ? "b" : "a"; });
  };
  CHECK(read("{\"layer_types\": [\"b\", \"b\", \"a\"]}", reader) == std::vector<std::string>{"b", "b", "a"});
  CHECK(read("{\"layer_types\": null}", reader) == std::vector<std::string>{"a", "b", "a"});
  for (const char* const bad :
       {"[\"a\", \"a\"]", "[\"a\", \"a\", \"a\", \"a\"]", "[\"a\", \"c\", \"a\"]", "\"a\"", "[1, 2, 3]"}) {
    CHECK(refused(std::string("{\"layer_types\": ") + bad + "}", reader) == "layer_types");
  }
  const auto required = [](const JsonObject& json) { return read_layer_types(json, 1, {"a"}); };
  CHECK(refused("{}", required) == "layer_types");
  CHECK_NOTHROW(read("{\"layer_types\": [\"full_attention\"]}", require_full_attention));
  CHECK(refused("{\"layer_types\": [\"conv\"]}", require_full_attention) == "layer_types");
  const auto mlp = [](const JsonObject& json) {
    return read_mlp_layer_types(json, 2, [](index_t l) { return l > 0; });
  };
  CHECK(read("{}", mlp) == std::vector<bool>{false, true});
  CHECK(read("{\"mlp_layer_types\": [\"sparse\", \"dense\"]}", mlp) == std::vector<bool>{true, false});
  CHECK(refused("{\"mlp_layer_types\": [\"sparse\", \"both\"]}", mlp) == "mlp_layer_types");
}

TEST_CASE("layers have experts by step and by list, and a dense width is required where one has none") {
  const auto sparse = [](const JsonObject& json) { return read_sparse_layers(json, 4); };
  CHECK(read("{}", sparse) == std::vector<bool>{true, true, true, true});
  CHECK(read("{\"decoder_sparse_step\": 2}", sparse) == std::vector<bool>{false, true, false, true});
  CHECK(read("{\"mlp_only_layers\": [0, 3]}", sparse) == std::vector<bool>{false, true, true, false});
  const auto width = [](const JsonObject& json) {
    return read_dense_width(json, "intermediate_size", read_sparse_layers(json, 2));
  };
  CHECK(read("{}", width) == 0);
  CHECK(read("{\"intermediate_size\": 0}", width) == 0);  // nothing reads it
  CHECK(read("{\"intermediate_size\": \"none\"}", width) == 0);
  const std::string dense = "\"mlp_only_layers\": [1]}";
  CHECK(refused("{\"intermediate_size\": 0, " + dense, width) == "intermediate_size");
  CHECK(refused("{" + dense, width) == "intermediate_size");
  CHECK(refused("{\"intermediate_size\": 1048577, " + dense, width) == "intermediate_size");
  CHECK(read("{\"intermediate_size\": 1048576, " + dense, width) == 1048576);
}

TEST_CASE("a number of two names is read by either, and both agree") {
  const auto reader = [](const JsonObject& json) { return read_same(json, "a", "b", 9); };
  CHECK(read("{\"a\": 3}", reader) == 3);
  CHECK(read("{\"b\": 3}", reader) == 3);
  CHECK(read("{\"a\": 3, \"b\": 3}", reader) == 3);
  CHECK(refused("{\"a\": 3, \"b\": 4}", reader) == "b");
  CHECK(refused("{\"b\": 10}", reader) == "b");
  CHECK(refused("{}", reader) == "a");
}

TEST_CASE("a model with code of its own may not scale what nobody reads") {
  const auto reader = [](const JsonObject& json) { refuse_custom_scales(json); };
  for (const char* const good : {"{\"scale_factor\": 4.0}", "{\"auto_map\": {}, \"scale_factor\": 4.0}",
                                 "{\"auto_map\": {\"AutoModel\": \"m.py\"}}",
                                 "{\"auto_map\": {\"AutoModel\": \"m.py\"}, \"scale_factor\": null, \"other\": 4}"}) {
    CHECK_NOTHROW(read(good, reader));
  }
  CHECK(refused("{\"auto_map\": {\"AutoModel\": \"m.py\"}, \"scale_factor\": 4.0}", reader) == "scale_factor");
  CHECK(refused("{\"auto_map\": {\"AutoModel\": \"m.py\"}, \"logit_scale\": 1}", reader) == "logit_scale");
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
  const auto heads = [](int count, const std::string& more = "") {
    return "{\"num_attention_heads\": " + std::to_string(count) + ", \"num_key_value_heads\": 1" + more + "}";
  };
  const auto reader = [](const JsonObject& json) { return read_heads(json, 48).head_dim; };
  CHECK(read(heads(6), reader) == 8);
  CHECK(read(heads(6, ", \"head_dim\": null"), reader) == 8);
  CHECK(read(heads(6, ", \"head_dim\": 26"), reader) == 26);
  CHECK(read(heads(5, ", \"head_dim\": 2"), reader) == 2);
  CHECK(read(heads(5, ", \"head_dim\": 4096"), reader) == 4096);
  CHECK(read(heads(24), reader) == 2);
  for (const char* const bad : {"5", "1", "0", "4098"}) {
    CHECK(refused(heads(6, std::string(", \"head_dim\": ") + bad), reader) == "head_dim");
  }
  CHECK(refused(heads(48), reader) == "head_dim");
  CHECK(refused(heads(5), reader) == "num_attention_heads");
  const std::string without = "{\"num_attention_heads\": 6}";
  CHECK(refused(without, reader) == "num_key_value_heads");
  CHECK(read(without, [](const JsonObject& json) { return read_heads(json, 48, true).num_kv_heads; }) == 6);
}

TEST_CASE("a key with a neutral value may be there with that value") {
  const auto flag = [](const JsonObject& json) { require_neutral(json, "flag", false); };
  const auto count = [](const JsonObject& json) { require_neutral(json, "count", std::int64_t{0}); };
  const auto factor = [](const JsonObject& json) { require_neutral(json, "factor", 1.0); };
  read("{\"flag\": false, \"count\": 0, \"factor\": 1}", [&](const JsonObject& json) {
    flag(json);
    count(json);
    factor(json);
  });
  CHECK(refused("{\"flag\": true}", flag) == "flag");
  CHECK(refused("{\"count\": 1}", count) == "count");
  CHECK(refused("{\"factor\": 0.5}", factor) == "factor");
}

TEST_CASE("of quantized weights whole numbers of eight bits with a scale a row are known") {
  const auto check = [](const JsonObject& json) { check_quantization(json); };
  const auto config = [](const std::string& method, const std::string& format, const std::string& weights) {
    return "{\"quantization_config\": {\"quant_method\": " + method + ", \"format\": " + format +
           ", \"config_groups\": {\"group_0\": {\"targets\": [\"Linear\"], \"weights\": " + weights + "}}}}";
  };
  const std::string method = "\"compressed-tensors\"";
  const std::string format = "\"int-quantized\"";
  const auto weights = [](const std::string& bits, const std::string& strategy, const std::string& symmetric) {
    return "{\"num_bits\": " + bits + ", \"type\": \"int\", \"strategy\": " + strategy +
           ", \"symmetric\": " + symmetric + "}";
  };
  const std::string known = weights("8", "\"channel\"", "true");
  for (const char* const none : {"{}", "{\"quantization_config\": null}", "{\"quantization_config\": {}}"}) {
    CHECK_NOTHROW(read(none, check));
  }
  CHECK_NOTHROW(read(config(method, format, known), check));
  CHECK(refused(config("\"gptq\"", format, known), check) == "quantization_config.quant_method");
  CHECK(refused(config(method, "\"pack-quantized\"", known), check) == "quantization_config.format");
  const std::string where = "quantization_config.config_groups.group_0.weights.";
  CHECK(refused(config(method, format, weights("4", "\"channel\"", "true")), check) == where + "num_bits");
  CHECK(refused(config(method, format, weights("8", "\"tensor\"", "true")), check) == where + "strategy");
  CHECK(refused(config(method, format, weights("8", "\"channel\"", "false")), check) == where + "symmetric");
  CHECK(refused("{\"quantization_config\": 3}", check) == "quantization_config");
  CHECK(refused("{\"quantization_config\": {\"bits\": 4}}", check) == "quantization_config.quant_method");
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

  says("{\"layer_types\": [\"full_attention\", \"sliding_attention\"]}", require_full_attention,
       "the kind \"sliding_attention\" is not supported, known: \"full_attention\"");

  const auto flag = [](const JsonObject& json) { require_neutral(json, "flag", true); };
  CHECK_NOTHROW(read("{\"flag\": true}", flag));
  says("{\"flag\": false}", flag, "false is not supported");
  says(
      "{\"flag\": true}", [](const JsonObject& json) { require_neutral(json, "flag", false); },
      "true is not supported");
  says("{\"quantization_config\": {\"quant_method\": \"awq\"}}", check_quantization,
       "\"awq\" is not supported, known: compressed-tensors");
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
