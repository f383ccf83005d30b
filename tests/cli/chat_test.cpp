// headgate chat through a pipe. The demo model has no chat template and knows no conversations; what is tested is the
// program around it.
#include <algorithm>
#include <csignal>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "cli/small_gguf.hpp"
#include "support/catch.hpp"

namespace {

using Words = std::vector<std::string>;
using nlohmann::json;

cli::Result chat(const std::string& input, const Words& more, const cli::Launch& launch = {}) {
  Words words = {"chat", "--chat-format", "zephyr", "-s", "3"};
  words.insert(words.end(), more.begin(), more.end());
  cli::Launch with_input = launch;
  with_input.input = input;
  return cli::run(words, with_input);
}
// One on each line.
std::vector<json> documents(const std::string& lines) {
  std::vector<json> all;
  for (std::size_t first = 0; first < lines.size();) {
    const std::size_t end = lines.find('\n', first);
    all.push_back(json::parse(lines.substr(first, end - first)));
    first = end + 1;
  }
  return all;
}
std::vector<json> answers(const std::string& input, Words more) {
  more.emplace_back("--json");
  const cli::Result result = chat(input, more);
  CAPTURE(result.err);
  REQUIRE(result.code == 0);
  return documents(result.out);
}

}  // namespace

TEST_CASE("chat answers line by line on standard output, and says everything else on standard error") {
  const cli::Result result = chat("Once upon a time\r\n\nAnd then?\n/stats\n/help\n/exit\nnever asked\n", {"-n", "6"});
  CHECK(result.code == 0);
  const std::vector<json> same = answers("Once upon a time\nAnd then?\n", {"-n", "6"});
  REQUIRE(same.size() == 2);
  CHECK(result.out == same[0].at("text").get<std::string>() + "\n" + same[1].at("text").get<std::string>() + "\n");
  CHECK(result.out.find("> ") == std::string::npos);
  for (const char* const part : {"chat format zephyr", "positions", "tokens/s", "seed 3", "threads", "/regen"}) {
    CAPTURE(part);
    CHECK(result.err.find(part) != std::string::npos);
  }
}

TEST_CASE("chat computes only what is new, and /regen gives the same text with the same seed") {
  const std::vector<json> all = answers(
      "The king said\nAnd the queen?\n/regen\n/reset\nThe king said\n/system Be kind.\nThe king said\n", {"-n", "9"});
  REQUIRE(all.size() == 5);
  CHECK(all[1].at("text") == all[2].at("text"));
  CHECK(all[1].at("tokens") == all[2].at("tokens"));
  CHECK(all[3].at("tokens") == all[0].at("tokens"));
  CHECK(all[4].at("prompt_tokens") > all[0].at("prompt_tokens"));
  const auto computed = [&](std::size_t i) { return all[i].at("stats").at("prefill_tokens").get<int>(); };
  const auto prompt = [&](std::size_t i) { return all[i].at("prompt_tokens").get<int>(); };
  CHECK(computed(0) == prompt(0));
  // The last token of an answer that ended with -n has not been through the model.
  CHECK(computed(1) == prompt(1) - prompt(0) - 9 + 1);
  CHECK(computed(2) == 1);
  // What the cache held makes no difference: the same conversation at once.
  CHECK(answers("The king said\nAnd the queen?\n", {"-n", "9", "-t", "1", "-ub", "1"})[1].at("tokens") ==
        all[1].at("tokens"));
  const std::vector<json> with_system = answers("The king said\n", {"-n", "9", "--system", "Be kind."});
  CHECK(with_system[0].at("tokens") == all[4].at("tokens"));
  // Without a seed another one each time, and it is told.
  Words words = {"chat", "--chat-format", "zephyr", "-n", "2", "--json"};
  const cli::Result seeds = cli::run(words, {.input = "a\n/regen\n"});
  const std::size_t end = seeds.out.find('\n');
  CHECK(json::parse(seeds.out.substr(0, end)).at("stats").at("seed") !=
        json::parse(seeds.out.substr(end + 1)).at("stats").at("seed"));
}

