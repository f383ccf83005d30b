// headgate split: what it writes, prints and refuses.
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "cli/small_llama.hpp"
#include "support/catch.hpp"

namespace {

using Words = std::vector<std::string>;
using nlohmann::json;

std::string refused(const Words& more, int code) {
  Words words = {"split"};
  words.insert(words.end(), more.begin(), more.end());
  const cli::Result result = cli::run(words);
  CAPTURE(words, result.err);
  CHECK(result.code == code);
  CHECK(result.out.empty());
  return result.err;
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a split model is a folder that every command takes, and that writes what the dense model writes") {
  const cli::ScratchFolder folder;
  const std::string dense = cli::small_llama(folder);
  const std::string out = folder / "split";
  const cli::Result result = cli::run({"split", dense, out, "--experts", "3"});
  REQUIRE(result.code == 0);
  CHECK(contains(result.out, "1 layers: networks 24 wide, cut into 3 experts 8 wide, 3 of them"));
  CHECK_FALSE(contains(result.out, "gates are zero"));
  CHECK(cli::read_all(out + "/tokenizer.json") == cli::read_all(dense + "/tokenizer.json"));
  const json inspected = json::parse(cli::run({"inspect", "-m", out, "--json"}).out);
  CHECK(inspected.at("family") == "headgate_moe");
  const auto written = [](const std::string& model) {
    return cli::run({"generate", "-m", model, "-p", "a", "-n", "8", "--temp", "0", "--ignore-eos"}).out;
  };
  CHECK(written(out) == written(dense));
}

TEST_CASE("fewer experts than all without gates are said to be the first ones") {
  const cli::ScratchFolder folder;
  const std::string dense = cli::small_llama(folder);
  const cli::Result result = cli::run({"split", dense, folder / "split", "--experts", "4", "-k", "2", "--weight", "2"});
  REQUIRE(result.code == 0);
  CHECK(contains(result.out, "gates are zero: every token goes to the first 2"));
}

TEST_CASE("split refuses what it cannot cut, and leaves nothing") {
  const cli::ScratchFolder folder;
  const std::string dense = cli::small_llama(folder);
  const std::string out = folder / "split";
  CHECK(contains(refused({dense, out}, 2), "--experts"));
  CHECK(contains(refused({dense, out, "--experts", "5"}, 2), "leave over"));
  CHECK(contains(refused({dense, out, "--experts", "4", "-k", "5"}, 2), "-k"));
  CHECK(contains(refused({cli::tales, out, "--experts", "4"}, 3), "model_type"));
  refused({dense, out, "--experts", "4", "--router", folder / "none"}, 4);
  CHECK_FALSE(std::filesystem::exists(out));
  CHECK(contains(refused({dense, dense, "--experts", "4"}, 2), "is there already"));
}
