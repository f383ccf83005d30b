// A scratch folder for the demo model to be copied to and damaged.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>

#include "support/scratch_folder.hpp"

namespace cli {

using ::write_all;

inline const std::filesystem::path tales = HEADGATE_SOURCE_DIR "/examples/models/tales";

inline std::string read_all(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

class ScratchFolder : public ::ScratchFolder {
 public:
  // A folder `name` with the demo model, by links, so that a test replaces only the file it damages.
  std::filesystem::path model(std::string_view name = "model") const {
    const std::filesystem::path folder = *this / name;
    std::filesystem::create_directory(folder);
    for (const char* file :
         {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}) {
      std::filesystem::create_symlink(tales / file, folder / file);
    }
    return folder;
  }
};

// Puts `bytes` in the place of a file of a model() folder.
inline void replace(const std::filesystem::path& file, std::string_view bytes) {
  std::filesystem::remove(file);
  write_all(file, bytes);
}

}  // namespace cli
