#include "manual.hpp"

#include <algorithm>
#include <cctype>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "headgate/core/config.hpp"
#include "numbers.hpp"

namespace {

// As it is typed and explained.
struct Flag {
  std::vector<std::string> names;  // "-m", "--model"
  std::string unit;                // empty: takes no value
  std::string help;

  bool names_file() const { return unit == "FILE" || unit == "DIR" || unit == "PATH"; }
};

std::vector<Flag> flags_of(const CLI::App& app) {
  std::vector<Flag> flags;
  for (const CLI::Option* const option : app.get_options()) {
    if (option->get_group().empty() || option->get_positional()) continue;  // hidden, or no flag
    Flag flag{{}, option->get_items_expected_max() > 0 ? option->get_type_name() : "", option->get_description()};
    for (const std::string& name : option->get_snames()) flag.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) flag.names.push_back("--" + name);
    flags.push_back(std::move(flag));
  }
  return flags;
}

// What has no flag, by name.
std::vector<Flag> positionals_of(const CLI::App& app) {
  std::vector<Flag> all;
  for (const CLI::Option* const option : app.get_options()) {
    if (option->get_positional()) all.push_back({{option->get_name(true)}, "", option->get_description()});
  }
  return all;
}
// "DIR OUT [OPTIONS]"
std::string arguments_of(const CLI::App& app) {
  std::string text;
  for (const Flag& argument : positionals_of(app)) text += argument.names.front() + " ";
  return text + "[OPTIONS]";
}

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// Text that roff prints as it stands.
std::string roff(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n')) {
      out += std::string("\\&") + c;
    } else {
      out += c;
    }
  }
  return out;
}

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

// Within single quotes of a shell.
std::string single_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// Words in lines that end before column 80, after an indentation for all but the first.
std::string wrapped(std::string_view text, std::size_t indentation) {
  std::string out;
  std::size_t column = indentation;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (!out.empty() && column + 1 + end > 79) {
      out += '\n' + std::string(indentation, ' ');
      column = indentation;
    } else if (!out.empty()) {
      out += ' ';
      ++column;
    }
    out += text.substr(0, end);
    column += end;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string bash_completion(const CLI::App& app) {
  std::string out =
      "# bash completion of headgate\n"
      "_headgate() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words='' files='' values=''\n"
      "  local command=${COMP_WORDS[1]}\n"
      "  ((COMP_CWORD == 1)) && command=''\n"
      "  case $command in\n";
  const auto branch = [&out](const std::string& name, const CLI::App& command, std::vector<std::string> words) {
    std::vector<std::string> files;
    std::vector<std::string> values;
    for (const Flag& flag : flags_of(command)) {
      words.insert(words.end(), flag.names.begin(), flag.names.end());
      std::vector<std::string>& kind = flag.names_file() ? files : values;
      if (!flag.unit.empty()) kind.insert(kind.end(), flag.names.begin(), flag.names.end());
    }
    out += fmt::format("    {})\n      words={}\n      files={}\n      values={}\n      ;;\n", name,
                       single_quoted(fmt::format("{}", fmt::join(words, " "))),
                       single_quoted(fmt::format("{}", fmt::join(files, " "))),
                       single_quoted(fmt::format("{}", fmt::join(values, " "))));
  };
  std::vector<std::string> names;
  for (const CLI::App* const command : commands_of(app)) names.push_back(command->get_name());
  branch("''", app, names);
  for (const CLI::App* const command : commands_of(app)) branch(command->get_name(), *command, {});
  return out +
         "  esac\n"
         "  COMPREPLY=()\n"
         "  case \" $files \" in\n"
         "    *\" $prev \"*) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;\n"
         "  esac\n"
         "  case \" $values \" in\n"
         "    *\" $prev \"*) return ;;\n"
         "  esac\n"
         "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
         "}\n"
         "complete -o filenames -F _headgate headgate\n";
}

std::string zsh_completion(const CLI::App& app) {
  std::string out =
      "#compdef headgate\n# zsh completion of headgate\n_headgate() {\n  if ((CURRENT == 2)); then\n"
      "    local -a commands\n    commands=(\n";
  const auto plain = [](const std::string& text) {  // what means something to _arguments
    std::string escaped;
    for (const char c : text)
      escaped += c == '[' || c == ']' || c == ':' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    return escaped;
  };
  for (const CLI::App* const command : commands_of(app)) {
    out += "      " + single_quoted(command->get_name() + ":" + plain(command->get_description())) + "\n";
  }
  out += "    )\n    _describe command commands\n    _arguments";
  const auto arguments = [&](const CLI::App& command) {
    for (const Flag& flag : flags_of(command)) {
      const std::string value = flag.unit.empty() ? "" : ":" + flag.unit + ":" + (flag.names_file() ? "_files" : "");
      for (const std::string& name : flag.names) {
        out += " \\\n        " + single_quoted("*" + name + "[" + plain(flag.help) + "]" + value);
      }
    }
    out += "\n";
  };
  arguments(app);
  out += "    return\n  fi\n  shift words\n  ((CURRENT--))\n  case $words[1] in\n";
  for (const CLI::App* const command : commands_of(app)) {
    out += "    " + command->get_name() + ")\n      _arguments";
    arguments(*command);
    out += "      ;;\n";
  }
  return out + "  esac\n}\n_headgate \"$@\"\n";
}

}  // namespace

