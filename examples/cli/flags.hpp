// Flags: what a command takes on the command line. Each flag is declared once, beside the command that reads it; the
// parser, --help, the man page and the completions come from that.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "headgate/core/cache_type.hpp"
#include "headgate/core/compute.hpp"

namespace CLI {
class App;
}

// names: "-n,--max-tokens,--predict": the first stands in messages of numbers. unit: what a value is called in --help;
// of a FILE or DIR a shell completes the name. Targets keep what they hold where the flag is not given, and outlive
// the parsing. A flag may be given once unless it is one of texts().
class Flags {
 public:
  // isa: what --isa of any command sets.
  Flags(CLI::App& command, std::optional<std::string>& isa) : command_(command), isa_(isa) {}

  static constexpr std::int64_t any_count = INT64_MAX;  // what is too large for the machine is a limit, not a misuse

  // read gets the value as it was typed.
  void value(const std::string& names, const char* unit, const char* help,
             std::function<void(const std::string&)> read);
  void text(const std::string& names, const char* unit, const char* help, std::optional<std::string>& target);
  // Without a flag, in its place among the others that have none; it must be given. name: "OUT".
  void positional(const char* name, const char* help, std::optional<std::string>& target);
  void texts(const std::string& names, const char* unit, const char* help, std::vector<std::string>& target);
  void integer(const std::string& names, const char* help, std::int64_t low, std::int64_t high, std::int64_t& target);
  void real(const std::string& names, const char* help, double low, double high, float& target);
  void on(const std::string& names, const char* help, bool& target);

  // Those that several commands have.
  void model(std::optional<std::string>& target);
  void prompt(std::optional<std::string>& text, std::optional<std::string>& file);
  // What of the machine a model runs on: this and isa().
  void threads(std::int64_t& target);
  void isa();
  // What activations are at quantized weights.
  void compute(std::optional<headgate::Compute>& target);
  void lora(std::optional<std::string>& target);
  // How the cache holds what has been read.
  void cache_type(headgate::CacheType& target);
  // Positions, threads, and rows of a prompt at a time: what a session and its passes are made with.
  void session(std::int64_t& context, std::int64_t& thread_count, std::int64_t& batch_rows, std::int64_t& ubatch_rows);

  // Command lines, without the name of the program: "generate -p \"Once\"".
  void examples(const std::vector<std::string>& lines);

 private:
  CLI::App& command_;
  std::optional<std::string>& isa_;
};
