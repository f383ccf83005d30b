// Decoders of the family against references outside this project: a trained checkpoint and tiny random ones.
#include "headgate/models/qwen3_moe.hpp"

#include "models/reference_run.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("the demo model writes the reference's tokens with its log-probabilities, the same bits however it is run") {
  const Json json = parse_json(read_all(golden_folder + "tales/expected.json"), "expected.json");
  check_continuations(load_model(tales), JsonObject(json, "expected.json"));
}

TEST_CASE("the demo model routes as the reference does, however it is run") {
  const Json json = parse_json(read_all(golden_folder + "tales/expected.json"), "expected.json");
  check_routes(load_model(tales), JsonObject(json, "expected.json"));
}

namespace {

// The model against a file of what transformers computed with it.
void check_agrees(const std::shared_ptr<const Model>& model, const std::string& path) {
  const Json json = read_json(path);
  const JsonObject expected(json, "expected.json");
  const std::vector<std::int32_t> prompt = ids(*expected.value("prompt"));
  const std::vector<std::int32_t> wanted = ids(*expected.value("greedy"));
  REQUIRE(wanted.size() == 64);
  CHECK(greedy_tokens(model, prompt, wanted.size()) == wanted);

  std::vector<std::int32_t> text = prompt;
  text.insert(text.end(), wanted.begin(), wanted.end());
  const Run run(model, text, static_cast<index_t>(text.size()), 1);
  const std::span<const Json> logits = expected.get_list("logits");
  double worst = largest_difference(run.rows().row(run.rows().rows - 1), numbers(*expected.value("logits_last")));
  for (std::size_t i = 0; i < logits.size(); ++i) {
    worst = std::max(worst, largest_difference(run.rows().row(static_cast<index_t>(i)), numbers(logits[i])));
  }
  CHECK(worst < 1e-4);
  for (const index_t piece : {1, 7, 64}) {
    for (const index_t threads : {1, 2, 3}) {
      INFO("pieces of " << piece << ", threads " << threads);
      CHECK(hash_of(Run(model, text, piece, threads).rows()) == hash_of(run.rows()));
    }
  }
}

}  // namespace

TEST_CASE("tiny random checkpoints agree with transformers to 1e-4 and token for token") {
  for (const std::string name : tiny_names) {
    INFO(name);
    check_agrees(load_model(tiny(name)), tiny(name) + "/expected.json");
  }
}

TEST_CASE("YaRN, set as the model's cards say for long texts, agrees with transformers") {
  Copy copy(tiny("head_f32"));
  copy.set("rope_scaling", "{\"rope_type\": \"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": 24}");
  check_agrees(load_model(copy.path()), tiny("head_f32") + "/expected_yarn.json");
}

TEST_CASE("the configuration says which layers have experts") {
  const auto sparse = [](const std::string& name) {
    const std::shared_ptr<const Model> model = load_model(tiny(name));
    std::vector<bool> layers;
    for (index_t l = 0; l < model->num_layers(); ++l) layers.push_back(model->block(l).routed() != nullptr);
    return layers;
  };
  CHECK(sparse("tied_bf16") == std::vector<bool>{true, false, true});        // mlp_only_layers [1]
  CHECK(sparse("head_f32") == std::vector<bool>{false, true, false, true});  // decoder_sparse_step 2
}

TEST_CASE("weights are divided by their sum only where norm_topk_prob says so") {
  const auto sum_of_row = [](const std::string& name, const std::string& norm_topk_prob) {
    Copy copy(tiny(name));
    copy.set("norm_topk_prob", norm_topk_prob);
    Session session(load_model(copy.path()));
    float sum = 0.0f;
    session.on_route = [&](index_t, index_t, const RoutingPlan& plan) {
      sum = 0.0f;
      for (const float weight : plan.weights(0)) sum += weight;
    };
    Context ctx;
    const std::int32_t token = 3;
    throw_if_error(session.forward({&token, 1}, ctx));
    return sum;
  };
  CHECK(std::abs(sum_of_row("tied_bf16", "true") - 1.0f) < 1e-6f);
  CHECK(sum_of_row("tied_bf16", "false") < 0.999f);
  CHECK(sum_of_row("tied_bf16", "") < 0.999f);  // the default of the class
}

