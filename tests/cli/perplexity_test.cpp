// headgate perplexity, against an explicit loop in the tests of analysis/ and against transformers (golden/tales).
#include <cmath>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "support/catch.hpp"

namespace {

std::string story(int repeats) {
  std::string text;
  for (int i = 0; i < repeats; ++i) {
    text +=
        "Once upon a time there was a king who had three sons and a golden horse. The youngest went out into the "
        "wide world, and on his way he met an old woman who asked him for bread number " +
        std::to_string(i) + ". ";
  }
  return text;
}

}  // namespace

TEST_CASE("headgate perplexity prints an estimate, the same for any number of threads and rows") {
  const cli::ScratchFolder folder;
  const std::string file = folder.write("text", story(20));
  const std::vector<std::string> words = {"perplexity", "-f", file, "-c", "64"};
  const cli::Result first = cli::run(words);
  CHECK(first.code == 0);
  CHECK(first.out.starts_with("Final estimate: PPL = "));
  CHECK(first.err.find("\r") == std::string::npos);  // progress is for terminals
  for (const std::vector<std::string>& more : std::vector<std::vector<std::string>>{
           {"-t", "1"}, {"-t", "2", "-b", "7"}, {"-t", "3", "-b", "1"}, {"-b", "64"}}) {
    std::vector<std::string> all = words;
    all.insert(all.end(), more.begin(), more.end());
    all.push_back("--json");
    const nlohmann::json object = nlohmann::json::parse(cli::run(all).out);
    static const nlohmann::json kept = object;
    CHECK(object == kept);
    CHECK(object.at("tokens") == object.at("chunks").get<int>() * 31);
    CHECK(object.at("perplexity").at("value") == Catch::Approx(std::exp(object.at("loss").at("value").get<double>())));
  }
}

TEST_CASE("headgate perplexity gives the reference's loss and standard error in two cuts of a text") {
  const nlohmann::json reference =
      nlohmann::json::parse(cli::read_all(HEADGATE_SOURCE_DIR "/tests/golden/tales/perplexity.json"));
  const cli::ScratchFolder folder;
  const std::string file = folder.write("text", reference.at("text").get<std::string>());
  REQUIRE(reference.at("cases").size() == 2);
  for (const nlohmann::json& c : reference.at("cases")) {
    const std::string context = std::to_string(c.at("context").get<int>());
    const nlohmann::json ours =
        nlohmann::json::parse(cli::run({"perplexity", "-f", file, "-c", context, "--json"}).out);
    CHECK(ours.at("tokens") == c.at("tokens"));
    CHECK(ours.at("loss").at("value").get<double>() == Catch::Approx(c.at("loss").get<double>()).epsilon(1e-5));
    CHECK(ours.at("loss").at("error").get<double>() == Catch::Approx(c.at("loss_error").get<double>()).epsilon(1e-4));
  }
}

TEST_CASE("headgate perplexity saves distributions whole and compares with them") {
  const cli::ScratchFolder folder;
  const std::string file = folder.write("text", story(6));
  const std::string base = (folder / "base.kl").string();
  const std::vector<std::string> words = {"perplexity", "-f", file, "-c", "32", "--kl-base", base, "--json"};
  const nlohmann::json saved = nlohmann::json::parse(cli::run(words).out);
  CHECK_FALSE(saved.contains("comparison"));
  const std::string bytes = cli::read_all(base);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);  // no part of it beside it
  for (const bool with_text : {true, false}) {
    std::vector<std::string> again = {"perplexity", "--kl-divergence", "--kl-base", base, "--json", "-c", "32"};
    if (with_text) again.insert(again.end(), {"-f", file});
    const nlohmann::json same = nlohmann::json::parse(cli::run(again).out);
    CHECK(same.at("perplexity") == saved.at("perplexity"));
    const nlohmann::json& c = same.at("comparison");
    CHECK(std::fabs(c.at("kl_divergence").at("value").get<double>()) < 1e-7);
    CHECK(c.at("same_top").at("value") == 1.0);
    CHECK(c.at("probability_rms") == 0.0);
    CHECK(c.at("perplexity_ratio").at("value") == 1.0);
    CHECK(c.at("percentiles").size() == 11);
  }
  CHECK(cli::read_all(base) == bytes);
  // Another text, another cut, a changed byte, less of it.
  const std::string other = folder.write("other", story(7).substr(1));
  CHECK(cli::run({"perplexity", "-f", other, "-c", "32", "--kl-base", base}).code == 3);
  CHECK(cli::run({"perplexity", "-f", file, "-c", "16", "--kl-base", base}).code == 3);
  for (const std::size_t place : {std::size_t{3}, bytes.size() / 2, bytes.size() - 1}) {
    std::string bad = bytes;
    bad[place] = static_cast<char>(bad[place] ^ 1);
    write_all(base, bad);
    const cli::Result result = cli::run({"perplexity", "--kl-base", base});
    CHECK(result.code == 3);
    CHECK(result.out.empty());
    CHECK(result.err.find("base.kl") != std::string::npos);
  }
  write_all(base, bytes.substr(0, bytes.size() - 8));
  CHECK(cli::run({"perplexity", "--kl-base", base}).code == 3);
}

TEST_CASE("headgate perplexity refuses what has no perplexity (G12)") {
  const cli::ScratchFolder folder;
  const auto code = [&](const std::string& text) {
    return cli::run({"perplexity", "-f", folder.write("text", text), "-c", "8"}).code;
  };
  CHECK(code("") == 3);
  CHECK(code("a") == 3);
  CHECK(code(std::string("\x00\xff\xfe\x80 binary", 11)) == 3);
  CHECK(cli::run({"perplexity", "-p", "too short"}).code == 3);
  CHECK(cli::run({"perplexity"}).code == 2);
  CHECK(cli::run({"perplexity", "-p", "a", "-c", "2"}).code == 2);
  CHECK(cli::run({"perplexity", "-p", "a", "--chunks", "0"}).code == 2);
  CHECK(cli::run({"perplexity", "-p", "a", "-b", "0"}).code == 2);
  CHECK(cli::run({"perplexity", "-p", "a", "--kl-divergence"}).code == 2);
  CHECK(cli::run({"perplexity", "--kl-divergence", "--kl-base", (folder / "none").string()}).code == 4);
  const std::string text = folder.write("text", story(6));
  CHECK(cli::run({"perplexity", "-f", text, "-c", "8", "--kl-base", "/nowhere/base"}).code == 4);
  CHECK(cli::run({"perplexity", "-f", text, "-c", "8"}, {.output_to = "/dev/full"}).code == 4);
  CHECK(cli::run({"perplexity", "-f", folder.path()}).code == 4);
}
