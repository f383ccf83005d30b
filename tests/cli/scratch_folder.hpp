// ScratchFolder: a folder that goes with its owner, and the demo model to be copied there and damaged.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>

namespace cli {

inline const std::filesystem::path tales = HEADGATE_SOURCE_DIR "/examples/models/tales";

inline std::string read_all(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}
inline void write_all(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path.string());
}

class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "headgate-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  // A folder `name` with the demo model, by links, so that a test replaces only the file it damages.
  std::filesystem::path model(std::string_view name = "model") const {
    const std::filesystem::path folder = path_ / name;
    std::filesystem::create_directory(folder);
    for (const char* file :
         {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}) {
      std::filesystem::create_symlink(tales / file, folder / file);
    }
    return folder;
  }

 private:
  std::filesystem::path path_;
};

// Puts `bytes` in the place of a file of a model() folder.
inline void replace(const std::filesystem::path& file, std::string_view bytes) {
  std::filesystem::remove(file);
  write_all(file, bytes);
}

}  // namespace cli