TEST_CASE("a tied model without a head reads its embedding, an untied one needs a head (D25)") {
  CHECK(accepts("tie_word_embeddings", "true"));
  const Error missing = refusal("tie_word_embeddings", "false");
  CHECK(missing.code() == ErrorCode::bad_file);
  CHECK(missing.detail().field == "lm_head.weight");
  // A head that is there although the configuration says tied is the file's word against the configuration's.
  Copy copy(tiny("head_f32"));
  const Json json = read_json(tiny("head_f32") + "/expected.json");
  const JsonObject expected(json, "expected.json");
  copy.set("tie_word_embeddings", "true");
  CHECK(greedy_tokens(load_model(copy.path()), ids(*expected.value("prompt")), 8).back() ==
        ids(*expected.value("greedy"))[7]);
  // The same bytes are one table.
  const std::string file = copy.read("model.safetensors");
  const std::vector<Tensor> tensors = read_safetensors(std::as_bytes(std::span(file.data(), file.size())), "");
  for (const Tensor& t : tensors) {
    if (t.name == "model.embed_tokens.weight") copy.poke("lm_head.weight", 0, file.substr(t.offset, t.bytes.size()));
  }
  CHECK(describe_model(copy.path()).weights.parameters ==
        describe_model(tiny("head_f32")).weights.parameters - 149 * 24);
}

TEST_CASE("keys that change nothing are ignored, keys nobody knows are listed (D5, D23)") {
  Copy copy(tiny("tied_bf16"));
  copy.set("auto_map", "{\"AutoConfig\": \"evil.py\"}");
  copy.set("a_new_key", "[1, {\"deep\": null, \"deep\": 18446744073709551616}, NaN, -Infinity, Infinity, 1e999]");
  copy.set("dtype", "NaN");
  copy.set("initializer_range", "{\"not\": \"a number\"}");
  for (const char* const key : {"attention_bias", "norm_topk_prob", "layer_types", "pad_token_id"}) {
    copy.set(key, "null");
  }
  copy.set("another", "\"" + std::string(8 << 20, 'x') + "\"");
  copy.set("sliding_window", "4096");
  copy.set("partial_rotary_factor", "1.0");
  copy.write("config.json", "{\"dtype\": 1, \"use_cache\": 1e999," + copy.read("config.json").substr(1));
  const ModelDescription model = describe_model(copy.path());
  CHECK(model.unknown_keys == std::vector<std::string>{"another", "a_new_key"});
  CHECK(describe_model(tiny("tied_bf16")).unknown_keys.empty());
  CHECK(describe_model(tiny("head_f32")).unknown_keys.empty());
  CHECK(describe_model(tales).unknown_keys.empty());
}

TEST_CASE("every size of the configuration is checked for type and range (D6, D7, D8)") {
  const char* const sizes[] = {"vocab_size",          "hidden_size",
                               "num_hidden_layers",   "num_attention_heads",
                               "num_key_value_heads", "moe_intermediate_size",
                               "num_local_experts",   "num_experts_per_tok",
                               "intermediate_size",   "max_position_embeddings"};
  for (const std::string key : sizes) {
    for (const char* value : {"", "0", "-1", "4294967304", "1e400", "\"64\"", "64.5", "null", "true", "[64]"}) {
      if (key == "max_position_embeddings" && value == std::string("4294967304")) continue;  // a limit: D17
      const Error error = refusal(key, value);
      CHECK(error.code() == ErrorCode::bad_file);
      CHECK(io_test::contains(error.detail().file, "config.json"));
      const bool is_experts = key == "num_local_experts" && (value == std::string() || value == std::string("null"));
      CHECK(error.detail().field == (is_experts ? "num_experts" : key));
    }
  }
  for (const char* key : {"rms_norm_eps", "rope_parameters"}) {
    const Error error = refusal(key, "");
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(io_test::contains(error.what(), "the key is missing"));
  }
  CHECK(io_test::contains(refusal("rope_parameters", "{}").what(), "rope_theta or rope_parameters.rope_theta"));
  CHECK(io_test::contains(refusal("rope_parameters", "").what(), "rope_theta or rope_parameters.rope_theta"));
  CHECK(io_test::contains(refusal("num_local_experts", "").what(), "num_experts or num_local_experts"));
  CHECK(io_test::contains(refusal("num_experts", "8").what(), "differs"));
  CHECK(accepts("num_experts", "7"));
}

