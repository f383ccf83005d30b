// Files that are missing, damaged, endless or full: an exit code that says which, one line that says what and where.
#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "support/catch.hpp"

namespace {

using Words = std::vector<std::string>;
using std::filesystem::path;

void check_refused(const Words& words, int code, const Words& parts, const cli::Launch& launch = {}) {
  const auto start = std::chrono::steady_clock::now();
  const cli::Result result = cli::run(words, launch);
  CAPTURE(words, result.err);
  CHECK(result.code == code);
  CHECK(result.out.empty());
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK(result.err.find(part) != std::string::npos);
  }
  const std::size_t line = result.err.rfind("headgate: error: ");
  REQUIRE(line != std::string::npos);
  CHECK(result.err.find('\n', line) == result.err.size() - 1);
  CHECK(result.err.size() - line <= 4096);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}
Words on(const path& model) { return {"generate", "-m", model, "-p", "Once", "-n", "2", "--temp", "0"}; }

void replace_text(const path& file, const std::string& from, const std::string& to) {
  std::string text = cli::read_all(file);
  const std::size_t place = text.find(from);
  REQUIRE(place != std::string::npos);
  text.replace(place, from.size(), to);
  cli::replace(file, text);
}

}  // namespace

// I1, I2, I22
TEST_CASE("a model folder that is not there, empty, or not a folder is an input error with its path") {
  const cli::ScratchFolder folder;
  check_refused(on(folder / "absent"), 4, {"absent"});
  std::filesystem::create_directory(folder / "empty");
  check_refused(on(folder / "empty"), 4, {"config.json"});
  cli::write_all(folder / "file", "x");
  check_refused(on(folder / "file"), 4, {"file"});
  check_refused(on(std::string(5000, 'x')), 4, {"xxx"});
  std::filesystem::create_symlink("loop", folder / "loop");
  check_refused(on(folder / "loop"), 4, {"loop"});
  check_refused({"inspect", "-m", folder / "absent"}, 4, {"absent"});
  check_refused({"tokenize", "-p", "a", "-m", folder / "absent"}, 4, {"absent"});
}

// I1 to I4
TEST_CASE("a file of the model that is missing, a device, a pipe or a folder is an input error and never waits") {
  for (const std::string name : {"config.json", "model.safetensors", "tokenizer.json"}) {
    CAPTURE(name);
    const cli::ScratchFolder folder;
    const path model = folder.model();
    const path file = model / name;
    std::filesystem::remove(file);
    check_refused(on(model), 4, {name});
    std::filesystem::create_symlink("nowhere", file);
    check_refused(on(model), 4, {name});
    std::filesystem::remove(file);
    std::filesystem::create_symlink("/dev/zero", file);
    check_refused(on(model), 4, {name});
    std::filesystem::remove(file);
    REQUIRE(::mkfifo(file.c_str(), 0600) == 0);
    check_refused(on(model), 4, {name});
    std::filesystem::remove(file);
    std::filesystem::create_directory(file);
    check_refused(on(model), 4, {name});
  }
}

TEST_CASE("damaged weights end in one sentence that names the file, and field and byte where there are such") {
  const cli::ScratchFolder folder;
  const path model = folder.model();
  const path file = model / "model.safetensors";
  const std::string good = cli::read_all(file);
  cli::replace(file, good.substr(0, good.size() - 1));
  check_refused(on(model), 3, {"model.safetensors", "byte"});
  cli::replace(file, good.substr(0, 1000));
  check_refused(on(model), 3, {"model.safetensors", "byte"});
  cli::replace(file, "");
  check_refused(on(model), 3, {"model.safetensors"});
  std::string lying = good;
  const std::uint64_t huge = std::uint64_t{1} << 62;
  std::memcpy(lying.data(), &huge, sizeof huge);
  cli::replace(file, lying);
  check_refused(on(model), 3, {"model.safetensors", "byte 0"});
  std::string renamed = good;
  const std::size_t name = renamed.find("model.layers.3.mlp.experts.5.up_proj.weight");
  REQUIRE(name != std::string::npos);
  renamed[name + 13] = '9';
  cli::replace(file, renamed);
  check_refused(on(model), 3, {"model.layers.3.mlp.experts.5.up_proj.weight", "missing"});
  std::string control = good;
  control[name + 1] = '\x1b';
  cli::replace(file, control);
  check_refused(on(model), 3, {"model.safetensors"});
}

TEST_CASE("a weight that is not a number ends in exit code 6 with layer and token") {
  const cli::ScratchFolder folder;
  const path model = folder.model();
  std::string bytes = cli::read_all(model / "model.safetensors");
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  const nlohmann::json tensors = nlohmann::json::parse(bytes.substr(8, header));
  const std::size_t offset = tensors.at("model.layers.2.mlp.gate.weight").at("data_offsets").at(0);
  const std::uint16_t nan = 0x7fc0;  // bfloat16
  std::memcpy(bytes.data() + 8 + header + offset, &nan, sizeof nan);
  cli::replace(model / "model.safetensors", bytes);
  check_refused(on(model), 6, {"layer 2", "token 0", "not finite"});
  Words object = on(model);
  object.emplace_back("--json");
  const cli::Result result = cli::run(object);
  CHECK(result.code == 6);
  CHECK(nlohmann::json::parse(result.out).at("error").at("code") == 6);
}

