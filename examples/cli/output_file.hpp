// OutputFile: a file descriptor that is written to the end or throws: short writes and interrupted calls are repeated,
// a full disk is an io error, and so is a reader that went away.
#pragma once

#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "headgate/core/error.hpp"

// The reader closed its end of the pipe: nobody is left to tell.
class ReaderGone : public headgate::Error {
 public:
  explicit ReaderGone(const std::string& name)
      : Error(headgate::ErrorCode::io, {name, "", -1, "the reader closed the pipe"}) {}
};

class OutputFile {
 public:
  // A descriptor that somebody else opened and closes.
  static OutputFile standard_output() { return OutputFile(STDOUT_FILENO, "standard output", false); }
  // Opens without touching what is there: nothing is lost before start().
  static OutputFile open(const std::string& path) {
    int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    const bool created = fd >= 0;
    if (!created && errno == EEXIST) fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) fail(path, "cannot be opened for writing");
    return OutputFile(fd, path, created);
  }
  OutputFile(OutputFile&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        name_(std::move(other.name_)),
        unused_(std::exchange(other.unused_, false)) {}
  OutputFile& operator=(OutputFile&&) = delete;
  // A file that this object made and never wrote to goes again.
  ~OutputFile() {
    if (unused_) ::unlink(name_.c_str());
    if (fd_ > STDERR_FILENO) ::close(fd_);
  }

  // Drops the content the file had.
  void start() {
    unused_ = false;
    struct stat status{};
    if (::fstat(fd_, &status) == 0 && S_ISREG(status.st_mode) && ::ftruncate(fd_, 0) != 0) {
      fail(name_, "cannot be emptied");
    }
  }
  void write(std::string_view text) {
    while (!text.empty()) {
      const ssize_t written = ::write(fd_, text.data(), text.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0 && errno == EPIPE) throw ReaderGone(name_);
      if (written < 0) fail(name_, "cannot be written");
      text.remove_prefix(static_cast<std::size_t>(written));
    }
  }
  // Some file systems report a failed write only here.
  void close() {
    if (const int fd = std::exchange(fd_, -1); ::close(fd) != 0) fail(name_, "cannot be closed");
  }
  // Whether both are the same file, by whatever name.
  bool is(const std::string& path) const {
    struct stat mine{};
    struct stat other{};
    return ::fstat(fd_, &mine) == 0 && ::stat(path.c_str(), &other) == 0 && mine.st_dev == other.st_dev &&
           mine.st_ino == other.st_ino;
  }

 private:
  OutputFile(int fd, std::string name, bool unused) : fd_(fd), name_(std::move(name)), unused_(unused) {}
  [[noreturn]] static void fail(const std::string& name, std::string_view what) {
    const int error = errno;
    throw headgate::Error(headgate::ErrorCode::io,
                          {name, "", -1, fmt::format("{}: {}", what, std::generic_category().message(error))});
  }

  int fd_;
  std::string name_;
  bool unused_;
};
