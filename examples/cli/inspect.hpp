// headgate inspect: what a checkpoint is and what a token of it costs, from its config.json and tensor headers.
#pragma once

#include <optional>
#include <string>

struct InspectOptions {
  std::optional<std::string> model;  // none: the demo model
  bool json = false;
};

// Throws headgate::Error.
void inspect(const InspectOptions& options);
