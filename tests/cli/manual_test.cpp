// Man pages, completions and --help come from one declaration of flags.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "cli/terminal.hpp"
#include "support/catch.hpp"

namespace {

std::set<std::string> flags_in(const std::string& text, const std::string& before) {
  std::set<std::string> flags;
  const std::regex flag(before + "(--?[a-z][-a-z]*)");
  for (std::sregex_iterator it(text.begin(), text.end(), flag), end; it != end; ++it) flags.insert((*it)[1]);
  return flags;
}
// Those at the beginning of the lines of --help.
std::set<std::string> flags_of_help(const std::string& help) {
  std::set<std::string> flags;
  const std::regex line("\n  (-[^ ]*)");
  for (std::sregex_iterator it(help.begin(), help.end(), line), end; it != end; ++it) {
    flags.merge(flags_in("," + (*it)[1].str(), ","));
  }
  return flags;
}
bool has_program(const char* name) {
  return std::system(("command -v " + std::string(name) + " >/dev/null 2>&1").c_str()) == 0;
}
std::string unescaped(const std::string& page) { return std::regex_replace(page, std::regex(R"(\\-)"), "-"); }

// Types into an interactive shell that has the completion, and expects what the shell adds.
void check_completion(cli::Terminal& shell, const std::string& folder) {
  constexpr const char* ctrl_u = "\x15";  // forgets the line
  shell.type("PS1='# '; cd '" + folder + "'; echo rea''dy\n");
  REQUIRE(shell.sees("ready\r\n"));
  // zsh sees nothing of what is typed while it changes the terminal's mode, until another key comes.
  REQUIRE(shell.sees("[?2004h"));
  std::this_thread::sleep_for(std::chrono::seconds(1));
  // What is added to what was typed: shells do not draw again what stands there.
  const std::pair<const char*, const char*> cases[] = {{"headgate gen", "erate"},
                                                       {"headgate --ver", "sion"},
                                                       {"headgate generate --tempe", "rature"},
                                                       {"headgate inspect --js", "on"},
                                                       {"headgate chat --system x --chat-f", "ormat"},
                                                       {"headgate generate -f a", "\\ text.txt"},
                                                       {"headgate inspect --model a", "\\ text.txt"},
                                                       {"headgate generate --temp\t", "--temperature"}};
  for (const auto& [typed, added] : cases) {
    CAPTURE(typed);
    shell.type(std::string(typed) + "\t");
    REQUIRE(shell.sees(added));
    shell.type(ctrl_u);
  }
  shell.type("headgate generate -n a\t\t");  // a number, and no file
  shell.type(ctrl_u);
  shell.type("echo do''ne; exit\n");
  CHECK(shell.sees("done\r\n"));
  const std::size_t number = shell.seen().rfind("generate -n a");
  CHECK(number != std::string::npos);
  CHECK(shell.seen().find("text.txt", number) == std::string::npos);
}

}  // namespace

TEST_CASE("--help of each command fits a screen of 48 lines and 80 columns, and ends with examples") {
  REQUIRE(cli::commands().size() >= 6);
  std::vector<std::string> pages = {cli::run({"--help"}).out};
  for (const std::string& name : cli::commands()) {
    CAPTURE(name);
    pages.push_back(cli::run({name, "--help"}).out);
    CHECK(pages.back().find("Examples:\n  headgate " + name) != std::string::npos);
  }
  for (const std::string& help : pages) {
    CAPTURE(help);
    CHECK(std::count(help.begin(), help.end(), '\n') <= 48);
    for (std::size_t at = 0; at < help.size();) {
      const std::size_t end = help.find('\n', at);
      CHECK(end - at <= 79);
      at = end + 1;
    }
  }
}

