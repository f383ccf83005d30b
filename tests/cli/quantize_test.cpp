// headgate quantize: what it writes, prints and refuses.
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "io/gguf_writer.hpp"
#include "support/catch.hpp"

namespace {

using Words = std::vector<std::string>;
using nlohmann::json;

cli::Result run(const Words& more) {
  Words words = {"quantize"};
  words.insert(words.end(), more.begin(), more.end());
  return cli::run(words);
}
std::string refused(const Words& words, int code) {
  const cli::Result result = run(words);
  CAPTURE(words, result.err);
  CHECK(result.code == code);
  CHECK(result.out.empty());
  return result.err;
}
std::size_t entries(const std::filesystem::path& folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

}  // namespace

TEST_CASE("a quantized model is a folder that every command takes without a flag") {
  const cli::ScratchFolder folder;
  const std::string out = folder / "q8";
  REQUIRE(run({cli::tales, out, "--format", "q8"}).code == 0);
  CHECK(entries(folder.path()) == 1);
  for (const char* const name : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}) {
    CHECK(cli::read_all(out + "/" + name) == cli::read_all(cli::tales / name));
  }
  const json inspected = json::parse(cli::run({"inspect", "-m", out, "--json"}).out);
  CHECK(inspected.at("mapped_bytes").get<std::int64_t>() > 20 * inspected.at("packed_bytes").get<std::int64_t>());
  CHECK(inspected.at("stored_types") == json::array({"BF16", "Q8_0"}));
  const cli::Result text = cli::run({"generate", "-m", out, "-p", "Once upon a time", "-n", "20", "--temp", "0"});
  CHECK(text.code == 0);
  CHECK(text.out.size() > 20);
  CHECK(cli::run({"tokenize", "-m", out, "-p", "a b"}).out == cli::run({"tokenize", "-p", "a b"}).out);
  CHECK(cli::run({"perplexity", "-m", out, "-p", "The king and the fox went into the wide world.", "-c", "4"}).code ==
        0);
  CHECK(cli::run({"chat", "-m", out, "--chat-format", "zephyr", "-n", "2"}, {.input = "hi\n"}).code == 0);
}

TEST_CASE("parts have types of their own, and a table says what each matrix lost") {
  const cli::ScratchFolder folder;
  const cli::Result result =
      run({cli::tales, folder / "mixed", "--format", "q4", "--experts", "mxfp4", "--head", "q6k", "--json"});
  REQUIRE(result.code == 0);
  const json document = json::parse(result.out);
  double largest = 0.0;
  for (const json& tensor : document.at("tensors")) {
    const std::string part = tensor.at("part");
    CHECK(tensor.at("type") == (part == "experts" ? "MXFP4" : part == "head" ? "Q6_K" : "Q4_0"));
    largest = std::max(largest, tensor.at("relative_error").get<double>());
  }
  CHECK(largest > 0.05);
  CHECK(largest < 0.2);
  CHECK(document.at("file_bytes") == std::filesystem::file_size(folder / "mixed" / "model.safetensors"));
  const std::string table = run({cli::tales, folder / "k", "--format", "q4k"}).out;
  CHECK(table.find("Q4_1*") != std::string::npos);  // experts of 96 columns
  CHECK(table.find("* rows are no whole blocks of the type asked for") != std::string::npos);
}