TEST_CASE("a config.json that does not fit the weights or itself is refused by its key") {
  struct Case {
    const char* from;
    const char* to;
    Words parts;
  };
  for (const Case& damage : std::vector<Case>{
           {"\"num_experts\": 16", "\"num_experts\": 17", {"17"}},
           {"\"num_experts_per_tok\": 2",
            "\"num_experts_per_tok\": 17",
            {"config.json", "num_experts_per_tok", "17", "16"}},
           {"\"num_hidden_layers\": 6", "\"num_hidden_layers\": 2000000000", {"config.json", "num_hidden_layers"}},
           {"\"hidden_size\": 256", "\"hidden_size\": 0", {"config.json", "hidden_size"}},
           {"\"hidden_size\": 256", "\"hidden_size\": \"256\"", {"config.json", "hidden_size"}},
           {"\"head_dim\": 64", "\"head_dim\": -64", {"config.json", "head_dim"}},
           {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", {"config.json", "num_key_value_heads"}},
           {"\"hidden_act\": \"silu\"", "\"hidden_act\": \"quick\"", {"config.json", "hidden_act", "quick", "silu"}},
           {"\"model_type\": \"qwen3_moe\"",
            "\"model_type\": \"qwen9\"",
            {"config.json", "model_type", "qwen9", "qwen3_moe"}},
           {"\"rope_theta\": 10000.0", "\"rope_theta\": 0", {"config.json", "rope_theta"}},
           {"\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": 1e-06, \"rms_norm_eps\": 1", {"config.json", "rms_norm_eps"}},
           {"\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"yarn\"}", {"config.json", "rope_scaling"}},
           {"\"vocab_size\": 4096,", "\"vocab_size\": 4096", {"config.json", "byte"}}}) {
    const cli::ScratchFolder folder;
    const path model = folder.model();
    replace_text(model / "config.json", damage.from, damage.to);
    check_refused(on(model), 3, damage.parts);
  }
}

TEST_CASE("a generation_config.json that cannot be read is ignored with a warning, as in transformers") {
  const cli::ScratchFolder folder;
  const path model = folder.model();
  const path file = model / "generation_config.json";
  const std::string usual = cli::run(on(model)).out;
  cli::replace(file, "{\"eos_token_id\": 0,}");
  const cli::Result result = cli::run(on(model));
  CHECK(result.code == 0);
  CHECK(result.out == usual);
  CHECK(result.err.starts_with("headgate: warning: skipped: "));
  CHECK(result.err.find("generation_config.json: at byte 19: not valid JSON") != std::string::npos);
  cli::replace(file, "{\"eos_token_id\": \"0\"}");
  check_refused(on(model), 3, {"generation_config.json", "eos_token_id", "found the string"});
  std::filesystem::remove(file);
  CHECK(cli::run(on(model)).err.find("warning") == std::string::npos);
}

TEST_CASE("a damaged tokenizer.json is refused with its name") {
  const cli::ScratchFolder folder;
  const path model = folder.model();
  const path file = model / "tokenizer.json";
  const std::string good = cli::read_all(file);
  cli::replace(file, good.substr(0, good.size() / 2));
  check_refused(on(model), 3, {"tokenizer.json", "byte"});
  check_refused({"tokenize", "-p", "a", "-m", model}, 3, {"tokenizer.json", "byte"});
  cli::replace(file, "{}");
  check_refused(on(model), 3, {"tokenizer.json"});
  cli::replace(file, "[\x1b]");
  check_refused(on(model), 3, {"tokenizer.json", "byte"});
}

// I6, I7, I8
TEST_CASE("files of many gigabytes, nearly all of them holes, are refused without being read") {
  const cli::ScratchFolder folder;
  const path model = folder.model();
  const std::string weights = cli::read_all(model / "model.safetensors");
  cli::replace(model / "model.safetensors", weights);
  std::filesystem::resize_file(model / "model.safetensors", std::uintmax_t{1} << 36);
  check_refused(on(model), 3, {"model.safetensors"});
  cli::replace(model / "model.safetensors", weights);
  CHECK(cli::run(on(model)).code == 0);
  for (const char* const name : {"config.json", "tokenizer.json"}) {
    const std::string text = cli::read_all(model / name);
    cli::replace(model / name, text);
    std::filesystem::resize_file(model / name, std::uintmax_t{1} << 32);
    check_refused(on(model), 5, {name, "4294967296"});
    cli::replace(model / name, text);
  }
}

// I10
TEST_CASE("a model in a folder with an odd name is found") {
  const cli::ScratchFolder folder;
  CHECK(cli::run(on(folder.model("it's a \"m\xC3\xB6"
                                 "del\"")))
            .code == 0);
}

// F3, F11
TEST_CASE("a prompt that is not UTF-8 is refused with the offset") {
  const Words generate = {"generate", "-n", "1", "-p"};
  for (const auto& [text, offset] : std::vector<std::pair<std::string, std::string>>{{"abc\x80", "byte 3"},
                                                                                     {"\xC3", "byte 0"},
                                                                                     {"a\xC0\xAF", "byte 1"},
                                                                                     {"\xED\xA0\x80", "byte 0"},
                                                                                     {"ab\xF4\x90\x80\x80", "byte 2"},
                                                                                     {"\xFF\xFE", "byte 0"},
                                                                                     {"caf\xE9", "byte 3"}}) {
    check_refused({"generate", "-n", "1", "-p", text}, 3, {offset, "UTF-8"});
    check_refused({"tokenize", "-p", text}, 3, {offset, "UTF-8"});
  }
}

// F6
TEST_CASE("a prompt far beyond the context is refused with the number of tokens, in linear time") {
  const std::string first_kind = "a \n7_(";
  for (const char letter : first_kind) {
    check_refused({"generate", "-f", "-", "-n", "1"}, 5, {"1024"}, {.input = std::string(1 << 20, letter)});
  }
}

// F8, G9
TEST_CASE("standard input that is closed, a folder or endless is refused") {
  const Words words = {"generate", "-f", "-", "-n", "1"};
  check_refused(words, 4, {"standard input"}, {.input_from = ""});
  check_refused(words, 4, {"standard input"}, {.input_from = "/"});
  check_refused(words, 5, {"standard input", "67108864"}, {.input_from = "/dev/zero"});
  CHECK(cli::run(words, {.input_from = "/dev/null"}).code == 0);  // the tokenizer puts a token in front of nothing
  check_refused({"generate", "-f", "/nowhere/prompt.txt"}, 4, {"prompt.txt"});
  check_refused({"generate", "-f", "/"}, 4, {"/"});
}

// G10, G14, L7
TEST_CASE("a full or closed standard output ends the run with exit code 4") {
  const Words words = {"generate", "-p", "Once upon a time", "--temp", "0", "-n", "-1"};
  check_refused(words, 4, {"standard output"}, {.output_to = "/dev/full"});
  Words object = {"generate", "-p", "Once", "-n", "2", "--json"};
  check_refused(object, 4, {"standard output"}, {.output_to = "/dev/full"});
  check_refused({"tokenize", "-p", "a"}, 4, {"standard output"}, {.output_to = "/dev/full"});
  check_refused({"inspect"}, 4, {"standard output"}, {.output_to = "/dev/full"});
  const cli::Result closed = cli::run(words, {.on_output = [](pid_t, std::string_view) { return false; }});
  CHECK(closed.code == 4);
  CHECK_FALSE(closed.killed);
  CHECK(closed.err.find("error") == std::string::npos);
}

// L7
TEST_CASE("a standard output that is closed from the start is an error, and no file of ours takes its place") {
  const cli::ScratchFolder folder;
  const std::string trace = folder / "trace";
  const std::string command =
      "exec '" + std::string(HEADGATE_PROGRAM) + "' generate -p Once -n 3 --temp 0 --trace '" + trace + "' >&-";
  const cli::Result result = cli::run({"-c", command}, {.program = "/bin/sh"});
  CHECK(result.code == 4);
  CHECK(result.err.find("standard output") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(trace));
}

// G11
TEST_CASE("reports of routers are never written over a file of the model") {
  const cli::ScratchFolder folder;
  const path model = folder.model();
  const std::string before = cli::read_all(model / "config.json");
  for (const char* const flag : {"--csv", "--html"}) {
    cli::replace(model / "config.json", before);
    check_refused({"routers", "-p", "Once upon", "-m", model, flag, model / "config.json"}, 2, {flag, "config.json"});
    CHECK(cli::read_all(model / "config.json") == before);
  }
}

// G10, G11
TEST_CASE("a trace that cannot be written is refused, and never over a file of the model") {
  const cli::ScratchFolder folder;
  Words words = {"generate", "-p", "Once", "-n", "2", "--trace", "/nowhere/trace"};
  check_refused(words, 4, {"/nowhere/trace"});
  words.back() = "/dev/full";
  const cli::Result full = cli::run(words);
  CHECK(full.code == 4);
  const path model = folder.model();
  for (const char* const name : {"config.json", "model.safetensors", "tokenizer.json"}) {
    const std::string before = cli::read_all(model / name);
    cli::replace(model / name, before);
    check_refused({"generate", "-m", model, "-p", "Once", "-n", "2", "--trace", model / name}, 2, {"--trace", name});
    CHECK(cli::read_all(model / name) == before);
  }
  // A file of the user's own may lie in the same folder, and be written again.
  for (int i = 0; i < 2; ++i) {
    const std::string own = model / "trace.json";
    CHECK(cli::run({"generate", "-m", model, "-p", "Once", "-n", "2", "--trace", own}).code == 0);
    CHECK(cli::read_all(own).starts_with("{\"layer\":0,\"token\":0,"));
  }
  // A run that fails before it begins leaves no empty trace behind.
  check_refused({"generate", "-m", folder / "absent", "-p", "a", "--trace", folder / "left"}, 4, {"absent"});
  CHECK_FALSE(std::filesystem::exists(folder / "left"));
}
