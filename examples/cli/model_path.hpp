// Where the model is: the folder the user names, or else the demo model: in the share folder of the prefix that an
// installed program lies in, or in the source tree the program was built from.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <system_error>

#include "headgate/core/error.hpp"

inline std::string model_folder(const std::optional<std::string>& named) {
  if (named) {
    if (named->empty()) throw headgate::Error(headgate::ErrorCode::usage, {"", "-m", -1, "the folder has no name"});
    return *named;
  }
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path installed = (program.parent_path() / HEADGATE_INSTALLED_MODEL_DIR).lexically_normal();
  const std::filesystem::path built = HEADGATE_DEMO_MODEL_DIR;
  for (const std::filesystem::path& place : {installed, built}) {
    if (std::filesystem::exists(place / "config.json", error)) return place.string();
  }
  throw headgate::Error(headgate::ErrorCode::io,
                        {"", "-m", -1,
                         "no model named and no demo model found, neither in " + headgate::escaped(installed.string()) +
                             " nor in " + headgate::escaped(built.string())});
}
