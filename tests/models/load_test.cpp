#include "headgate/models/load.hpp"

#include "io/safetensors_writer.hpp"
#include "models/family_checkpoint.hpp"
#include "models/reference_run.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;
using namespace models_test;

namespace {

Error config_refusal(const std::string& config) {
  Copy copy(tiny("tied_bf16"));
  copy.write("config.json", config);
  const Error error = io_test::error_of([&] { load_model(copy.path()); });
  CHECK(io_test::contains(error.detail().file, "config.json"));
  return error;
}

}  // namespace

TEST_CASE("a folder that is not there or holds no model is an error of the file system") {
  CHECK(io_test::error_of([] { load_model("/no/such/folder"); }).code() == ErrorCode::io);
  CHECK(io_test::error_of([] { load_model(tales + "/config.json"); }).code() == ErrorCode::io);
  CHECK(io_test::error_of([] { describe_model(""); }).code() == ErrorCode::io);
  Copy copy(tiny("tied_bf16"));
  copy.remove("model.safetensors");
  CHECK(io_test::error_of([&] { load_model(copy.path()); }).code() == ErrorCode::io);
  copy.remove("config.json");
  const Error error = io_test::error_of([&] { load_model(copy.path()); });
  CHECK(error.code() == ErrorCode::io);
  CHECK(io_test::contains(error.what(), "config.json"));
}

TEST_CASE("try_load_model returns what load_model throws") {
  const auto loaded = try_load_model(tiny("tied_bf16"));
  REQUIRE(loaded.has_value());
  CHECK(loaded.value()->vocab_size() == 149);
  const auto failed = try_load_model("/no/such/folder");
  REQUIRE(!failed.has_value());
  CHECK(failed.error().code() == ErrorCode::io);
}

TEST_CASE("a config.json that is no JSON object is refused with the byte (D1, D2, D3, D4)") {
  const std::string good = read_all(tiny("tied_bf16") + "/config.json");
  for (const std::string& text :
       std::vector<std::string>{"",
                                " ",
                                good.substr(0, good.size() / 2),
                                good.substr(0, good.size() - 2),
                                "[]",
                                "null",
                                "3",
                                "\"text\"",
                                "\xef\xbb\xbf" + good,
                                std::string("\xff\xfe{\0}\0", 6),
                                "<!DOCTYPE html><html></html>",
                                "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
                                good + "x",
                                good + std::string(1, '\0'),
                                "{\"a\": 1,}",
                                "{a: 1}",
                                "{/* no */}",
                                "{\"a\": \"\x01\"}",
                                "{\"a\": \"\xff\"}",
                                "{\"a\": \"\\ud800\"}",
                                std::string(100000, '['),
                                std::string(100000, '[') + std::string(100000, ']'),
                                "{\"model_type\": \"qwen3_moe\", \"model_type\": \"qwen3_moe\"}"}) {
    const Error error = config_refusal(text);
    INFO(error.what());
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(error.detail().offset >= 0);
  }
}

TEST_CASE("a hundred thousand unknown keys are only unknown (D5)") {
  Copy copy(tiny("tied_bf16"));
  std::string keys = "{";
  for (int i = 0; i < 100000; ++i) keys += "\"key" + std::to_string(i) + "\": 0,";
  std::string config = copy.read("config.json");
  copy.write("config.json", config.replace(0, 1, keys));
  CHECK(describe_model(copy.path()).unknown_keys.size() == 100000);
}

TEST_CASE("threads pack the same weights") {
  ThreadExecutor three(3);
  for (const std::string name : tiny_names) {
    const auto logits = [&](const LoadOptions& options) {
      Session session(load_model(tiny(name), options));
      Context ctx;
      const std::int32_t tokens[] = {7, 8, 9};
      throw_if_error(session.forward(tokens, ctx));
      return hash_of(session.all_logits());
    };
    CHECK(logits({}) == logits({.executor = three}));
  }
}

