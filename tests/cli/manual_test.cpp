// Man pages, completions and --help come from one declaration of flags.
#include <cstdlib>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "support/catch.hpp"

namespace {

// The commands that --help lists.
std::vector<std::string> commands() {
  const std::string help = cli::run({"--help"}).out;
  const std::string list = help.substr(help.find("Subcommands:"));
  std::vector<std::string> names;
  const std::regex line("\n  ([a-z]+) ");
  for (std::sregex_iterator it(list.begin(), list.end(), line), end; it != end; ++it) names.push_back((*it)[1]);
  names.erase(std::remove(names.begin(), names.end(), "headgate"), names.end());  // an example
  return names;
}
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

}  // namespace

TEST_CASE("--help of each command fits a screen of 50 lines and 120 columns, and ends with examples") {
  REQUIRE(commands().size() >= 5);
  for (const std::string& name : commands()) {
    CAPTURE(name);
    const std::string help = cli::run({name, "--help"}).out;
    CHECK(std::count(help.begin(), help.end(), '\n') <= 50);
    CHECK(help.find("Examples:\n  headgate " + name) != std::string::npos);
    for (std::size_t at = 0; at < help.size();) {
      const std::size_t end = help.find('\n', at);
      CAPTURE(help.substr(at, end - at));
      CHECK(end - at <= 120);
      at = end + 1;
    }
  }
}

TEST_CASE("each flag of --help stands in the man page and in both completions") {
  const std::string bash = cli::run({"--completion", "bash"}).out;
  const std::string zsh = cli::run({"--completion", "zsh"}).out;
  for (const std::string& name : commands()) {
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
  std::vector<std::string> names = commands();
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