TEST_CASE("a chat without a template needs --chat-format, and an unknown one is refused with the list") {
  for (const Words& words : std::vector<Words>{{"chat"}, {"chat", "--chat-format", "chatlm"}}) {
    const cli::Result result = cli::run(words, {.input = "hi\n"});
    CAPTURE(result.err);
    CHECK(result.code == 2);
    CHECK(result.out.empty());
    for (const char* const name : {"--chat-format", "chatml", "harmony", "moonlight", "deepseek-v3"}) {
      CHECK(result.err.find(name) != std::string::npos);
    }
  }
}

TEST_CASE("the chat template of a folder says the format, and one of no known shape is a bad file") {
  const cli::ScratchFolder folder;
  const std::filesystem::path model = folder.model();
  cli::write_all(model / "chat_template.jinja",
                 "{% for message in messages %}{{ '<|user|>\n' + message['content'] + eos_token }}\n{% endfor %}{{ "
                 "'<|assistant|>' }}\n");
  const cli::Result found = cli::run({"chat", "-m", model, "-n", "4", "-s", "3"}, {.input = "hi\n"});
  CHECK(found.code == 0);
  CHECK(found.err.find("chat format zephyr") != std::string::npos);
  CHECK(found.out == chat("hi\n", {"-n", "4"}).out);
  cli::replace(model / "chat_template.jinja", "{{ messages }}");
  const cli::Result refused = cli::run({"chat", "-m", model, "-n", "4"}, {.input = "hi\n"});
  CHECK(refused.code == 3);
  CHECK(refused.err.find("chat_template.jinja") != std::string::npos);
  CHECK(refused.err.find("chatml") != std::string::npos);
  CHECK(cli::run({"chat", "-m", model, "-n", "4", "-s", "3", "--chat-format", "zephyr"}, {.input = "hi\n"}).out ==
        found.out);
}

TEST_CASE("F10, F11 a line of more than 1 MiB is a limit, and one that is not UTF-8 a bad file that says so") {
  const cli::Result longest = chat(std::string(std::size_t{1} << 20, 'a') + "a\n", {"-n", "1"});
  CHECK(longest.code == 5);
  CHECK(longest.err.find("1048576") != std::string::npos);
  CHECK(chat(std::string(std::size_t{3} << 20, 'a'), {"-n", "1"}).code == 5);
  const cli::Result fits = chat(std::string(std::size_t{1} << 20, 'a') + "\n", {"-n", "1"});  // a line, but no context
  CHECK(fits.code == 5);
  CHECK(fits.err.find("/reset begins anew") != std::string::npos);
  CHECK(chat("Once upon", {"-n", "3"}).out == chat("\n\r\nOnce upon\n\n", {"-n", "3"}).out);
  const cli::Result latin = chat("good\ncaf\xE9\n", {"-n", "1"});
  CHECK(latin.code == 3);
  CHECK(latin.err.find("line 2") != std::string::npos);
  CHECK(latin.err.find("UTF-8") != std::string::npos);
  CHECK(latin.err.find("Windows-1252") != std::string::npos);
}

TEST_CASE("L1, L2, L4 an answer ends with the context, and a conversation that leaves no room for one is a limit") {
  const std::vector<json> full = answers("hi\n", {"-c", "30"});
  CHECK(full[0].at("finish_reason") == "length");
  CHECK(full[0].at("prompt_tokens").get<std::size_t>() + full[0].at("tokens").size() == 30);
  const cli::Result over = chat("hi\nmore\n", {"-c", "30"});
  CHECK(over.code == 5);
  CHECK(over.err.find("30 positions") != std::string::npos);
  CHECK(over.err.find("/reset") != std::string::npos);
  CHECK(chat("hi\n/reset\nhi\n", {"-c", "30"}).code == 0);
  const cli::Result none = chat("hi\n", {"-n", "0"});
  CHECK(none.code == 2);
  CHECK(none.out.empty());
}

TEST_CASE("what is no command, and a system message where there is no place for one, are misuses") {
  CHECK(chat("/unknown\n", {}).code == 2);
  CHECK(chat("/regen\n", {}).code == 2);
  CHECK(chat("//etc/hosts\n", {"-n", "1"}).code == 0);
  const cli::Result refused = cli::run({"chat", "--chat-format", "mistral", "--system", "x"}, {.input = "hi\n"});
  CHECK(refused.code == 2);
  CHECK(refused.err.find("no place for a system message") != std::string::npos);
  CHECK(cli::run({"chat", "--chat-format", "zephyr"}).code == 0);  // no question at all
}

