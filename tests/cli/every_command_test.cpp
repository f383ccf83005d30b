// What every command does with arguments that are wrong, places that cannot be read or written and signals: parts F, G
// and L of the catalogue of bad inputs, walked through for each command and each of its flags as --help tells them.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <string>
#include <vector>

#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "support/catch.hpp"

namespace {

using Words = std::vector<std::string>;
using nlohmann::json;

const char* const commands[] = {"generate", "chat", "inspect", "perplexity", "bench", "routers", "tokenize"};

// A flag of a command, of --help's line "  -n,--max-tokens,--predict N   ...".
struct Flag {
  Words names;
  std::string unit;  // of its value; empty: it has none
};
std::vector<Flag> flags_of(const std::string& command) {
  std::vector<Flag> flags;
  const std::string help = cli::run({command, "--help"}).out;
  for (std::size_t begin = 0; begin < help.size();) {
    const std::size_t end = help.find('\n', begin);
    const std::string line = help.substr(begin, end - begin);
    begin = end + 1;
    if (!line.starts_with("  -")) continue;
    const std::size_t space = std::min(line.find(' ', 2), line.size());
    const std::string unit = line.substr(std::min(space + 1, line.size()));
    Flag flag{{}, unit.substr(0, unit.find(' '))};
    for (std::size_t first = 2; first < space;) {
      const std::size_t comma = std::min(line.find(',', first), space);
      flag.names.push_back(line.substr(first, comma - first));
      first = comma + 1;
    }
    if (flag.names.front() != "-h") flags.push_back(flag);
  }
  return flags;
}
// Enough for a command to begin its work, so that only what is added is wrong.
Words begun(const std::string& command) {
  if (command == "chat") return {"chat", "--chat-format", "zephyr"};
  if (command == "generate" || command == "tokenize" || command == "perplexity") return {command, "-p", "a"};
  if (command == "bench") return {command, "-p", "2", "-n", "1", "-r", "1"};
  return {command};
}
bool is_given(const Words& words, const Flag& flag) {
  return std::any_of(flag.names.begin(), flag.names.end(), [&](const std::string& name) {
    return std::find(words.begin(), words.end(), name) != words.end();
  });
}

std::string check_refused(const Words& words, int code, const cli::Launch& launch = {}) {
  CAPTURE(words);
  const cli::Result result = cli::run(words, launch);
  CAPTURE(result.err);
  CHECK(result.code == code);
  CHECK(result.out.empty());
  const std::size_t line = result.err.rfind("headgate: error: ");
  REQUIRE(line != std::string::npos);
  CHECK(result.err.find('\n', line) == result.err.size() - 1);
  CHECK(result.err.size() - line <= 4096);
  return result.err;
}
void check_usage(Words words, const Words& more, const Words& any_of) {
  words.insert(words.end(), more.begin(), more.end());
  const std::string err = check_refused(words, 2);
  CAPTURE(words, err);
  CHECK(err.starts_with("headgate: error: "));  // nothing was read before
  CHECK(std::any_of(any_of.begin(), any_of.end(),
                    [&](const std::string& part) { return err.find(part) != std::string::npos; }));
}

}  // namespace

// G1
TEST_CASE("each command refuses unknown flags with a suggestion, stray words, flags without value and flags twice") {
  for (const char* const command : commands) {
    const Words words = begun(command);
    check_usage(words, {"--modle", "x"}, {"did you mean --model?"});
    check_usage(words, {"--jsno"}, {"did you mean --json?"});
    check_usage(words, {"stray"}, {"'stray'"});
    check_usage(words, {"-m", ""}, {"-m"});
    for (const Flag& flag : flags_of(command)) {
      if (flag.unit.empty()) continue;
      const bool may_repeat =
          flag.names.front() == "--stop" ||
          ((command == std::string("routers") || command == std::string("bench")) && flag.names.front() == "-m");
      check_usage(words, {flag.names.back()}, flag.names);
      if (!may_repeat) check_usage(words, {flag.names.front(), "1", flag.names.back(), "1"}, flag.names);
    }
  }
}

// G2, G4, G5
TEST_CASE("each flag of each command refuses numbers that are none") {
  for (const char* const command : commands) {
    const Words words = begun(command);
    for (const Flag& flag : flags_of(command)) {
      if (is_given(words, flag)) continue;
      if (flag.unit == "N") {
        for (const char* const text :
             {"-3", "100000000000000000000", "4.5", "1e3", "0x10", "", " 4", "4x", "+4", "1,000", "\xD9\xA4", "nan"}) {
          check_usage(words, {flag.names.back() + "=" + text}, flag.names);
        }
      }
      if (flag.unit == "X") {
        for (const char* const text : {"-1", "nan", "inf", "0,7", "1e400", "", "x"}) {
          check_usage(words, {flag.names.front(), text}, flag.names);
        }
      }
    }
    const std::string name = command;
    if (name == "inspect" || name == "tokenize") continue;
    check_usage(words, {"-t", "-4"}, {"-t"});
    check_usage(words, {"-t", "100000"}, {"-t"});
    check_usage(words, {"-c", "-8"}, {"-c"});
    if (name != "routers") check_usage(words, {"-b", "0"}, {"-b"});
  }
}