TEST_CASE("columns of more importance lose less, of one expert of a stack and of a matrix") {
  const cli::ScratchFolder folder;
  const auto raw = [](const std::vector<float>& values) {
    return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  };
  io_test::GgufWriter file;
  file.key("general.type", io_test::gguf_value("imatrix"));
  const auto add = [&](const std::string& name, std::uint64_t matrices) {
    // Every fourth column of the last matrix matters; of the others nothing is known.
    std::vector<float> sums(256 * matrices, 0.0f);
    std::vector<float> counts(matrices, 0.0f);
    for (std::size_t c = 0; c < 256; ++c) sums[256 * (matrices - 1) + c] = c % 4 == 0 ? 1e4f : 1.0f;
    counts.back() = 8.0f;
    file.tensor(name + ".in_sum2", {256, matrices}, 0, raw(sums));
    file.tensor(name + ".counts", {1, matrices}, 0, raw(counts));
  };
  add("blk.1.attn_q.weight", 1);
  add("blk.2.ffn_up_exps.weight", 16);
  const std::string importance = folder.write("imatrix.gguf", file.file());
  const auto tensors = [&](const std::string& out, const Words& more) {
    Words words = {cli::tales, folder / out, "--format", "q4", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    const cli::Result result = run(words);
    REQUIRE(result.code == 0);
    std::map<std::string, json> found;
    const json document = json::parse(result.out);
    for (const json& tensor : document.at("tensors")) found[tensor.at("name")] = tensor;
    return found;
  };
  const std::map<std::string, json> plain = tensors("plain", {});
  const std::map<std::string, json> weighed = tensors("weighed", {"--imatrix", importance});
  REQUIRE(plain.size() > 2);
  REQUIRE(plain.size() == weighed.size());
  std::vector<std::string> with_importance;
  for (const auto& [name, tensor] : weighed) {
    const double before = plain.at(name).at("relative_error");
    CHECK_FALSE(plain.at(name).at("has_importance").get<bool>());
    if (tensor.at("has_importance").get<bool>()) {
      with_importance.push_back(name);
      CHECK(tensor.at("relative_error").get<double>() > before);  // unweighed, as it is printed
    } else {
      CHECK(tensor.at("relative_error") == before);
    }
  }
  CHECK(with_importance == std::vector<std::string>{"model.layers.1.self_attn.q_proj.weight",
                                                    "model.layers.2.mlp.experts.15.up_proj.weight"});
  CHECK(cli::run({"generate", "-m", folder / "weighed", "-p", "Once", "-n", "3", "--temp", "0"}).code == 0);
  // A file for another model says nothing of this one.
  io_test::GgufWriter other;
  other.key("general.type", io_test::gguf_value("imatrix"));
  other.tensor("blk.99.attn_q.weight.in_sum2", {1, 1}, 0, raw({1.0f}));
  other.tensor("blk.99.attn_q.weight.counts", {1, 1}, 0, raw({1.0f}));
  const std::string of_other = folder.write("other.gguf", other.file());
  refused({cli::tales, folder / "out", "--format", "q4", "--imatrix", of_other}, 3);
  CHECK_FALSE(std::filesystem::exists(folder / "out"));
}

TEST_CASE("the bytes of a quantized model are the same for any number of threads") {
  const cli::ScratchFolder folder;
  for (const char* const threads : {"1", "2", "3"}) {
    REQUIRE(run({cli::tales, folder / threads, "--format", "q4k", "-t", threads}).code == 0);
    CHECK(cli::read_all(folder / threads / "model.safetensors") == cli::read_all(folder / "1" / "model.safetensors"));
  }
}

TEST_CASE("perplexity and divergence are measured against the original, and fewer bits cost more") {
  const cli::ScratchFolder folder;
  std::string text;
  for (int i = 0; i < 40; ++i) text += "Once upon a time there was a king who had three sons and a golden horse. ";
  const std::string file = folder.write("text", text);
  const auto divergence = [&](const char* format) {
    const cli::Result result =
        run({cli::tales, folder / format, "--format", format, "--eval", file, "-c", "64", "--json"});
    REQUIRE(result.code == 0);
    const json found = json::parse(result.out).at("evaluation");
    CHECK(found.at("chunks") == 8);
    CHECK(found.at("context") == 64);
    CHECK(found.at("perplexity_before").at("value") > 1.0);
    return found.at("kl_divergence").at("value").get<double>();
  };
  const double of_floats = divergence("bf16");
  const double of_halves = divergence("f16");
  const double eight = divergence("q8");
  const double four = divergence("q4");
  CHECK(of_floats < 1e-6);
  CHECK(of_halves < 1e-6);
  CHECK(eight > of_floats);
  CHECK(four > 3.0 * eight);
  CHECK_FALSE(std::filesystem::exists(folder / "q4" / "base.kl"));
}

TEST_CASE("what quantize does not understand is a usage error, and nothing is written") {
  const cli::ScratchFolder folder;
  const std::string out = folder / "out";
  CHECK(refused({cli::tales, out}, 2).find("--format") != std::string::npos);
  CHECK(refused({cli::tales, out, "--format", "q3"}, 2).find("allowed are q2k, q3k, q4, q4m") != std::string::npos);
  refused({cli::tales, out, "--format", ""}, 2);
  refused({cli::tales, out, "--format", "q4", "--experts", "Q4_0"}, 2);
  refused({cli::tales}, 2);
  refused({cli::tales, out, "more", "--format", "q4"}, 2);
  refused({cli::tales, "", "--format", "q4"}, 2);
  CHECK(refused({cli::tales, out, "--format", "q4", "--embedding", "q8"}, 2).find("--head") != std::string::npos);
  CHECK(refused({cli::tales, out, "--format", "q4", "--shared", "q8"}, 2).find("--shared") != std::string::npos);
  refused({folder / "absent", out, "--format", "q4"}, 4);
  refused({cli::tales, folder / "no/such/folder", "--format", "q4"}, 4);
  refused({cli::tales, out, "--format", "q4", "--imatrix", folder / "absent"}, 4);
  refused({cli::tales, out, "--format", "q4", "--imatrix", cli::tales / "model.safetensors"}, 3);
  refused({cli::tales, out, "--format", "q4", "--eval", folder / "absent"}, 4);
  refused({cli::tales, out, "--format", "q4", "--eval", folder.write("short", "a")}, 3);
  CHECK(entries(folder.path()) == 1);
  CHECK(refused({cli::tales, folder.path(), "--format", "q4"}, 2).find("is there already") != std::string::npos);
  const std::filesystem::path model = folder.model();
  refused({model, model, "--format", "q4"}, 2);
  std::filesystem::create_directory(out);
  CHECK(run({cli::tales, out + "/", "--format", "q4"}).code == 0);  // an empty folder is as good as none
}

TEST_CASE("a signal while a model is quantized leaves nothing") {
  const cli::ScratchFolder folder;
  for (const std::string signal : {"INT", "TERM"}) {
    const std::string line = "mkdir '" + folder.path() + "/" + signal + "'; '" + std::string(HEADGATE_PROGRAM) +
                             "' quantize '" + cli::tales.string() + "' '" + folder.path() + "/" + signal +
                             "/out' --format q4k -t 1 & sleep 0.15; kill -" + signal + " $!; wait $!";
    CHECK(cli::run({"-c", line}, {.program = "/bin/sh"}).code == (signal == "INT" ? 130 : 143));
    CHECK(entries(folder / signal) == 0);
  }
}

TEST_CASE("a disk that is full is an error, and leaves nothing") {
  const cli::ScratchFolder folder;
  const std::string line = "ulimit -f 1000; exec '" + std::string(HEADGATE_PROGRAM) + "' quantize '" +
                           cli::tales.string() + "' '" + folder.path() + "/out' --format q8";
  CHECK(cli::run({"-c", line}, {.program = "/bin/sh"}).code == 4);
  CHECK(entries(folder.path()) == 0);
}