std::string help_page(const CLI::App& page) {
  constexpr std::size_t margin = 26;
  const bool is_program = page.get_parent() == nullptr;
  std::string out =
      fmt::format("{}\nUsage: {}\n", page.get_description(),
                  is_program ? "headgate COMMAND [OPTIONS]" : "headgate " + page.get_name() + " " + arguments_of(page));
  const auto line = [&out](const std::string& name, const std::string& help) {
    out += "  " + name +
           (name.size() + 4 > margin ? '\n' + std::string(margin, ' ') : std::string(margin - 2 - name.size(), ' '));
    out += wrapped(help, margin) + '\n';
  };
  if (is_program) {
    out += "\nCommands:\n";
    for (const CLI::App* const command : commands_of(page)) line(command->get_name(), command->get_description());
  }
  const std::vector<Flag> arguments = positionals_of(page);
  if (!arguments.empty()) out += "\nArguments:\n";
  for (const Flag& argument : arguments) line(argument.names.front(), argument.help);
  out += "\nOptions:\n";
  for (const Flag& flag : flags_of(page)) {
    line(fmt::format("{}", fmt::join(flag.names, ",")) + (flag.unit.empty() ? "" : " " + flag.unit), flag.help);
  }
  return out + '\n' + page.get_footer();
}

std::string man_page(const CLI::App& app, const std::string& command) {
  const CLI::App* page = &app;
  std::vector<std::string> names = {"headgate"};
  for (const CLI::App* const c : commands_of(app)) {
    names.push_back(c->get_name());
    if (c->get_name() == command) page = c;
  }
  const bool is_program = command == "headgate";
  if (page == &app && !is_program) throw_usage("--man", fmt::format("allowed are {}", fmt::join(names, ", ")));
  const std::string name = is_program ? command : "headgate-" + command;
  std::string summary = page->get_description();
  if (is_program) summary = summary.substr(summary.find(": ") + 2);
  std::string out = fmt::format(".TH {} 1 \"\" \"headgate {}.{}.{}\" \"User Commands\"\n", roff(upper(name)),
                                HEADGATE_VERSION_MAJOR, HEADGATE_VERSION_MINOR, HEADGATE_VERSION_PATCH);
  out += fmt::format(".SH NAME\n{} \\- {}\n", roff(name), roff(summary));
  out += fmt::format(".SH SYNOPSIS\n.B {}\n{}\n", is_program ? name : "headgate " + command,
                     is_program ? "COMMAND [OPTIONS]" : roff(arguments_of(*page)));
  if (is_program) {
    out += ".SH COMMANDS\n";
    for (const CLI::App* const c : commands_of(app)) {
      out += fmt::format(".TP\n.B {}\n{}\n", c->get_name(), roff(c->get_description()));
    }
  }
  const std::vector<Flag> arguments = positionals_of(*page);
  if (!arguments.empty()) out += ".SH ARGUMENTS\n";
  for (const Flag& argument : arguments) {
    out += fmt::format(".TP\n.I {}\n{}\n", roff(argument.names.front()), roff(argument.help));
  }
  out += ".SH OPTIONS\n";
  for (const Flag& flag : flags_of(*page)) {
    std::string line;
    for (const std::string& n : flag.names) line += (line.empty() ? "\\fB" : ", \\fB") + roff(n) + "\\fR";
    if (!flag.unit.empty()) line += " \\fI" + flag.unit + "\\fR";
    out += ".TP\n" + line + "\n" + roff(flag.help) + "\n";
  }
  out += ".SH EXAMPLES\n.nf\n";
  const std::string footer = page->get_footer();
  for (std::size_t at = 0; at < footer.size();) {
    const std::size_t end = std::min(footer.find('\n', at), footer.size());
    const std::string line = footer.substr(at, end - at);
    if (line.starts_with("  headgate ")) out += roff(line.substr(2)) + "\n";
    at = end + 1;
  }
  out +=
      ".fi\n.SH EXIT STATUS\n0 done, 1 failure, 2 usage, 3 bad file, 4 input or output, 5 limit, 6 NaN or infinity, "
      "130 interrupted.\n.SH SEE ALSO\n";
  std::string others;
  for (const std::string& n : names) {
    const std::string other = n == "headgate" ? n : "headgate-" + n;
    if (other != name) others += (others.empty() ? ".BR " : " ,\n.BR ") + roff(other) + " (1)";
  }
  return out + others + "\n";
}

std::string completion(const CLI::App& app, const std::string& shell) {
  if (shell == "bash") return bash_completion(app);
  if (shell == "zsh") return zsh_completion(app);
  throw_usage("--completion", "got '" + headgate::escaped(shell) + "', allowed are bash and zsh");
}