// G3, G6, L14
TEST_CASE("counts that no machine can hold are limits or misuses with the number, in each command") {
  for (const char* const context : {"1000000000000000", "2147483648", "9223372036854775807"}) {
    for (const char* const command : {"generate", "chat"}) {
      Words words = begun(command);
      words.insert(words.end(), {"-c", context});
      CHECK(check_refused(words, 5, {.input = "hi\n"}).find(context) != std::string::npos);
    }
    for (const char* const command : {"perplexity", "routers"}) {  // positions that the model was not made for
      check_usage(begun(command), {"-c", context}, {context});
    }
  }
  for (const char* const command : {"generate", "chat"}) {
    Words words = begun(command);
    words.insert(words.end(), {"-n", "9223372036854775807"});
    CHECK(check_refused(words, 5, {.input = "hi\n"}).find("9223372036854775807") != std::string::npos);
  }
}

// G7
TEST_CASE("a chat takes numbers at the edge of what is allowed") {
  Words words = begun("chat");
  words.insert(words.end(), {"-n", "2", "--temp", "1e-30", "--top-k", "1000000", "-s", "0", "-ub", "1"});
  CHECK(cli::run(words, {.input = "hi\n"}).code == 0);
}

// G9, G13, I1
TEST_CASE("each command names a model or text that is not there, and an argument that is not UTF-8 is refused") {
  const cli::ScratchFolder folder;
  for (const char* const command : commands) {
    Words words = begun(command);
    words.insert(words.end(), {"-m", (folder / "absent").string()});
    check_refused(words, 4, {.input = "hi\n"});
    words.back() = folder.path();
    check_refused(words, 4, {.input = "hi\n"});
    words.back() = "/dev/zero";
    check_refused(words, 4, {.input = "hi\n"});
    words.back() = folder.write("no model", "x");
    check_refused(words, command == std::string("tokenize") ? 3 : 4, {.input = "hi\n"});
  }
  check_refused({"chat", "--chat-format", "zephyr", "--system", "caf\xE9"}, 3, {.input = "hi\n"});
  check_refused({"generate", "-p", "a", "--stop", "caf\xE9"}, 3);
}

// G10, G15, L7
TEST_CASE("each command notices that standard output is full") {
  for (const char* const command : commands) {
    CAPTURE(command);
    Words words = begun(command);
    if (command == std::string("perplexity")) {
      words.back() = "The king and the fox went into the wide world.";
      words.insert(words.end(), {"-c", "4"});
    }
    if (command == std::string("chat") || command == std::string("generate")) words.insert(words.end(), {"-n", "2"});
    cli::Launch launch;
    launch.output_to = "/dev/full";
    launch.input = "hi\n";
    check_refused(words, 4, launch);
    CHECK(cli::run({command, "--help"}, launch).code == 4);
  }
}

// G14: an output that fits into a pipe nobody reads is done, or an error; never a death by signal.
TEST_CASE("a pipe whose reader is gone kills no command") {
  const cli::ScratchFolder folder;
  const std::string code = (folder / "code").string();
  for (const std::string command :
       {"inspect", "tokenize -p a", "perplexity -p 'The king and the fox went into the wide world.' -c 4",
        "routers -p 'The king and the fox.'", "bench -p 2 -n 1 -r 1", "generate -p a -n 5", "generate -p a -n 5 --json",
        "--help", "--version"}) {
    CAPTURE(command);
    const std::string line = "{ sleep 0.2; '" + std::string(HEADGATE_PROGRAM) + "' " + command +
                             " 2>/dev/null; echo $? >'" + code + "'; } | true; while [ ! -s '" + code +
                             "' ]; do sleep 0.05; done";
    cli::run({"-c", line}, {.program = "/bin/sh"});
    CHECK(cli::read_all(code) == "4\n");
    std::filesystem::remove(code);
  }
}

// F1
TEST_CASE("a chat asks nothing for an empty line, and no text has a perplexity of nothing") {
  const cli::Result none = cli::run({"chat", "--chat-format", "zephyr"}, {.input = "\n\r\n\n"});
  CHECK(none.code == 0);
  CHECK(none.out.empty());
  check_refused({"perplexity", "-p", ""}, 3);
}

// F5
TEST_CASE("a special token that is written in a question is text") {
  const auto prompt_tokens = [](const std::string& line) {
    const cli::Result result =
        cli::run({"chat", "--chat-format", "zephyr", "-n", "1", "-s", "1", "--json"}, {.input = line + "\n"});
    REQUIRE(result.code == 0);
    return json::parse(result.out).at("prompt_tokens").get<int>();
  };
  CHECK(prompt_tokens("a<|endoftext|>") >= prompt_tokens("a") + 3);
}

