// OutputFile: a file descriptor that is written to the end or throws: short writes and interrupted calls are repeated,
// a full disk is an io error, and so is a reader that went away.
#pragma once

#include <cerrno>
#include <cstddef>
#include <optional>
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
  static OutputFile standard_output() { return OutputFile(STDOUT_FILENO, "standard output"); }
  // An existing file, whose content stays.
  static OutputFile open(const std::string& path) {
    const int fd = open_descriptor(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) fail(path, "cannot be opened for writing");
    return OutputFile(fd, path);
  }
  // A new file, which messages call `name`; none where there is one at this path.
  static std::optional<OutputFile> create(const std::string& path, const std::string& name) {
    const int fd = open_descriptor(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC);
    if (fd >= 0) return OutputFile(fd, name);
    if (errno == EEXIST) return std::nullopt;
    fail(name, "cannot be created");
  }
  OutputFile(OutputFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)), name_(std::move(other.name_)) {}
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile() {
    if (fd_ > STDERR_FILENO) ::close(fd_);
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
  // What was written is on the disk, where there is one (EINVAL, EROFS: none): some file systems report a failed write
  // only here.
  void close() {
    int failed = ::fsync(fd_);
    while (failed != 0 && errno == EINTR) failed = ::fsync(fd_);
    if (failed != 0 && errno != EINVAL && errno != EROFS) fail(name_, "cannot be written");
    if (const int fd = std::exchange(fd_, -1); ::close(fd) != 0 && errno != EINTR) fail(name_, "cannot be closed");
  }
  struct stat status() const {
    struct stat found{};
    if (::fstat(fd_, &found) != 0) fail(name_, "cannot be looked at");
    return found;
  }
  void set_mode(mode_t mode) const { static_cast<void>(::fchmod(fd_, mode)); }

 private:
  OutputFile(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  static int open_descriptor(const std::string& path, int flags) {
    int fd = ::open(path.c_str(), flags, 0666);
    while (fd < 0 && errno == EINTR) fd = ::open(path.c_str(), flags, 0666);
    return fd;
  }
  [[noreturn]] static void fail(const std::string& name, std::string_view what) {
    const int error = errno;
    throw headgate::Error(headgate::ErrorCode::io,
                          {name, "", -1, fmt::format("{}: {}", what, std::generic_category().message(error))});
  }

  int fd_;
  std::string name_;
};
