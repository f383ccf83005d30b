// headgate tokenize: the ids a model sees in place of a text.
#pragma once

#include <optional>
#include <string>

struct TokenizeOptions {
  std::optional<std::string> model;        // none: the demo model
  std::optional<std::string> prompt;       // one of these two
  std::optional<std::string> prompt_file;  // -: standard input
  bool json = false;
};

// Throws headgate::Error.
void tokenize(const TokenizeOptions& options);
