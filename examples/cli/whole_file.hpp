// WholeFile: a file that is there whole or not at all. It is written under another name in the same folder and takes
// its own when it is finished; of two writers one wins.
#pragma once

#include <cerrno>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

#include <unistd.h>

#include "output_file.hpp"

class WholeFile {
 public:
  // Throws headgate::Error io where the folder takes no file.
  explicit WholeFile(std::string path)
      : path_(std::move(path)),
        part_(path_ + "." + std::to_string(::getpid()) + ".part"),
        out_(OutputFile::open(part_)) {
    out_.start();
  }
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;
  ~WholeFile() {
    if (!is_finished_) ::unlink(part_.c_str());
  }

  void write(std::string_view bytes) { out_.write(bytes); }
  void finish() {
    out_.close();
    if (std::rename(part_.c_str(), path_.c_str()) != 0) {
      const int error = errno;
      throw headgate::Error(headgate::ErrorCode::io,
                            {path_, "", -1, "cannot take its name: " + std::generic_category().message(error)});
    }
    is_finished_ = true;
  }

 private:
  std::string path_;
  std::string part_;
  OutputFile out_;
  bool is_finished_ = false;
};
