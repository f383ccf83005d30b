// The program on a terminal: chat as a person types it, and that nothing is ever coloured.
#include <string>
#include <vector>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "cli/terminal.hpp"
#include "support/catch.hpp"

namespace {

using Words = std::vector<std::string>;

Words chat(const Words& more) {
  Words words = {HEADGATE_PROGRAM, "chat", "--chat-format", "zephyr", "-s", "3"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace

TEST_CASE("on a terminal Ctrl-C stops an answer, and the conversation goes on") {
  cli::Terminal terminal(chat({"-c", "8000", "-t", "1"}));
  REQUIRE(terminal.sees("/help says"));
  REQUIRE(terminal.sees("> "));
  terminal.type("Once upon a time\n");
  REQUIRE(terminal.sees("a time\r\n"));
  const std::string answer = terminal.next(40);
  CHECK(answer.size() == 40);
  terminal.type(cli::Terminal::ctrl_c);
  CAPTURE(terminal.seen());
  REQUIRE(terminal.sees("\n> "));
  terminal.type("/stats\n");
  REQUIRE(terminal.sees("of 8000 positions\r\n> "));
  // Again, from the beginning of the answer that was stopped.
  terminal.type("/regen\n");
  REQUIRE(terminal.sees("/regen\r\n"));
  CHECK(terminal.next(40) == answer);
  terminal.type(cli::Terminal::ctrl_c);
  REQUIRE(terminal.sees("\n> "));
  terminal.type("And the queen?\n");
  REQUIRE(terminal.sees("queen?\r\n"));
  CHECK(terminal.next(40).size() == 40);
  terminal.type(cli::Terminal::ctrl_c);
  REQUIRE(terminal.sees("\n> "));
  terminal.type("/exit\n");
  CHECK(terminal.finish() == 0);
}

TEST_CASE("at the prompt of a terminal Ctrl-C ends a chat with 130, and Ctrl-D with 0") {
  for (const bool after_answer : {false, true}) {
    for (const char* const typed : {"", "never asked"}) {
      CAPTURE(after_answer, typed);
      cli::Terminal terminal(chat({"-n", "2"}));
      REQUIRE(terminal.sees("> "));
      if (after_answer) {
        terminal.type("hi\n");
        REQUIRE(terminal.sees("\n> "));
      }
      terminal.type(typed);
      terminal.type(cli::Terminal::ctrl_c);
      CHECK(terminal.finish() == 130);
    }
  }
  cli::Terminal terminal(chat({"-n", "2"}));
  REQUIRE(terminal.sees("> "));
  terminal.type(cli::Terminal::ctrl_d);
  CHECK(terminal.finish() == 0);
}

TEST_CASE("a line that ends with the input is a question, on a terminal after a second Ctrl-D") {
  cli::Terminal terminal(chat({"-n", "2"}));
  REQUIRE(terminal.sees("> "));
  terminal.type("Once upon");
  terminal.type(cli::Terminal::ctrl_d);
  terminal.type(cli::Terminal::ctrl_d);
  CHECK(terminal.finish() == 0);
  CAPTURE(terminal.seen());
  CHECK(terminal.sees("decode   1 tokens"));
}

TEST_CASE("on a terminal a mistake is told and the chat goes on") {
  cli::Terminal terminal(chat({"-n", "2", "-c", "40"}));
  for (const char* const line : {"/unknown", "/regen", "caf\xE9"}) {
    CAPTURE(line);
    REQUIRE(terminal.sees("> "));
    terminal.type(std::string(line) + "\n");
    CHECK(terminal.sees("headgate: error: "));
  }
  REQUIRE(terminal.sees("> "));
  terminal.type(std::string(400, 'a') + "\n");
  CHECK(terminal.sees("/reset begins anew, -c N makes room"));
  REQUIRE(terminal.sees("> "));
  terminal.type("hi\n");
  REQUIRE(terminal.sees("\n> "));
  terminal.type(cli::Terminal::ctrl_d);
  CHECK(terminal.finish() == 0);
}

TEST_CASE("a terminal that gives more than 1 MiB in a line is told so, and its next line is read") {
  cli::Terminal terminal(chat({"-n", "2"}), false);
  REQUIRE(terminal.sees("> "));
  terminal.type(std::string(std::size_t{5} << 18, 'a') + "\n/stats\n/exit\n");
  CHECK(terminal.sees("line 1: more than 1048576 bytes in a line"));
  CHECK(terminal.sees("positions"));
  CHECK(terminal.finish() == 0);
}

TEST_CASE("no command colours what it says or moves the cursor, on a terminal and off it") {
  const std::string text = "Once upon a time there was a king who had three sons and a golden horse.";
  const std::vector<Words> commands = {{"--help"},
                                       {"--version"},
                                       {"generate", "-p", "Once", "-n", "8"},
                                       {"chat", "--chat-format", "zephyr", "-n", "8"},
                                       {"inspect"},
                                       {"perplexity", "-p", text, "-c", "4"},
                                       {"routers", "-p", text},
                                       {"tokenize", "-p", text},
                                       {"tokenize"}};
  for (const Words& words : commands) {
    CAPTURE(words);
    Words line = {HEADGATE_PROGRAM};
    line.insert(line.end(), words.begin(), words.end());
    cli::Terminal terminal(line);
    if (words.front() == "chat") terminal.type("/unknown\nhi\n/exit\n");
    CHECK(terminal.finish() == (words == Words{"tokenize"} ? 2 : 0));
    CHECK_FALSE(terminal.seen().empty());
    CHECK(terminal.seen().find('\x1b') == std::string::npos);
    const cli::Result piped = cli::run(words, {.input = "hi\n"});
    CHECK((piped.out + piped.err).find('\x1b') == std::string::npos);
    CHECK((piped.out + piped.err).find('\r') == std::string::npos);
  }
}