TEST_CASE("a damaged tensor file is refused by describing it as by loading it") {
  Copy copy(tiny("tied_bf16"));
  const std::string whole = copy.read("model.safetensors");
  copy.write("model.safetensors", whole.substr(0, whole.size() - 1));
  for (const bool load : {false, true}) {
    const Error error = io_test::error_of([&] {
      if (load) {
        load_model(copy.path());
      } else {
        describe_model(copy.path());
      }
    });
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(io_test::contains(error.detail().file, "model.safetensors"));
  }
  Copy sharded(tiny("sharded_bf16"));
  sharded.remove("model-00002-of-00004.safetensors");
  CHECK(io_test::error_of([&] { load_model(sharded.path()); }).code() == ErrorCode::io);
}

TEST_CASE("extra tensors are no reason to refuse a checkpoint, and are listed") {
  Copy copy(tiny("head_f32"));
  copy.set("attention_bias", "false");
  const std::vector<std::string> unused = describe_model(copy.path()).unused_tensors;
  CHECK(unused.size() == 16);
  CHECK(unused.front() == "model.layers.0.self_attn.k_proj.bias");
}

TEST_CASE("a single file beside the index of an earlier save is the model, and the index is listed as skipped") {
  Copy copy(tiny("tied_bf16"));
  copy.write("model.safetensors.index.json", R"({"weight_map":{"lm_head.weight":"model-00001-of-00002.safetensors"}})");
  CHECK(load_model(copy.path())->vocab_size() == 149);
  const ModelDescription model = describe_model(copy.path());
  REQUIRE(model.skipped.size() == 1);
  CHECK(model.skipped[0].name == "model.safetensors.index.json");
  CHECK(model.skipped[0].why == "model.safetensors is read in its place");
  CHECK(model.files == std::vector<std::string>{"config.json", "generation_config.json", "model.safetensors"});
}

TEST_CASE("an index may name what the model does not use, in shards that are there or not") {
  Copy copy(tiny("sharded_bf16"));
  const std::string index = copy.read("model.safetensors.index.json");
  const auto with = [&](const std::string& entries) {
    std::string text = index;
    text.insert(text.find('{', text.find("\"weight_map\"")) + 1, entries + ",");
    copy.write("model.safetensors.index.json", text);
    return describe_model(copy.path()).skipped;
  };
  std::vector<SkippedPart> skipped = with("\"mtp.weight\": \"model-00002-of-00004.safetensors\"");
  REQUIRE(skipped.size() == 1);
  CHECK(skipped[0].name == "model.safetensors.index.json: mtp.weight");
  skipped = with("\"mtp.weight\": \"model-00005-of-00004.safetensors\"");
  REQUIRE(skipped.size() == 1);
  CHECK(skipped[0].name == "model-00005-of-00004.safetensors");
  CHECK(skipped[0].is_damaged);
  CHECK(load_model(copy.path())->vocab_size() > 0);
  copy.write("model-00005-of-00004.safetensors", "cut");
  CHECK(describe_model(copy.path()).skipped.at(0).name == "model-00005-of-00004.safetensors");
  // Experts in a shard that is not there might be stacked ones, and a head the one that the model needs.
  copy.remove("model-00005-of-00004.safetensors");
  with("\"model.layers.0.mlp.experts.gate_up_proj\": \"model-00001-of-00004.safetensors\"");
  CHECK(io_test::error_of([&] {
          with("\"model.layers.0.mlp.experts.gate_up_proj\": \"model-00005-of-00004.safetensors\"");
        }).code() == ErrorCode::io);
  std::string elsewhere = index;
  elsewhere.replace(elsewhere.find("model-00001", elsewhere.find("lm_head.weight")), 11, "model-00005");
  copy.write("model.safetensors.index.json", elsewhere);
  CHECK(io_test::error_of([&] { describe_model(copy.path()); }).detail().field == "lm_head.weight");
}

