// headgate: reads the command line, calls the command, maps what goes wrong to one line and an exit code. Each command
// has a file of its own: generate.cpp, inspect.cpp, routers.cpp, tokenize.cpp.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "generate.hpp"
#include "headgate/core/error.hpp"
#include "inspect.hpp"
#include "interrupt.hpp"
#include "json_writer.hpp"
#include "machine.hpp"
#include "numbers.hpp"
#include "output_file.hpp"
#include "routers.hpp"
#include "suggestion.hpp"
#include "tokenize.hpp"
#include "version.hpp"

namespace {

using headgate::ErrorCode;

// A flag with one value, given at most once; read gets the value as it was typed.
template <class Read>
void add_value(CLI::App* command, const std::string& names, const char* unit, const char* help, Read read) {
  const auto callback = [read](const CLI::results_t& values) {
    read(values.back());
    return true;
  };
  command->add_option(names, callback, help)->type_name(unit);
}
void add_text(CLI::App* command, const std::string& names, const char* unit, const char* help,
              std::optional<std::string>& target) {
  add_value(command, names, unit, help, [&target](const std::string& text) { target = text; });
}
// names: of which the first stands in messages.
void add_integer(CLI::App* command, const std::string& names, const char* help, std::int64_t low, std::int64_t high,
                 std::int64_t& target) {
  const std::string flag = names.substr(0, names.find(','));
  add_value(command, names, "N", help,
            [=, &target](const std::string& text) { target = parse_integer(flag, text, low, high); });
}
void add_real(CLI::App* command, const std::string& names, const char* help, double low, double high, float& target) {
  const std::string flag = names.substr(0, names.find(','));
  add_value(command, names, "X", help,
            [=, &target](const std::string& text) { target = parse_real(flag, text, low, high); });
}
void add_switch(CLI::App* command, const char* flag, const char* help, bool& target) {
  command->add_flag(flag, target, help)->multi_option_policy(CLI::MultiOptionPolicy::Throw);
}
void add_model(CLI::App* command, std::optional<std::string>& target) {
  add_text(command, "-m,--model", "DIR", "Hugging Face folder of the model (default: the demo model)", target);
}
void add_prompt(CLI::App* command, std::optional<std::string>& text, std::optional<std::string>& file) {
  add_text(command, "-p,--prompt", "TEXT", "the text to begin with", text);
  add_text(command, "-f,--file", "FILE", "... or the file to read it from (-: standard input)", file);
}

void add_threads(CLI::App* command, std::int64_t& target) {
  add_integer(command, "-t,--threads", "0, -1: one on each processor (-1)", -1, 1024, target);
}

constexpr std::int64_t any_count = INT64_MAX;  // what is too large for the machine is a limit, not a misuse

void add_generate(CLI::App& app, GenerateOptions& options) {
  CLI::App* const command = app.add_subcommand("generate", "Write on from a prompt");
  add_model(command, options.model);
  add_prompt(command, options.prompt, options.prompt_file);
  add_value(command, "--tokens", "IDS", "... or token ids to begin with, and nothing else: 5,17,3",
            [&options](const std::string& text) { options.token_ids = parse_ids("--tokens", text); });
  add_integer(command, "-n,--max-tokens,--n-predict,--predict", "new tokens; -1, -2: until the context is full (-1)",
              -2, any_count, options.max_tokens);
  add_integer(command, "-c,--ctx-size", "positions; 0: what the model was made for (0)", 0, any_count, options.context);
  add_threads(command, options.threads);
  add_integer(command, "-b,--batch-size", "prompt rows given at a time (2048)", 1, INT32_MAX, options.batch_rows);
  add_integer(command, "--ubatch-size", "-ub N: ... and in one forward pass (512)", 1, INT32_MAX, options.ubatch_rows);
  add_value(command, "-s,--seed", "N", "of the sampler; -1: a random one, printed (-1)",
            [&options](const std::string& text) { options.seed = parse_seed("--seed", text); });
  add_real(command, "--temp,--temperature", "0: always the most likely token (0.8)", 0.0, 1e6, options.temperature);
  add_integer(command, "--top-k", "sample from the N most likely; 0: all (40)", 0, any_count, options.top_k);
  add_real(command, "--top-p", "... from the smallest set of this probability; 1: all (0.95)", 1e-6, 1.0,
           options.top_p);
  add_real(command, "--min-p", "... from those this likely against the best; 0: all (0.05)", 0.0, 1.0, options.min_p);
  add_real(command, "--repeat-penalty", "divides logits of tokens seen before; 1: none (1.0)", 1e-3, 1e3,
           options.repeat_penalty);
  add_integer(command, "--repeat-last-n", "... among the last N; -1: all, 0: none (64)", -1, any_count,
              options.repeat_last_n);
  add_switch(command, "--ignore-eos", "do not stop at the end-of-text token", options.ignore_eos);
  command
      ->add_option(
          "--stop",
          [&options](const CLI::results_t& values) {
            options.stop = values;
            return true;
          },
          "stop before this text; may be repeated")
      ->type_name("TEXT")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_integer(command, "--parallel", "continuations of the prompt, decoded together, each with a seed of its own (1)",
              1, 1024, options.parallel);
  add_integer(command, "--logprobs", "list the N best tokens of every step (with --json)", 1, any_count,
              options.logprobs);
  add_text(command, "--trace", "FILE", "write the experts and weights of every layer and position", options.trace);
  add_switch(command, "--json", "print one JSON object in place of text, or with --parallel a list", options.json);
  command->footer(
      "Examples:\n"
      "  headgate generate -p \"Once upon a time\" -n 100\n"
      "  headgate generate -m DIR -f question.txt --temp 0 --stop \"Q:\"\n"
      "  headgate generate --tokens 0,3272,742 -n 8 --temp 0 --logprobs 5 --json\n");
}

void add_inspect(CLI::App& app, InspectOptions& options) {
  CLI::App* const command = app.add_subcommand("inspect", "Say what a model is and what a token costs");
  add_model(command, options.model);
  add_switch(command, "--json", "print one JSON object", options.json);
}

void add_routers(CLI::App& app, RoutersOptions& options) {
  CLI::App* const command = app.add_subcommand("routers", "Compare models, or router policies, on the same text");
  command
      ->add_option(
          "-m,--model",
          [&options](const CLI::results_t& values) {
            options.models = values;
            return true;
          },
          "folder of a model; may be repeated (default: the demo model)")
      ->type_name("DIR")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_text(command, "-p,--prompt", "TEXT", "the text they read (default: a built-in story)", options.text);
  add_text(command, "-f,--file", "FILE", "... or the file to read it from (-: standard input)", options.text_file);
  add_value(command, "-c,--ctx-size", "N", "tokens of a window of the text; 0: as many as the model can (512)",
            [&options](const std::string& text) {
              options.context = parse_integer("-c", text, 0, INT32_MAX);
              if (options.context == 1) throw_usage("-c", "got '1', allowed is 0 or an integer from 2");
            });
  add_threads(command, options.threads);
  add_value(command, "-s,--seed", "N", "of intervals and of skewed logits; -1: a random one (1)",
            [&options](const std::string& text) {
              const std::optional<std::uint64_t> seed = parse_seed("--seed", text);
              options.seed = seed ? *seed : std::random_device{}();
            });
  add_switch(command, "--policies", "compare every router policy in place of the models", options.policies);
  add_text(command, "--counts", "FILE", "... also on routing counts: model,dataset,layer,expert,count", options.counts);
  add_switch(command, "--json", "print one JSON object, with 95 % intervals and loads", options.json);
  add_text(command, "--csv", "FILE", "write the numbers and their intervals", options.csv);
  add_text(command, "--html", "FILE", "write a page with pictures", options.html);
  command->footer(
      "Examples:\n"
      "  headgate routers -m tales -m tales-null -f book.txt --html report.html\n"
      "  headgate routers --policies --csv policies.csv\n");
}

void add_tokenize(CLI::App& app, TokenizeOptions& options) {
  CLI::App* const command = app.add_subcommand("tokenize", "Print the token ids of a text");
  add_model(command, options.model);
  add_prompt(command, options.prompt, options.prompt_file);
  add_switch(command, "--json", "print one JSON object: {\"tokens\":[...]}", options.json);
}

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
  app.get_formatter()->column_width(30);
  app.require_subcommand(0, 1);
  bool version = false;
  app.add_flag("--version", version, "print version, compiler, kernels and dependencies");
  GenerateOptions generate_options;
  InspectOptions inspect_options;
  RoutersOptions routers_options;
  TokenizeOptions tokenize_options;
  add_generate(app, generate_options);
  add_inspect(app, inspect_options);
  add_routers(app, routers_options);
  add_tokenize(app, tokenize_options);
  app.footer(
      "Examples:\n"
      "  headgate generate -p \"Once upon a time\"\n"
      "  headgate inspect -m DIR\n"
      "Each command has its own --help. Standard output carries the result and nothing else. Exit codes: 0 done,\n"
      "1 failure, 2 usage, 3 bad file, 4 input or output, 5 limit, 6 NaN or infinity, 130 interrupted.\n");
  try {
    app.parse(normalised(argc, argv));
  } catch (const CLI::CallForHelp&) {
    OutputFile::standard_output().write(app.help());
    return 0;
  } catch (const CLI::ExtrasError&) {
    const std::string unknown = app.remaining(true).front();
    throw_usage("", "'" + unknown + "' is not understood; " + suggestion(unknown, known_words(app)));
  } catch (const CLI::ParseError& error) {
    throw_usage("", error.what());
  }
  choose_kernels();
  if (version) {
    OutputFile::standard_output().write(version_text());
    return 0;
  }
  if (app.got_subcommand("generate")) return generate(generate_options);
  if (app.got_subcommand("inspect")) {
    inspect(inspect_options);
  } else if (app.got_subcommand("routers")) {
    routers_options.command = typed(argc, argv);
    routers(routers_options);
  } else if (app.got_subcommand("tokenize")) {
    tokenize(tokenize_options);
  } else {
    throw_usage("", "no command; commands are generate, inspect, routers and tokenize (see --help)");
  }
  return 0;
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