TEST_CASE("each flag of --help stands in the man page and in both completions") {
  const std::string bash = cli::run({"--completion", "bash"}).out;
  const std::string zsh = cli::run({"--completion", "zsh"}).out;
  for (const std::string& name : cli::commands()) {
    CAPTURE(name);
    const std::set<std::string> flags = flags_of_help(cli::run({name, "--help"}).out);
    CHECK(flags.count("--help") == 1);
    const std::string page = unescaped(cli::run({"--man", name}).out);
    CHECK(page.starts_with(".TH HEADGATE-"));
    CHECK(flags_in(page, R"(\\fB)") == flags);
    const std::size_t branch = bash.find("    " + name + ")\n");
    REQUIRE(branch != std::string::npos);
    CHECK(flags_in(bash.substr(branch, bash.find("files=", branch) - branch), "[' ]") == flags);
    const std::size_t zsh_branch = zsh.find("    " + name + ")\n");
    REQUIRE(zsh_branch != std::string::npos);
    CHECK(flags_in(zsh.substr(zsh_branch, zsh.find(";;", zsh_branch) - zsh_branch), R"('\*)") == flags);
  }
  CHECK(cli::run({"--man", "nothing"}).code == 2);
  CHECK(cli::run({"--completion", "fish"}).code == 2);
  CHECK(cli::run({"--help"}).out.find("--man") == std::string::npos);
}

TEST_CASE("man pages are formatted without a warning") {
  if (!has_program("groff")) {
    WARN("groff is not there");
    return;
  }
  const cli::ScratchFolder folder;
  std::vector<std::string> names = cli::commands();
  names.push_back("headgate");
  for (const std::string& name : names) {
    CAPTURE(name);
    const std::string file = folder.write("page.1", cli::run({"--man", name}).out);
    const std::string errors = (folder / "errors").string();
    CHECK(std::system(("groff -ww -man -Tascii -z " + file + " 2>" + errors).c_str()) == 0);
    CHECK(cli::read_all(errors).empty());
  }
}

TEST_CASE("bash completes commands, flags and files") {
  if (!has_program("bash")) {
    WARN("bash is not there");
    return;
  }
  const cli::ScratchFolder folder;
  const std::string script = folder.write("headgate", cli::run({"--completion", "bash"}).out);
  folder.write("a text.txt", "");
  const auto completed = [&](const std::string& words, int word) {
    const std::string out = (folder / "out").string();
    const std::string line =
        "cd '" + folder.path() + "' && bash -n headgate && bash -c 'source ./headgate; COMP_WORDS=(" + words +
        "); COMP_CWORD=" + std::to_string(word) + "; _headgate; printf \"%s\\n\" \"${COMPREPLY[@]}\"' >'" + out + "'";
    CHECK(std::system(line.c_str()) == 0);
    return cli::read_all(out);
  };
  CHECK(completed("headgate gen", 1) == "generate\n");
  CHECK(completed("headgate generate --temp", 2) == "--temp\n--temperature\n");
  CHECK(completed("headgate generate -f a", 3) == "a text.txt\n");
  CHECK(completed("headgate generate -n a", 3) == "\n");
  CHECK(completed("headgate inspect --js", 2) == "--json\n");
}

TEST_CASE("bash on a terminal completes commands, flags and files") {
  if (!has_program("bash")) {
    WARN("skipped: bash is not there");
    return;
  }
  const cli::ScratchFolder folder;
  const std::string script = folder.write("completion", cli::run({"--completion", "bash"}).out);
  folder.write("a text.txt", "");
  cli::Terminal shell({"bash", "--norc", "--noprofile", "-i"});
  shell.type("source '" + script + "'\n");
  check_completion(shell, folder.path());
}

TEST_CASE("zsh on a terminal completes commands, flags and files") {
  if (!has_program("zsh")) {
    WARN("skipped: zsh is not there");
    return;
  }
  const cli::ScratchFolder folder;
  const std::filesystem::path functions = folder / "functions";
  std::filesystem::create_directory(functions);
  cli::write_all(functions / "_headgate", cli::run({"--completion", "zsh"}).out);
  folder.write("a text.txt", "");
  cli::Terminal shell({"zsh", "-f", "-i"});
  shell.type("fpath=('" + functions.string() + "' $fpath); autoload -Uz compinit; compinit -u -D\n");
  check_completion(shell, folder.path());
}
