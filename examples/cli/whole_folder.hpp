// WholeFolder: a new folder that is there whole or not at all. Its files are written into one of another name beside
// it, which takes its own when all are finished; a run that fails or is interrupted leaves nothing.
#pragma once

#include <cerrno>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <sys/stat.h>
#include <unistd.h>

#include "headgate/core/error.hpp"
#include "interrupt.hpp"
#include "output_file.hpp"

class WholeFolder {
 public:
  // Throws headgate::Error: usage where there is something at this path, but for an empty folder; io where no folder
  // can be made.
  explicit WholeFolder(std::string path) : name_(path) {
    namespace fs = std::filesystem;
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    std::error_code none;
    const bool is_free = !path.empty() && (fs::symlink_status(path, none).type() == fs::file_type::not_found ||
                                           (fs::is_directory(path, none) && fs::is_empty(path, none)));
    if (!is_free) {
      throw headgate::Error(
          headgate::ErrorCode::usage,
          {name_, "", -1, path.empty() ? "the folder has no name" : "is there already: name a new folder"});
    }
    path_ = path;
    const fs::path folder = fs::path(path).parent_path();
    for (auto number = static_cast<unsigned>(::getpid());; ++number) {  // others' folders stay
      part_ = folder / ("headgate." + std::to_string(number) + ".part");
      if (::mkdir(part_.c_str(), 0777) == 0) break;
      if (errno != EEXIST) fail("cannot be made");
    }
    Interrupt::unfinished_folder() = part_.c_str();
  }
  WholeFolder(const WholeFolder&) = delete;
  WholeFolder& operator=(const WholeFolder&) = delete;
  ~WholeFolder() {
    if (part_.empty()) return;
    Interrupt::unfinished_folder() = nullptr;
    std::error_code none;
    std::filesystem::remove_all(part_, none);
  }

  // Of a file in the folder, until it takes its name.
  std::string path_of(std::string_view file) const { return part_ + "/" + std::string(file); }
  // Where the files are for now.
  const std::string& path() const noexcept { return part_; }

  // A new file, which messages call by its place in the finished folder.
  OutputFile create(std::string_view file) {
    Interrupt::add_unfinished(files_.emplace_back(path_of(file)).c_str());
    std::optional<OutputFile> made = OutputFile::create(files_.back(), path_ + "/" + std::string(file));
    if (!made) fail("is being written by somebody else");
    return std::move(*made);
  }
  void write(std::string_view file, std::string_view bytes) {
    OutputFile out = create(file);
    out.write(bytes);
    out.close();
  }
  void finish() {
    if (std::rename(part_.c_str(), path_.c_str()) != 0) fail("cannot take its name");
    Interrupt::unfinished_folder() = nullptr;
    part_.clear();
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    const int error = errno;
    throw headgate::Error(headgate::ErrorCode::io,
                          {name_, "", -1, std::string(what) + ": " + std::generic_category().message(error)});
  }

  std::string name_;  // as the user has it
  std::string path_;
  std::string part_;               // empty: finished
  std::deque<std::string> files_;  // which the signal handler knows: they stay where they are
};
