// Texts and arguments that are odd, but texts and arguments (F and G of the catalogue of bad inputs).
#include <clocale>
#include <cstdlib>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "support/catch.hpp"

namespace {

nlohmann::json tokens_of(const cli::ScratchFolder& folder, const std::string& text) {
  const cli::Result result = cli::run({"tokenize", "-f", folder.write("text", text), "--json"});
  CHECK(result.code == 0);
  return nlohmann::json::parse(result.out).at("tokens");
}

std::string repeated(const std::string& text, std::size_t times) {
  std::string all;
  for (std::size_t i = 0; i < times; ++i) all += text;
  return all;
}

}  // namespace

TEST_CASE("blanks, NUL, marks and emoji are text with tokens of its own (F2, F4, F12)") {
  const cli::ScratchFolder folder;
  for (const std::string& text :
       {std::string(" "), std::string("a\0b", 3),
        std::string("\xEF\xBB\xBF"
                    "a"),
        std::string("a\r\nb"), std::string("\xEF\xBF\xBF"),
        std::string("\xE2\x80\xAE"
                    "abc"),
        std::string("\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7"),
        "a" + repeated("\xCC\x81", 20000)}) {
    CHECK(tokens_of(folder, text).size() > 1);
  }
  CHECK(tokens_of(folder, "caf\xC3\xA9") != tokens_of(folder, "cafe\xCC\x81"));
}

TEST_CASE("long texts of one kind end as a limit with the number of tokens (F6)") {
  const cli::ScratchFolder folder;
  constexpr std::size_t mega = std::size_t{1} << 20;
  for (const std::string& text : {std::string(mega, 'a'), std::string(mega, ' '), std::string(mega, '\n'),
                                  std::string(mega, '7'), std::string(mega, '_'), std::string(mega, '('),
                                  std::string(131072, 'Z'), repeated("\xE4\xB8\xAD", 100000), repeated("us", 500000)}) {
    CAPTURE(text.substr(0, 4));
    const cli::Result result = cli::run({"generate", "-f", folder.write("text", text), "-n", "1"});
    CHECK(result.code == 5);
    CHECK(result.err.find("tokens of the prompt") != std::string::npos);
  }
}

TEST_CASE("the locale changes nothing, and very long command lines are taken or refused (G8, G16)") {
  const std::vector<std::string> words = {"generate", "-p",     "Once", "-n", "8", "--temp",
                                          "0.5",      "--seed", "3",    "-t", "1"};
  const std::string plain = cli::run(words).out;
  CHECK_FALSE(plain.empty());
  CHECK(cli::run(words, {.environment = {"LC_ALL=de_DE.UTF-8", "LANG=de_DE.UTF-8"}}).out == plain);
  std::vector<std::string> many = {"generate", "-p", "a", "-n", "1"};
  for (int i = 0; i < 20; ++i) many.insert(many.end(), {"--stop", std::string(100'000, 'x') + std::to_string(i)});
  CHECK(cli::run(many).code == 0);
}

TEST_CASE("a prompt file that is missing or a folder, and an argument that is not UTF-8, are refused (G9, G13)") {
  const cli::ScratchFolder folder;
  for (const char* const command : {"generate", "tokenize", "perplexity", "routers"}) {
    CAPTURE(command);
    CHECK(cli::run({command, "-f", (folder / "none").string()}).code == 4);
    CHECK(cli::run({command, "-f", folder.path()}).code == 4);
    CHECK(cli::run({command, "-p", "a long enough text \xFF\xFE and more"}).code == 3);
  }
}
