// examples/cli/README.md says what each command prints with --json.
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "support/catch.hpp"

namespace {

// Keys of all objects, but for those of rows whose names are data.
std::set<std::string> keys_of(const nlohmann::json& value) {
  std::set<std::string> keys;
  if (value.is_object()) {
    for (const auto& [key, inner] : value.items()) {
      keys.insert(key);
      if (key != "rows") keys.merge(keys_of(inner));
    }
  } else if (value.is_array()) {
    for (const nlohmann::json& inner : value) keys.merge(keys_of(inner));
  }
  return keys;
}

std::string section(const std::string& command) {
  const std::string readme = cli::read_all(HEADGATE_SOURCE_DIR "/examples/cli/README.md");
  const std::size_t begin = readme.find("## " + command + "\n");
  REQUIRE(begin != std::string::npos);
  return readme.substr(begin, readme.find("\n## ", begin) - begin);
}

// Of the keys of this table; words in quotes are values.
std::set<std::string> documented(const std::string& text) {
  std::set<std::string> names;
  for (std::size_t at = text.find('`'); at != std::string::npos; at = text.find('`', at)) {
    const std::size_t end = text.find('`', at + 1);
    const std::string name = text.substr(at + 1, end - at - 1);
    if (name.find_first_of("\"-") == std::string::npos) names.insert(name);
    at = end + 1;
  }
  return names;
}

}  // namespace

TEST_CASE("every key that a command prints with --json is documented, and every documented key is printed") {
  const cli::ScratchFolder folder;
  const std::string base = (folder / "base.kl").string();
  const std::string text(
      "Once upon a time there was a king who had three sons and a golden horse, and a well in the deep forest.");
  cli::run({"perplexity", "-p", text, "-c", "8", "--kl-base", base});
  const std::vector<std::vector<std::string>> runs = {
      {"generate", "-p", "a", "-n", "2", "--parallel", "2", "--logprobs", "2", "--json"},
      {"inspect", "--json"},
      {"chat", "--chat-format", "zephyr", "-n", "2", "--json"},
      {"perplexity", "-p", text, "-c", "8", "--kl-base", base, "--json"},
      {"routers", "-p", text, "--json"},
      {"tokenize", "-p", text, "--json"}};
  for (const std::vector<std::string>& words : runs) {
    CAPTURE(words);
    const cli::Result result = cli::run(words, {.input = "a\n"});
    REQUIRE(result.code == 0);
    std::set<std::string> printed = keys_of(nlohmann::json::parse(result.out));
    if (words.front() == "inspect") printed.insert({"name", "why"});  // of nothing skipped
    if (words.front() == "routers") printed.insert({"value", "low", "high", "layers", "max_violation", "loads"});
    CHECK(printed == documented(section(words.front())));
  }
  const nlohmann::json table = nlohmann::json::parse(cli::run(runs[4]).out).at("comparisons").at(0);
  for (const nlohmann::json& row : table.at("rows")) {
    for (const nlohmann::json& column : table.at("columns")) {
      CHECK(keys_of(row.at(column.at("key").get<std::string>())) == std::set<std::string>{"value", "low", "high"});
    }
    CHECK(keys_of(row.at("layers")) == std::set<std::string>{"max_violation", "loads"});
  }
}