// F8
TEST_CASE("a chat whose standard input cannot be read is an error of input, and an endless line a limit") {
  check_refused(begun("chat"), 4, {.input_from = ""});
  check_refused(begun("chat"), 4, {.input_from = "/"});
  check_refused(begun("chat"), 5, {.input_from = "/dev/zero"});
  for (const char* const command : {"tokenize", "perplexity", "routers"}) {
    check_refused({command, "-f", "-"}, 4, {.input_from = ""});
    check_refused({command, "-f", "-"}, 4, {.input_from = "/"});
    check_refused({command, "-f", "-"}, 5, {.input_from = "/dev/zero"});
  }
}

// L3
TEST_CASE("a model that ends at once writes nothing and has done its work") {
  const cli::ScratchFolder folder;
  const std::string model = folder.model().string();
  const Words generate = {"generate", "-m", model, "-p", "Once upon", "--temp", "0", "-n", "9"};
  const Words chat = {"chat", "-m", model, "--chat-format", "zephyr", "--temp", "0", "-n", "9"};
  const cli::Launch asked = {.input = "hi\n"};
  const auto object = [](Words words, const cli::Launch& launch) {
    words.emplace_back("--json");
    const cli::Result result = cli::run(words, launch);
    REQUIRE(result.code == 0);
    return json::parse(result.out);
  };
  const auto first = [&](const Words& words, const cli::Launch& launch) {
    return object(words, launch).at("tokens").at(0).get<int>();
  };
  const std::string ids = std::to_string(first(generate, {})) + "," + std::to_string(first(chat, asked));
  cli::replace(folder / "model" / "generation_config.json", "{\"eos_token_id\":[" + ids + "]}");
  for (const auto& [words, launch] : {std::pair{generate, cli::Launch{}}, std::pair{chat, asked}}) {
    const json ended = object(words, launch);
    CHECK(ended.at("text") == "");
    CHECK(ended.at("finish_reason") == "stop");
    const cli::Result result = cli::run(words, launch);
    CHECK(result.code == 0);
    CHECK((result.out.empty() || result.out == "\n"));
  }
}

// L5, L6 before there is anything to keep.
TEST_CASE("a signal while a prompt is awaited ends the program with its number") {
  for (const std::string signal : {"INT", "TERM"}) {
    const int code = signal == "INT" ? 130 : 143;
    for (const char* const command : {"generate -f -", "tokenize -f -", "perplexity -f -", "routers -f -"}) {
      CAPTURE(signal, command);
      const cli::ScratchFolder folder;
      const std::string pipe = (folder / "pipe").string();
      const std::string line = "mkfifo '" + pipe + "'; exec 3<>'" + pipe + "'; '" + std::string(HEADGATE_PROGRAM) +
                               "' " + command + " <'" + pipe + "' & sleep 0.3; kill -" + signal + " $!; wait $!";
      CHECK(cli::run({"-c", line}, {.program = "/bin/sh"}).code == code);
    }
  }
}

// I2, I3, I4: of what a chat reads besides, and of what a comparison does.
TEST_CASE("templates, bases and counts that are devices, pipes or folders are errors of input and never waited for") {
  const cli::ScratchFolder folder;
  const std::filesystem::path model = folder.model();
  const auto each_kind = [](const std::filesystem::path& file, const Words& words, bool may_wait = false) {
    std::filesystem::remove_all(file);
    std::filesystem::create_symlink("/dev/zero", file);
    const int endless = may_wait ? 5 : 4;  // a text may come from a device, as from a pipe
    check_refused(words, endless, {.input = "hi\n"});
    std::filesystem::remove(file);
    std::filesystem::create_directory(file);
    check_refused(words, 4, {.input = "hi\n"});
    std::filesystem::remove(file);
    std::filesystem::create_symlink(file.filename(), file);
    check_refused(words, 4, {.input = "hi\n"});
    std::filesystem::remove(file);
    if (!may_wait) {
      REQUIRE(::mkfifo(file.c_str(), 0600) == 0);
      check_refused(words, 4, {.input = "hi\n"});
      std::filesystem::remove(file);
    }
  };
  for (const char* const name : {"chat_template.jinja", "tokenizer_config.json"}) {
    each_kind(model / name, {"chat", "-m", model.string()});
  }
  each_kind(folder / "base", {"perplexity", "-p", "a", "--kl-base", (folder / "base").string()});
  for (const char* const command : commands) {
    Words words = begun(command);
    words.insert(words.end(), {"-m", (folder / "m.gguf").string()});
    each_kind(folder / "m.gguf", words);
  }
  each_kind(folder / "counts", {"routers", "--policies", "-p", "The king.", "--counts", (folder / "counts").string()},
            /*may_wait=*/true);
}
