// headgate inspect: what a checkpoint is, and everything in its folder that nothing reads.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "cli/small_gguf.hpp"
#include "support/catch.hpp"

namespace {

using nlohmann::json;

json inspected(const std::filesystem::path& model) {
  const cli::Result result = cli::run({"inspect", "-m", model, "--json"});
  CAPTURE(result.err);
  REQUIRE(result.code == 0);
  return json::parse(result.out);
}

}  // namespace

TEST_CASE("inspect prints sizes for people, and exact bytes with --json") {
  const std::string text = cli::run({"inspect"}).out;
  for (const char* const part : {"147.5 kB read per token and layer", "a token reads     6.3 MB",
                                 "18.7 MB packed, stored as BF16", "6.3 MB for 1024 positions"}) {
    CAPTURE(text, part);
    CHECK(text.find(part) != std::string::npos);
  }
  const json model = inspected(cli::tales);
  CHECK(model.at("packed_bytes") == 18726912);
  CHECK(model.at("expert_bytes") == 147456);
  CHECK(model.at("kv_cache_bytes") == 6291456);
  CHECK(model.at("f16_cache_bytes") == 3145728);
  CHECK(model.at("q8_0_cache_bytes") == 1671168);
  CHECK(model.at("stored_types") == json::array({"BF16"}));
  CHECK(model.at("skipped").empty());
  CHECK(model.at("unread_files") == json::array({"LICENSE", "README.md", "tokenizer_config.json"}));
}

TEST_CASE("inspect lists files, keys, index entries and tensors that nothing reads") {
  const cli::ScratchFolder folder;
  const std::filesystem::path model = folder.model();
  json config = json::parse(cli::read_all(model / "config.json"));
  std::string text = config.dump();
  cli::replace(model / "config.json", "{\"note\": NaN, \"note\": [Infinity]," + text.substr(1));
  cli::replace(model / "generation_config.json", "{\"eos_token_id\": 0, \"temperature\": 0.7}");
  cli::write_all(model / "model.safetensors.index.json", "left over");
  cli::write_all(model / "pytorch_model.bin", "other");
  std::string file = cli::read_all(model / "model.safetensors");
  std::uint64_t size = 0;
  std::memcpy(&size, file.data(), sizeof size);
  std::string header = file.substr(8, size);
  const std::size_t end = file.size() - 8 - size;
  header.insert(1, "\"extra\":{\"dtype\":\"F6_E2M3\",\"shape\":[4],\"data_offsets\":[" + std::to_string(end) + "," +
                       std::to_string(end + 3) + "]},");
  size = header.size();
  std::memcpy(file.data(), &size, sizeof size);
  cli::replace(model / "model.safetensors", file.substr(0, 8) + header + file.substr(file.size() - end) + "abc");

  const json found = inspected(model);
  CHECK(found.at("unknown_keys") == json::array({"note", "note"}));
  CHECK(found.at("unused_tensors") == json::array({"extra"}));
  CHECK(found.at("unread_files") ==
        json::array({"model.safetensors.index.json", "pytorch_model.bin", "tokenizer_config.json"}));
  REQUIRE(found.at("skipped").size() == 2);
  CHECK(found.at("skipped").at(0).at("name") == "generation_config.json");
  CHECK(found.at("skipped").at(0).at("why") == "only eos_token_id is read, not temperature");
  CHECK(found.at("skipped").at(1).at("name") == "model.safetensors.index.json");
  const std::string plain = cli::run({"inspect", "-m", model}).out;
  for (const char* const part : {"note", "extra", "pytorch_model.bin", "model.safetensors is read in its place"}) {
    CAPTURE(plain, part);
    CHECK(plain.find(part) != std::string::npos);
  }
  CHECK(cli::run({"generate", "-m", model, "-p", "Once", "-n", "4", "--temp", "0"}).out ==
        cli::run({"generate", "-p", "Once", "-n", "4", "--temp", "0"}).out);
}

TEST_CASE("inspect calls the tensors of a GGUF file as the file does, stacks of experts once") {
  cli::GgufTensors tensors = cli::small_tensors(33);
  tensors.push_back({"blk.0.left_over.weight", {3, 2}});
  io_test::GgufWriter writer = cli::small_gguf(tensors, 33, 20);
  writer.key("llama.never_heard_of", io_test::gguf_value(1u));
  const cli::ScratchFolder folder;
  const std::string file = folder.write("model.gguf", writer.file());
  const json found = inspected(file);
  CHECK(found.at("tensors") == tensors.size());
  CHECK(found.at("unused_tensors") == json::array({"blk.0.left_over.weight"}));
  CHECK(found.at("unknown_keys") == json::array({"llama.never_heard_of"}));
  CHECK(found.at("unread_files").empty());
  const cli::Result list = cli::run({"inspect", "-m", file, "--tensors", "--json"});
  REQUIRE(list.code == 0);
  const json listed = json::parse(list.out).at("tensor_list");
  REQUIRE(listed.size() == tensors.size());
  for (const auto& [name, sizes] : tensors) {
    const json tensor = {{"name", name}, {"type", "F32"}, {"shape", json(std::vector(sizes.rbegin(), sizes.rend()))}};
    CAPTURE(tensor.dump());
    CHECK(std::count(listed.begin(), listed.end(), tensor) == 1);
  }
  const std::string text = cli::run({"inspect", "-m", file, "--tensors"}).out;
  CHECK(text.find("\nblk.0.ffn_down_exps.weight  F32       (5, 8, 24)\n") != std::string::npos);
  CHECK(text.find("model.layers") == std::string::npos);
}
