// examples/cli/schema says what each command prints with --json.
#include <map>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "cli/small_llama.hpp"
#include "support/catch.hpp"
#include "support/json_schema.hpp"

namespace {

using Words = std::vector<std::string>;

const std::filesystem::path schemas = HEADGATE_SOURCE_DIR "/examples/cli/schema";

// Of each command that --help lists.
std::map<std::string, JsonSchema> schemas_of_commands() {
  std::map<std::string, JsonSchema> all;
  for (const std::string& name : cli::commands()) all.emplace(name, JsonSchema(schemas / (name + ".json")));
  return all;
}

}  // namespace

TEST_CASE("what a command prints with --json is as its schema says, and nothing in a schema is never printed") {
  const cli::ScratchFolder folder;
  const std::string base = (folder / "base.kl").string();
  const std::string text(
      "Once upon a time there was a king who had three sons and a golden horse, and a well in the deep forest.");
  const std::string text_file = folder.write("text", text);
  cli::run({"perplexity", "-p", text, "-c", "8", "--kl-base", base});
  const std::filesystem::path model = folder.model();
  cli::replace(model / "generation_config.json", "{\"eos_token_id\": 0, \"temperature\": 0.7}");  // one key too many
  const std::vector<Words> runs = {
      {"generate", "-p", "a", "-n", "2"},
      {"generate", "-p", "a", "-n", "0"},
      {"generate", "-p", "a", "-n", "2", "--parallel", "2", "--logprobs", "2"},
      {"generate", "--tokens", "5", "-n", "3", "--temp", "0"},
      {"inspect"},
      {"inspect", "-m", model, "--tensors"},
      {"chat", "--chat-format", "zephyr", "-n", "2"},
      {"chat", "--chat-format", "zephyr", "-n", "2", "-t", "2", "-s", "3"},
      {"perplexity", "-p", text, "-c", "8"},
      {"perplexity", "-p", text, "-c", "8", "--kl-base", base},
      {"bench", "-p", "3", "-n", "2", "-r", "1"},
      {"quantize", cli::tales, folder / "q4", "--format", "q4"},
      {"quantize", cli::tales, folder / "q8", "--format", "q8", "--eval", text_file, "-c", "8"},
      {"split", cli::small_llama(folder), folder / "split", "--experts", "3", "-k", "2"},
      {"routers", "-p", text},
      {"routers", "-m", model, "-m", model, "-p", text, "-c", "8"},
      {"tokenize", "-p", text},
      {"tokenize", "-f", "-"}};
  std::map<std::string, JsonSchema> all = schemas_of_commands();
  for (Words words : runs) {
    words.emplace_back("--json");
    CAPTURE(words);
    const cli::Result result = cli::run(words, {.input = "a\nand b\n"});
    REQUIRE(result.code == 0);
    REQUIRE(result.out.ends_with('\n'));
    for (std::size_t first = 0, end = 0; first < result.out.size(); first = end + 1) {
      end = result.out.find('\n', first);  // a document a line: chat prints two
      CHECK(all.at(words.front()).errors(nlohmann::json::parse(result.out.substr(first, end - first))).empty());
    }
  }
  for (auto& [name, schema] : all) {
    CAPTURE(name);
    CHECK(schema.unmet() == std::set<std::string>{});
  }
}

TEST_CASE("with --json a command that fails prints one object as error.json says, with the exit code") {
  JsonSchema error(schemas / "error.json");
  for (const std::string& name : cli::commands()) {
    const std::vector<Words> runs = {{name, "--json", "-m", "no\tsuch folder", "-p", "a"},
                                     {name, "--json", "--nothing"}};
    for (const Words& words : runs) {
      CAPTURE(words);
      const cli::Result result = cli::run(words);
      CHECK(result.code > 0);
      const nlohmann::json document = nlohmann::json::parse(result.out);
      CHECK(error.errors(document).empty());
      CHECK(document.at("error").at("code") == result.code);
    }
  }
  CHECK(error.unmet().empty());
}

TEST_CASE("a document that is not as its schema says is found") {
  JsonSchema tokenize(schemas / "tokenize.json");
  const auto errors = [](JsonSchema& schema, const char* text) { return schema.errors(nlohmann::json::parse(text)); };
  CHECK(errors(tokenize, R"({"tokens": [1, 2]})").empty());
  CHECK(errors(tokenize, R"([])") != "");
  CHECK(errors(tokenize, R"({})") == "$: lacks \"tokens\"\n");
  CHECK(errors(tokenize, R"({"tokens": [-1]})") == "$.tokens[]: -1 is beyond the minimum 0\n");
  CHECK(errors(tokenize, R"({"tokens": [1.5]})") == "$.tokens[]: is not of type \"integer\"\n");
  CHECK(errors(tokenize, R"({"tokens": [], "text": ""})") == "$: has the undocumented key text\n");
  JsonSchema chat(schemas / "chat.json");
  const std::string wrong =
      errors(chat, R"({"text": "", "tokens": [], "finish_reason": "eos", "stats": {"seed": "3"}})");
  for (const char* const part : {"$.finish_reason: is not one of", "lacks \"prompt_tokens\"",
                                 "$.stats: lacks \"load_s\"", "$.stats.seed: is not of type"}) {
    CAPTURE(part);
    CHECK(wrong.find(part) != std::string::npos);
  }
  CHECK(chat.unmet().count("$.stats.memory_bytes.total") == 1);
}
