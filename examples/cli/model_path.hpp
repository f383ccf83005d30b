// Where the model is: the folder or file the user names, or else the demo model: in the share folder of the prefix that
// an installed program lies in, or in the source tree the program was built from. And what no output may overwrite.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <system_error>

#include "headgate/core/error.hpp"
#include "numbers.hpp"
#include "whole_file.hpp"

inline std::string model_folder(const std::optional<std::string>& named) {
  if (named) {
    if (named->empty()) throw headgate::Error(headgate::ErrorCode::usage, {"", "-m", -1, "the path has no name"});
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

// Refuses to write over a file that the model is read from, whatever the user calls it. Other files of the folder are
// the user's own. path: of a folder, or of a file that may be the first of several.
inline void refuse_model_file(const WholeFile& file, const std::string& flag, const std::string& path) {
  std::error_code none;  // a folder that cannot be listed is the loader's to report
  const bool is_folder = std::filesystem::is_directory(path, none);
  const std::filesystem::path beside = std::filesystem::path(path).parent_path();
  const std::filesystem::path folder = is_folder ? std::filesystem::path(path) : beside.empty() ? "." : beside;
  if (!is_folder && file.was(path)) throw_usage(flag, headgate::escaped(path, 1024) + " is a file of the model");
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    const std::string name = entry.path().filename().string();
    const bool is_gguf = !is_folder && entry.path().extension() == ".gguf" && name.find("-of-") != name.npos;
    if (!is_folder && !is_gguf) continue;
    const bool read = is_gguf || entry.path().extension() == ".safetensors" || name == "config.json" ||
                      name == "generation_config.json" || name == "tokenizer.json" || name == "tokenizer_config.json" ||
                      name == "chat_template.jinja" || name == "model.safetensors.index.json";
    if (read && file.was(entry.path().string())) {
      throw_usage(flag, headgate::escaped(entry.path().string(), 1024) + " is a file of the model");
    }
  }
}
