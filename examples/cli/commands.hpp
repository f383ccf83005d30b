// The commands of the program, in the order of --help. A new one is a file with its flags and its work, and a line
// here.
#pragma once

#include <functional>
#include <string>

#include "flags.hpp"

// Does the work and returns the exit code; throws headgate::Error. typed: the command line, as it can be typed again.
using RunCommand = std::function<int(const std::string& typed)>;

// Each declares its flags and gives what runs the command once they have been read.
RunCommand generate_command(Flags& flags);
RunCommand chat_command(Flags& flags);
RunCommand inspect_command(Flags& flags);
RunCommand perplexity_command(Flags& flags);
RunCommand bench_command(Flags& flags);
RunCommand quantize_command(Flags& flags);
RunCommand split_command(Flags& flags);
RunCommand routers_command(Flags& flags);
RunCommand tokenize_command(Flags& flags);

struct Command {
  const char* name;
  const char* summary;
  RunCommand (*declare)(Flags& flags);
};

inline constexpr Command commands[] = {
    {"generate", "Write on from a prompt", generate_command},
    {"chat", "Talk to a model", chat_command},
    {"inspect", "Say what a model is and what a token costs", inspect_command},
    {"perplexity", "Say how well a model predicts a text, and how two models differ", perplexity_command},
    {"bench", "Measure tokens per second, beside what the machine could do", bench_command},
    {"quantize", "Write a model in fewer bits, packed as it is computed with", quantize_command},
    {"split", "Cut the networks of a dense model into experts", split_command},
    {"routers", "Compare models, or router policies, on the same text", routers_command},
    {"tokenize", "Print the token ids of a text", tokenize_command},
};