TEST_CASE("sizes that the tensors do not have are refused before anything is allocated (D9, D12, D13, D14)") {
  const auto field = [](const char* key, const char* value) {
    const Error error = refusal(key, value);
    CHECK(error.code() == ErrorCode::bad_file);
    return error.detail().field;
  };
  CHECK(field("num_hidden_layers", "4") == "model.layers.3.input_layernorm.weight");
  CHECK(field("num_hidden_layers", "1000000") == "num_hidden_layers");
  CHECK(field("num_hidden_layers", "4096") == "model.layers.3.input_layernorm.weight");
  for (const char* experts : {"6", "8", "65", "65536"}) {
    CHECK(field("num_local_experts", experts) == "model.layers.0.mlp.gate.weight");
  }
  CHECK(field("num_local_experts", "100000") == "num_local_experts");
  CHECK(accepts("num_experts_per_tok", "7"));
  CHECK(field("num_experts_per_tok", "8") == "num_experts_per_tok");
  CHECK(field("vocab_size", "148") == "model.embed_tokens.weight");
  CHECK(field("vocab_size", "150") == "model.embed_tokens.weight");
  CHECK(field("hidden_size", "48") == "model.embed_tokens.weight");
  CHECK(field("moe_intermediate_size", "21") == "model.layers.0.mlp.experts.0.gate_proj.weight");
  CHECK(field("intermediate_size", "37") == "model.layers.1.mlp.gate_proj.weight");
  CHECK(field("mlp_only_layers", "[0]") == "model.layers.0.mlp.gate_proj.weight");
}

TEST_CASE("heads must divide, and head_dim be even (D10, D11)") {
  const auto field = [](const char* key, const char* value) {
    const Error error = refusal(key, value);
    CHECK(error.code() == ErrorCode::bad_file);
    return error.detail().field;
  };
  CHECK(field("num_key_value_heads", "4") == "num_key_value_heads");
  CHECK(field("num_key_value_heads", "7") == "num_key_value_heads");
  CHECK(field("num_attention_heads", "3") == "num_key_value_heads");
  CHECK(field("head_dim", "0") == "head_dim");
  CHECK(field("head_dim", "7") == "head_dim");
  CHECK(field("head_dim", "25") == "head_dim");
  CHECK(field("head_dim", "24") == "model.layers.0.self_attn.q_proj.weight");
  CHECK(field("head_dim", "") == "num_attention_heads");  // 6 heads do not divide a hidden size of 40
  CHECK(field("head_dim", "4294967322") == "head_dim");
}

