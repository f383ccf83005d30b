#include "headgate/models/load.hpp"

#include "models/checkpoints.hpp"
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