TEST_CASE("tensors that nothing reads may be of types and ranks nobody knows") {
  Copy copy(tiny("tied_bf16"));
  std::string file = copy.read("model.safetensors");
  std::uint64_t size = 0;
  std::memcpy(&size, file.data(), sizeof size);
  std::string header = file.substr(8, size);
  std::string data = file.substr(8 + size);
  const std::string end = std::to_string(data.size());
  const std::string after = std::to_string(data.size() + 3);
  header.insert(1, "\"scales\":{\"dtype\":\"F4\",\"shape\":[6],\"data_offsets\":[" + end + "," + after + "]},");
  copy.write("model.safetensors", io_test::safetensors(header, data + "xyz"));
  CHECK(describe_model(copy.path()).unused_tensors == std::vector<std::string>{"scales"});
  CHECK(load_model(copy.path())->vocab_size() == 149);
}

TEST_CASE("F64 weights are rounded to F32, and one beyond its range is refused with file and tensor") {
  const auto widen = [](Copy& copy, double first) {
    const std::string file = copy.read("model.safetensors");
    std::vector<io_test::WrittenTensor> wide;
    for (const Tensor& t : read_safetensors(std::as_bytes(std::span(file.data(), file.size())), "f")) {
      std::vector<double> values;
      std::vector<float> row(as_size(t.row_size()));
      for (std::int64_t r = 0; r < t.num_rows(); ++r) {
        read_row(t, r, row);
        values.insert(values.end(), row.begin(), row.end());
      }
      if (first != 0 && t.name == "model.layers.1.mlp.experts.2.down_proj.weight") values[0] = first;
      std::string shape = "[";
      for (const std::int64_t length : t.shape.sizes()) shape += (shape.size() > 1 ? "," : "") + std::to_string(length);
      wide.push_back({t.name, "F64", shape + "]",
                      std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double))});
    }
    copy.write("model.safetensors", io_test::safetensors(wide));
  };
  const auto logits = [](const std::string& folder) {
    Session session(load_model(folder));
    Context ctx;
    const std::int32_t tokens[] = {7, 8, 9};
    throw_if_error(session.forward(tokens, ctx));
    return hash_of(session.all_logits());
  };
  Copy wide(tiny("head_f32"));
  widen(wide, 0);
  CHECK(logits(wide.path()) == logits(tiny("head_f32")));
  CHECK(describe_model(wide.path()).dtypes == std::vector<DType>{DType::f64});
  CHECK(describe_model(tiny("head_f32")).dtypes == std::vector<DType>{DType::f32});
  CHECK(describe_model(wide.path()).weights.packed_bytes == describe_model(tiny("head_f32")).weights.packed_bytes);
  Copy beyond(tiny("head_f32"));
  widen(beyond, 1e39);
  ThreadExecutor three(3);
  for (const LoadOptions& options : {LoadOptions{}, LoadOptions{.executor = three}}) {
    const Error error = io_test::error_of([&] { load_model(beyond.path(), options); });
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(error.detail().field == "model.layers.1.mlp.experts.2.down_proj.weight");
    CHECK(io_test::contains(error.what(), "model.safetensors: "));
    CHECK(io_test::contains(error.what(), "element 0 of row 0 is larger than any float"));
  }
}

TEST_CASE("a folder of links, or named with a slash behind, is the same model") {
  ScratchFolder links;
  for (const auto& entry : std::filesystem::directory_iterator(tiny("sharded_bf16"))) {
    std::filesystem::create_symlink(entry.path(), links / entry.path().filename().string());
  }
  CHECK(load_model(links.path() + "/")->vocab_size() == load_model(tiny("sharded_bf16"))->vocab_size());
}

TEST_CASE("loading keeps the packed weights and little else in memory") {
  // The pages of the file, which is as large again, are given back.
  const std::size_t before = io_test::resident_bytes();
  const std::shared_ptr<const Model> model = load_model(tales);
  const auto grown = static_cast<std::int64_t>(io_test::resident_bytes()) - static_cast<std::int64_t>(before);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  CHECK(grown < model->weight_bytes() + (std::int64_t{16} << 20));
#else
  CHECK(grown < 8 * model->weight_bytes());
#endif
}

