// benchmarks/make_checkpoint.py: what it writes is read by the program, whole, and runs.
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "support/catch.hpp"

namespace {

cli::Result make(std::vector<std::string> words) {
  words.insert(words.begin(), {"python3", HEADGATE_SOURCE_DIR "/benchmarks/make_checkpoint.py"});
  cli::Launch launch;
  launch.program = "/usr/bin/env";
  return cli::run(words, launch);
}

// What inspect says of it, once two tokens of it have been generated.
nlohmann::json inspected(const std::string& model) {
  const cli::Result text = cli::run({"generate", "-m", model, "-p", "ab c", "-n", "2", "-c", "16", "--ignore-eos"});
  INFO(model << '\n' << text.err);
  CHECK(text.code == 0);
  CHECK_FALSE(text.out.empty());
  const nlohmann::json found = nlohmann::json::parse(cli::run({"inspect", "-m", model, "--json"}).out);
  for (const char* const list : {"unknown_keys", "unused_tensors", "skipped"}) CHECK(found.at(list).empty());
  return found;
}

}  // namespace

TEST_CASE("make_checkpoint.py writes the same model as a folder and as a GGUF file, in every shape") {
  const cli::ScratchFolder folder;
  for (const std::string shape : {"tiny-granite", "tiny-olmoe", "tiny-qwen3", "tiny-deepseek", "tiny-llama"}) {
    const std::string hf = (folder / shape).string();
    const std::string gguf = (folder / (shape + ".gguf")).string();
    REQUIRE(make({"--shape", shape, "--format", "safetensors", "--type", "bf16", hf}).code == 0);
    REQUIRE(make({"--shape", shape, "--format", "gguf", "--type", "q4_0", "--head", "q8_0", gguf}).code == 0);
    const nlohmann::json a = inspected(hf);
    const nlohmann::json b = inspected(gguf);
    CAPTURE(shape);
    for (const char* const key : {"family", "parameters", "active_parameters", "layers", "sparse_layers", "num_experts",
                                  "experts_per_token", "attention", "vocab_size", "context"}) {
      CHECK(a.at(key) == b.at(key));
    }
    CHECK(a.at("stored_types") == nlohmann::json{"BF16"});
  }
}

TEST_CASE("make_checkpoint.py writes GGUF files of every type that the loader reads") {
  const cli::ScratchFolder folder;
  const std::string model = (folder / "model.gguf").string();
  for (const std::string type : {"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K",
                                 "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"}) {
    std::string lower = type;
    for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    REQUIRE(make({"--shape", "tiny-qwen3", "--layers", "1", "--format", "gguf", "--type", lower, model}).code == 0);
    CAPTURE(type);
    const nlohmann::json types = inspected(model).at("stored_types");
    CHECK(std::find(types.begin(), types.end(), type) != types.end());
  }
}

TEST_CASE("make_checkpoint.py gives the same bytes for the same seed, and refuses what it cannot write") {
  const cli::ScratchFolder folder;
  const auto bytes = [&](const char* seed) {
    const std::string model = (folder / "model.gguf").string();
    REQUIRE(make({"--shape", "tiny-olmoe", "--format", "gguf", "--type", "q4_1", "--seed", seed, model}).code == 0);
    return cli::read_all(model);
  };
  CHECK(bytes("7") == bytes("7"));
  CHECK(bytes("7") != bytes("8"));
  const std::string out = (folder / "none").string();
  CHECK(make({"--shape", "tiny-olmoe", "--format", "safetensors", "--type", "q4_0", out}).code == 2);
  CHECK(make({"--shape", "tiny-olmoe", "--format", "gguf", "--layers", "3", out}).code == 2);
  CHECK(make({"--shape", "tiny-llama", "--format", "gguf", "--family", "olmoe", out}).code == 2);
  CHECK_FALSE(std::filesystem::exists(out));
}
