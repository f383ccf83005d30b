// WholeFile: a file that is there whole or not at all. It is written under another name in the same folder and takes
// its own when it is finished: what stood there stays until then, a run that fails leaves nothing, and of two writers
// one wins. A device or a pipe is written as it is.
#pragma once

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <sys/stat.h>
#include <unistd.h>

#include "interrupt.hpp"
#include "output_file.hpp"

class WholeFile {
 public:
  // Throws headgate::Error io where the file cannot be written, before there is anything to write.
  explicit WholeFile(const std::string& path) : name_(path), path_(path) {
    namespace fs = std::filesystem;
    std::error_code none;
    if (path.empty() || fs::symlink_status(path, none).type() != fs::file_type::not_found) {
      OutputFile there = OutputFile::open(path);
      old_ = there.status();
      if (!S_ISREG(old_->st_mode)) {
        out_.emplace(std::move(there));
        return;
      }
      path_ = fs::canonical(path);  // of a link, what it leads to is replaced
    }
    begin();  // a folder that takes no file is known now
    discard();
  }
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;
  ~WholeFile() { discard(); }

  void write(std::string_view bytes) {
    if (!out_) begin();
    out_->write(bytes);
  }
  void finish() {
    if (!out_) begin();
    out_->close();
    if (part_.empty()) return;
    if (std::rename(part_.c_str(), path_.c_str()) != 0) {
      const int error = errno;
      throw headgate::Error(headgate::ErrorCode::io,
                            {name_, "", -1, "cannot take its name: " + std::generic_category().message(error)});
    }
    forget();
  }
  // Whether there was a file and this is it, by whatever name.
  bool was(const std::string& path) const {
    struct stat other{};
    return old_ && ::stat(path.c_str(), &other) == 0 && old_->st_dev == other.st_dev && old_->st_ino == other.st_ino;
  }

 private:
  void begin() {
    const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
    for (auto number = static_cast<unsigned>(::getpid()); !out_; ++number) {  // others' files stay
      const std::string part = folder / ("headgate." + std::to_string(number) + ".part");
      std::optional<OutputFile> made = OutputFile::create(part, name_);
      if (!made) continue;
      part_ = part;
      out_.emplace(std::move(*made));
    }
    Interrupt::unfinished_file() = part_.c_str();
    if (old_) out_->set_mode(old_->st_mode & 0777);
  }
  void discard() {
    out_.reset();
    if (part_.empty()) return;
    ::unlink(part_.c_str());
    forget();
  }
  void forget() {
    Interrupt::unfinished_file() = nullptr;
    part_.clear();
  }

  std::string name_;  // as the user has it
  std::string path_;
  std::string part_;                // empty: there is none
  std::optional<struct stat> old_;  // what stood there
  std::optional<OutputFile> out_;
};