TEST_CASE(
    "weights in bfloat16 meet activations in it where they are asked to, in any cut of the text and with any threads") {
  for (const std::string& folder : {tales, tiny("tied_bf16")}) {
    CAPTURE(folder);
    CHECK(describe_model(folder).weights.compute == Compute::f32);
    const WeightCount weights = describe_model(folder, Compute::bf16).weights;
    CHECK(weights.compute == Compute::bf16);
    CHECK(weights.multiply_adds[static_cast<std::size_t>(Compute::bf16)] > 0);
    CHECK(weights.packed_bytes == describe_model(folder).weights.packed_bytes);
    std::vector<std::int32_t> text;
    for (int i = 0; i < 45; ++i) text.push_back((i * i * 31 + 7 * i) % 149);
    const Run floats(load_model(folder), text, 512, 1);
    const std::shared_ptr<const Model> rounded = load_model(folder, {.compute = Compute::bf16});
    const Run run(rounded, text, 512, 1);
    CHECK(run.logits != floats.logits);
    CHECK(similarity(run.logits, floats.logits) > 0.999);
    for (const index_t piece : {1, 7}) {
      for (const index_t threads : {1, 3}) CHECK(Run(rounded, text, piece, threads).logits == run.logits);
    }
  }
}

TEST_CASE("a model with an adapter has the logits that PEFT and transformers compute of both") {
  for (const char* const name : {"olmoe_bf16", "deepseek_v3_groups_bf16", "llama_f32"}) {
    INFO(name);
    FamilyCheckpoint checkpoint(name);
    const std::string path = checkpoint.write();
    const std::string adapter = golden_folder + "peft/models/" + name;
    const Json json = read_json(adapter + "/expected.json");
    const JsonObject expected(json, "expected.json");
    const std::vector<std::int32_t> prompt = ids(*expected.value("prompt"));
    for (const index_t threads : {1, 3}) {
      ThreadExecutor executor(threads);
      const auto model = load_model(path, {.executor = executor, .compute = Compute::f32, .adapter = adapter});
      CHECK(model->weight_bytes() == describe_model(path, Compute::f32, adapter).weights.weight_bytes());
      const Run run(model, prompt, 7, threads);
      const std::span<const Json> logits = expected.get_list("logits");
      double worst = 0.0;
      for (std::size_t i = 0; i < logits.size(); ++i) {
        worst = std::max(worst, largest_difference(run.rows().row(static_cast<index_t>(i)), numbers(logits[i])));
      }
      CHECK(worst < 1e-4);
    }
  }
}

TEST_CASE("an adapter that does not fit the model is refused with what does not") {
  FamilyCheckpoint checkpoint("olmoe_bf16");
  const std::string path = checkpoint.write();
  const auto refused = [&](const std::string& adapter) {
    const Error error = io_test::error_of([&] { load_model(path, {.adapter = adapter}); });
    CHECK(io_test::error_of([&] { describe_model(path, Compute::f32, adapter); }).what() == std::string(error.what()));
    return error;
  };
  CHECK(refused("/no/such/folder").code() == ErrorCode::io);
  const Error of_module = refused(golden_folder + "peft/plain");
  CHECK(of_module.code() == ErrorCode::bad_file);
  CHECK(io_test::contains(of_module.what(), "the model has no matrix of this name"));
  CHECK(of_module.detail().field == "layers.0.down_proj");
  const Error of_shape = refused(golden_folder + "peft/models/llama_f32");
  CHECK(of_shape.code() == ErrorCode::bad_file);
  CHECK(io_test::contains(of_shape.what(), "the adapter's matrices are of"));
  const Error of_file = io_test::error_of([&] {
    ScratchFolder folder;
    folder.write("model.gguf", "GGUF");
    load_model(folder.path() + "/model.gguf", {.adapter = golden_folder + "peft/models/llama_f32"});
  });
  CHECK(of_file.code() == ErrorCode::usage);
  CHECK(io_test::contains(of_file.what(), "an adapter is for a checkpoint in a folder"));
}
