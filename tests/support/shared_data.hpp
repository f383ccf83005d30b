// Where third-party test data lives. It is never part of the repository: a test that needs it skips with a message.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

#include "support/catch.hpp"

// The path of a shared file, or nothing, with a warning in the test's report, when it is absent.
inline std::optional<std::filesystem::path> shared_data(const std::string& name) {
  const char* const directory = std::getenv("HEADGATE_SHARED_DIR");
  const std::filesystem::path path =
      std::filesystem::path(directory != nullptr ? directory : HEADGATE_SOURCE_DIR "/../shared") / name;
  if (std::filesystem::exists(path)) return path;
  WARN("skipped: " << name << " is not there (set HEADGATE_SHARED_DIR)");
  return std::nullopt;
}