TEST_CASE("L5, L6 Ctrl-C stops the answer and not the chat; SIGTERM ends it with 143, and the text so far is kept") {
  for (const int signal : {SIGINT, SIGTERM}) {
    bool sent = false;
    const cli::Launch launch = {.on_output = [&](pid_t pid, std::string_view out) {
      if (!sent && out.size() > 20) ::kill(pid, signal);
      sent = sent || out.size() > 20;
      return true;
    }};
    const cli::Result result = chat("Once upon a time\n/stats\n", {"-c", "8000", "-t", "2"}, launch);
    CAPTURE(signal, result.err);
    CHECK_FALSE(result.killed);
    CHECK(result.code == (signal == SIGINT ? 0 : 143));
    CHECK(result.out.size() > 20);
    CHECK((result.err.find("of 8000 positions\n") != std::string::npos));
  }
}

TEST_CASE("L7 standard output that is full or closed ends a chat with an io error") {
  cli::Launch full;
  full.output_to = "/dev/full";
  CHECK(chat("hi\n", {"-n", "4"}, full).code == 4);
  const cli::Launch closed = {.on_output = [](pid_t, std::string_view) { return false; }};
  CHECK(chat("Once upon a time\n", {"-n", "200"}, closed).code == 4);
}

TEST_CASE("every chat format holds a conversation, and what the cache held makes no difference") {
  const std::vector<std::string> control = {
      "<|im_start|>",      "<|im_end|>",        "[INST]",          "[/INST]",
      "[SYSTEM_PROMPT]",   "[/SYSTEM_PROMPT]",  "<|user|>",        "<|assistant|>",
      "<|system|>",        "<|end|>",           "<|eot_id|>",      "<|start_header_id|>",
      "<|end_header_id|>", "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>",
      "<|start|>",         "<|channel|>",       "<|message|>",     "<|return|>",
      "<|im_user|>",       "<|im_assistant|>",  "<|im_system|>",   "<|im_middle|>",
      "<think>",           "</think>"};
  io_test::GgufWriter vocabulary;
  const std::uint32_t size = cli::add_vocabulary(vocabulary, control);
  io_test::GgufWriter writer = cli::small_gguf(cli::small_tensors(size), size, 2000);
  cli::add_vocabulary(writer, control);
  const cli::ScratchFolder folder;
  const std::string file = folder.write("model.gguf", writer.file());
  std::string names = cli::run({"chat", "-m", file, "--chat-format", "?"}).err;
  REQUIRE(names.find("known are ") != std::string::npos);
  names = names.substr(names.find("known are ") + 10);
  int formats = 0;
  for (std::size_t first = 0; first < names.size(); ++formats) {
    const std::size_t end = std::min(names.find_first_of(",\n", first), names.size());
    const std::string format = names.substr(first, end - first);
    first = end + 2;
    CAPTURE(format);
    const auto talk = [&](const std::string& input, const Words& more) {
      Words words = {"chat", "-m", file, "--chat-format", format, "-s", "3", "-n", "7", "--json"};
      words.insert(words.end(), more.begin(), more.end());
      const cli::Result result = cli::run(words, {.input = input});
      CAPTURE(result.err);
      CHECK(result.code == 0);
      return documents(result.out);
    };
    const std::vector<json> once = talk("Hi <s>[INST] there\nAnd \xC3\xA9?\n/regen\n", {});
    const std::vector<json> again = talk("Other\n/reset\nHi <s>[INST] there\nAnd \xC3\xA9?\n", {"-ub", "3", "-t", "2"});
    REQUIRE(once.size() == 3);
    REQUIRE(again.size() == 3);
    CHECK(once[0].at("tokens") == again[1].at("tokens"));
    CHECK(once[1].at("tokens") == again[2].at("tokens"));
    CHECK(once[2].at("tokens") == once[1].at("tokens"));
    CHECK(once[1].at("prompt_tokens") > once[0].at("prompt_tokens"));
    CHECK(once[1].at("stats").at("prefill_tokens") < once[1].at("prompt_tokens"));
    CHECK(once[2].at("stats").at("prefill_tokens") < once[1].at("stats").at("prefill_tokens"));
  }
  CHECK(formats >= 20);
}