TEST_CASE("numbers that no norm or rotation can have are refused (D15, D16, D21)") {
  for (const char* value : {"0", "-1e-6", "1e30", "\"1e-6\"", "null", "\"1e-6,5\""}) {
    const Error error = refusal("rms_norm_eps", value);
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(error.detail().field == "rms_norm_eps");
  }
  for (const char* value : {"NaN", "Infinity", "-Infinity", "1e400"}) {
    const Error error = refusal("rms_norm_eps", value);
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(error.detail().field == "rms_norm_eps");
  }
  CHECK(refusal("rms_norm_eps", "1,5e-6").code() == ErrorCode::bad_file);
  CHECK(accepts("rms_norm_eps", "1e-40"));
  const std::string old = tiny("head_f32");  // of transformers 4
  for (const char* value : {"0", "-1", "1e999", "\"1\"", ""}) {
    CHECK(refusal("rope_theta", value, old).code() == ErrorCode::bad_file);
  }
  for (const char* value :
       {"\"linear\"", "{\"factor\": 2.0}", "{\"type\": \"linear\", \"factor\": 0.5}", "{\"rope_type\": \"yarn\"}",
        "{\"type\": \"default\", \"rope_type\": \"dynamic\", \"factor\": 0}", "4"}) {
    const Error error = refusal("rope_scaling", value, old);
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(io_test::contains(error.detail().field, "rope_scaling"));
  }
  CHECK(accepts("rope_scaling", "{\"type\": \"default\"}", old));
  CHECK(accepts("rope_scaling", "{}", old));
  CHECK(refusal("rope_parameters", "{\"rope_type\": \"llama4\", \"rope_theta\": 1e4}").detail().field ==
        "rope_parameters.rope_type");
  CHECK(accepts("rope_scaling",
                "{\"rope_type\": \"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": 32768}", old));
  CHECK(refusal("rope_parameters", "{\"rope_type\": \"default\"}").detail().field == "rope_theta");
  CHECK(refusal("rope_parameters", "{\"rope_theta\": 1e4, \"partial_rotary_factor\": 0.5}").code() ==
        ErrorCode::bad_file);
  CHECK(refusal("rope_theta", "500.0").detail().field == "rope_theta");  // differs from rope_parameters'
  CHECK(accepts("rope_theta", "10000"));
}

TEST_CASE("a context of nothing is a lie, one beyond 32 bits a limit (D17)") {
  CHECK(refusal("max_position_embeddings", "0").code() == ErrorCode::bad_file);
  CHECK(refusal("max_position_embeddings", "4611686018427387904").code() == ErrorCode::limit);
  CHECK(refusal("max_position_embeddings", "2147483647").code() == ErrorCode::limit);
  CHECK(accepts("max_position_embeddings", "2147483000"));
}

TEST_CASE("what is not implemented is refused by name, with what is known (D18, D19, D22, D24, D26, D30)") {
  const auto message = [](const char* key, const char* value) {
    const Error error = refusal(key, value);
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(error.detail().field == key);
    CHECK(io_test::contains(error.what(), "config.json: "));
    return std::string(error.what());
  };
  CHECK(io_test::contains(message("hidden_act", "\"gelu\""), "known: \"silu\""));
  CHECK(accepts("hidden_act", "\"swish\""));  // the same function
  CHECK(accepts("quantization_config", "{}"));
  message("hidden_act", "3");
  CHECK(io_test::contains(message("model_type", "\"qwen9_moe\""), ", qwen3_moe, "));
  message("model_type", "\"../../etc/passwd\"");
  message("model_type", "");
  message("model_type", "\"\\u001b[31m\"");
  message("quantization_config", "3");
  CHECK(io_test::contains(message("transformers_weights", "\"other.safetensors\""), "expected \"model.safetensors\""));
  CHECK(accepts("transformers_weights", "\"model.safetensors\""));
  message("sliding_window", "-1");
  CHECK(accepts("sliding_window", "0"));
  CHECK(accepts("sliding_window", "128"));
  message("layer_types", "[\"full_attention\", \"sliding_attention\"]");
  CHECK(io_test::contains(message("architectures", "[\"MixtralForCausalLM\"]"), "Qwen3MoeForCausalLM"));
  CHECK(accepts("architectures", "[]"));
  CHECK(accepts("architectures", ""));
  message("norm_topk_prob", "\"true\"");
  message("norm_topk_prob", "1");
  message("qkv_bias", "true");
  message("shared_expert_intermediate_size", "64");
  message("decoder_sparse_step", "0");
  message("mlp_only_layers", "[null]");
  CHECK(accepts("mlp_only_layers", "[1, -1, 77, 100000]"));
  message("mlp_only_layers", "1");
}

TEST_CASE("token ids lie in the vocabulary, and end-of-text ids of both files are joined (D20)") {
  for (const char* value : {"-1", "149", "1099511627776", "\"2\"", "[2, 149]", "[2, -1]", "[[2]]", "2.0"}) {
    CHECK(refusal("eos_token_id", value).detail().field == "eos_token_id");
  }
  CHECK(refusal("bos_token_id", "149").detail().field == "bos_token_id");
  CHECK(accepts("eos_token_id", "[2, 148]"));
  CHECK(accepts("eos_token_id", "[]"));
  Copy copy(tiny("tied_bf16"));
  copy.set("eos_token_id", "[9, 2]");
  copy.write("generation_config.json", "{\"eos_token_id\": [148, 2], \"temperature\": 0.6}");
  CHECK(describe_model(copy.path()).config.eos_token_ids == std::vector<std::int32_t>{2, 9, 148});
  CHECK(describe_model(copy.path()).config.is_eos(148));
  CHECK(!describe_model(copy.path()).config.is_eos(3));
  for (const char* const unreadable :
       {"{\"eos_token_id\": [148],}", "", "[]", "{\"eos_token_id\": 148", "\xef\xbb\xbf{}"}) {
    copy.write("generation_config.json", unreadable);
    const ModelDescription model = describe_model(copy.path());
    CHECK(model.config.eos_token_ids == std::vector<std::int32_t>{2, 9});
    REQUIRE(model.skipped.size() == 1);
    CHECK(model.skipped[0].name == "generation_config.json");
    CHECK(model.skipped[0].is_damaged);
    CHECK(load_model(copy.path())->config().eos_token_ids == std::vector<std::int32_t>{2, 9});
  }
  copy.remove("generation_config.json");
  std::filesystem::create_directory(copy.path() + "/generation_config.json");
  CHECK(describe_model(copy.path()).skipped.at(0).is_damaged);
  copy.remove("generation_config.json");
  copy.write(
      "generation_config.json",
      "{\"eos_token_id\": 148, \"top_p\": NaN, \"top_p\": 1, \"use_cache\": 1, \"use_cache\": 0, \"do_sample\": true}");
  CHECK(describe_model(copy.path()).config.eos_token_ids == std::vector<std::int32_t>{2, 9, 148});
  CHECK(describe_model(copy.path()).skipped.at(0).why == "only eos_token_id is read, not top_p, top_p, do_sample");
  CHECK_FALSE(describe_model(copy.path()).skipped.at(0).is_damaged);
  for (const char* const wrong : {"\"148\"", "1.5", "[[2]]", "-1", "NaN", "2, \"eos_token_id\": 9"}) {
    copy.write("generation_config.json", std::string("{\"eos_token_id\": ") + wrong + "}");
    const Error error = io_test::error_of([&] { describe_model(copy.path()); });
    CHECK(error.detail().field == "eos_token_id");
    CHECK(io_test::contains(error.detail().file, "generation_config.json"));
  }
  copy.write("generation_config.json", "{\"eos_token_id\": 149}");
  CHECK(io_test::contains(io_test::error_of([&] { describe_model(copy.path()); }).detail().file,
                          "generation_config.json"));
  copy.remove("generation_config.json");
  CHECK(describe_model(copy.path()).config.eos_token_ids == std::vector<std::int32_t>{2, 9});
}

TEST_CASE("tensors that are missing, renamed, transposed or of another type are refused by name (A42, A49)") {
  const auto fails = [](const Copy& copy, const std::string& tensor, const char* part) {
    const Error error = io_test::error_of([&] { load_model(copy.path()); });
    INFO(error.what());
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(error.detail().field == tensor);
    CHECK(io_test::contains(error.what(), part));
  };
  const std::string norm = "model.layers.1.self_attn.q_norm.weight";
  Copy renamed(tiny("head_f32"));
  renamed.rewrite_header("1.self_attn.q_norm.weight", "1.self_attn.q norm.weight");
  fails(renamed, norm, "missing, expected shape (26)");
  const std::string query = "model.layers.0.self_attn.q_proj.weight";
  Copy transposed(tiny("head_f32"));
  std::string header = transposed.read("model.safetensors");
  const std::size_t shape = header.find("[78,24]", header.find(query));
  header.replace(shape, 7, "[24,78]");
  transposed.write("model.safetensors", header);
  fails(transposed, query, "expected shape (78, 24), found (24, 78)");
  header.replace(shape, 7, "[ 1872]");
  transposed.write("model.safetensors", header);
  fails(transposed, query, "found (1872)");
  Copy typed(tiny("head_f32"));
  header = typed.read("model.safetensors");
  const std::size_t dtype = header.find("\"F32\"", header.find(query));
  header.replace(dtype, 5, "\"I32\"");
  typed.write("model.safetensors", header);
  fails(typed, query, "expected type F32 or BF16 or F16 or F64 or F8_E4M3 or F8_E5M2 or quantized blocks, found I32");
  Copy stacked(tiny("stacked_f16"));
  stacked.rewrite_header("1.mlp.experts.down_proj", "1.mlp.experts.down-proj");
  fails(stacked, "model.layers.1.mlp.experts.down_proj", "missing, expected shape (7, 24, 10)");
}
