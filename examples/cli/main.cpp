// headgate: reads the command line, calls the command, maps what goes wrong to one line and an exit code. Each command
// has a file of its own and a line in commands.hpp.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <iterator>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "commands.hpp"
#include "headgate/core/error.hpp"
#include "interrupt.hpp"
#include "json_writer.hpp"
#include "machine.hpp"
#include "manual.hpp"
#include "numbers.hpp"
#include "output_file.hpp"
#include "suggestion.hpp"
#include "version.hpp"

namespace {

using headgate::ErrorCode;

// What could have stood in the place of an argument that was not understood.
std::vector<std::string> known_words(const CLI::App& app) {
  std::vector<std::string> known;
  const std::vector<CLI::App*> given = app.get_subcommands();
  if (given.empty()) {
    for (const CLI::App* command : app.get_subcommands({})) known.push_back(command->get_name());
  }
  for (const CLI::Option* option : (given.empty() ? app : *given.front()).get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  }
  return known;
}

// CLI11 knows short flags of one letter only, and reads the value of `--flag=` from the next argument.
std::vector<std::string> normalised(int argc, char** argv) {
  std::vector<std::string> arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "-ub") {
      arguments.emplace_back("--ubatch-size");
    } else if (argument.starts_with("--") && argument.ends_with('=') && argument.find('=') + 1 == argument.size()) {
      arguments.emplace_back(argument.substr(0, argument.size() - 1));
      arguments.emplace_back();
    } else {
      arguments.emplace_back(argument);
    }
  }
  std::reverse(arguments.begin(), arguments.end());  // the order CLI11 wants
  return arguments;
}

// The command line as it can be typed again, for reports.
std::string typed(int argc, char** argv) {
  std::string line = "headgate";
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const bool is_plain = !word.empty() && word.find_first_of(" \t\n'\"\\$`|&;<>()*?[]#~!{}") == std::string_view::npos;
    line += ' ';
    if (is_plain) {
      line += word;
      continue;
    }
    line += '\'';
    for (const char c : word) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += '\'';
  }
  return line;
}

int run(int argc, char** argv) {
  CLI::App app("headgate: text from Mixture-of-Experts models, on CPUs", "headgate");
  app.require_subcommand(0, 1);
  bool version = false;
  app.add_flag("--version", version, "print version, compiler, kernels and dependencies");
  std::optional<std::string> isa;
  Flags(app, isa).isa();
  std::string page;
  std::string shell;
  app.add_option("--man", page)->group("");  // what cmake --install takes: not for people, and not in --help
  app.add_option("--completion", shell)->group("");
  std::vector<RunCommand> runs;
  std::string names;  // "generate, inspect and tokenize"
  for (const Command& command : commands) {
    Flags flags(*app.add_subcommand(command.name, command.summary), isa);
    runs.push_back(command.declare(flags));
    names += (runs.size() == 1 ? "" : runs.size() == std::size(commands) ? " and " : ", ") + std::string(command.name);
  }
  app.footer(
      "Examples:\n"
      "  headgate generate -p \"Once upon a time\"\n"
      "  headgate inspect -m DIR\n"
      "Each command has its own --help. Standard output carries the result and nothing\n"
      "else. Exit codes: 0 done, 1 failure, 2 usage, 3 bad file, 4 input or output,\n"
      "5 limit, 6 NaN or infinity, 130 interrupted.\n");
  try {
    app.parse(normalised(argc, argv));
  } catch (const CLI::CallForHelp&) {
    const std::vector<CLI::App*> asked = app.get_subcommands();
    OutputFile::standard_output().write(help_page(asked.empty() ? app : *asked.front()));
    return 0;
  } catch (const CLI::ExtrasError&) {
    const std::string unknown = app.remaining(true).front();
    throw_usage("", "'" + unknown + "' is not understood; " + suggestion(unknown, known_words(app)));
  } catch (const CLI::ParseError& error) {
    throw_usage("", error.what());
  }
  if (app.count("--man") + app.count("--completion") > 0) {
    OutputFile::standard_output().write(app.count("--man") > 0 ? man_page(app, page) : completion(app, shell));
    return 0;
  }
  choose_kernels(isa);
  if (version) {
    OutputFile::standard_output().write(version_text());
    return 0;
  }
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (app.got_subcommand(commands[i].name)) return runs[i](typed(argc, argv));
  }
  throw_usage("", "no command; commands are " + names + " (see --help)");
}

// One line on standard error, at most 4 KiB, control bytes escaped; with --json also an object on standard output.
int report(ErrorCode code, std::string_view message, bool json) {
  const std::string line = headgate::escaped(headgate::escaped(message, message.size()), 4000);
  std::fprintf(stderr, "headgate: error: %s\n", line.c_str());
  if (json) {
    try {
      JsonWriter out;
      out.begin_object().key("error").begin_object();
      out.key("code").value(static_cast<int>(code)).key("message").value(line).end_object().end_object();
      OutputFile::standard_output().write(out.take() + "\n");
    } catch (const headgate::Error&) {
      // Standard output is what failed, and the line above has been printed.
    }
  }
  return static_cast<int>(code);
}

// A standard stream that the caller closed must not become a file of ours: reading and writing it stays an error.
void occupy_standard_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) < 0) static_cast<void>(::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY));
  }
}

}  // namespace

int main(int argc, char** argv) {
  occupy_standard_streams();
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of write
  std::signal(SIGXFSZ, SIG_IGN);  // and so is a file that may not grow
  Interrupt::install();
  const bool json =
      std::any_of(argv + std::min(argc, 1), argv + argc, [](std::string_view a) { return a == "--json"; });
  try {
    return run(argc, argv);
  } catch (const ReaderGone& error) {
    return static_cast<int>(error.code());
  } catch (const headgate::Error& error) {
    return report(error.code(), error.what(), json);
  } catch (const std::bad_alloc&) {
    return report(ErrorCode::limit, "out of memory", json);
  } catch (const std::exception& error) {
    return report(ErrorCode::failure, error.what(), json);
  }
}
