// LineReader: lines of standard input, as a terminal or a pipe gives them, one at a time and none longer than 1 MiB.
#pragma once

#include <cerrno>
#include <optional>
#include <string>
#include <system_error>

#include <unistd.h>

#include <fmt/format.h>

#include "headgate/core/error.hpp"
#include "headgate/core/utf8.hpp"

class LineReader {
 public:
  static constexpr std::size_t longest = std::size_t{1} << 20;  // bytes

  // Without its end (LF or CRLF); nothing once the input has ended. io: it cannot be read; limit: a longer line;
  // bad_file: not UTF-8. After either the next line can be read.
  std::optional<std::string> next() {
    std::size_t seen = 0;
    while (true) {
      const std::size_t end = held_.find('\n', seen);
      if (is_too_long_) {
        is_too_long_ = end == std::string::npos && !ended_;
        held_.erase(0, end == std::string::npos ? end : end + 1);
        seen = 0;
        if (is_too_long_) read();
        continue;
      }
      if (end != std::string::npos || ended_) {
        if (end == std::string::npos && held_.empty()) return std::nullopt;
        std::string line = held_.substr(0, end);
        held_.erase(0, end == std::string::npos ? end : end + 1);
        if (line.ends_with('\r')) line.pop_back();
        ++number_;
        check(line);
        return line;
      }
      seen = held_.size();
      if (seen > longest) {
        is_too_long_ = true;
        ++number_;
        fail(headgate::ErrorCode::limit, fmt::format("more than {} bytes in a line", longest));
      }
      read();
    }
  }

 private:
  [[noreturn]] void fail(headgate::ErrorCode code, const std::string& what, std::int64_t offset = -1) const {
    throw headgate::Error(code, {"standard input", fmt::format("line {}", number_), offset, what});
  }
  void check(const std::string& line) const {
    if (line.size() > longest) {
      fail(headgate::ErrorCode::limit, fmt::format("more than {} bytes in a line", longest));
    }
    const std::size_t bad = headgate::find_invalid_utf8(line);
    if (bad == std::string::npos) return;
    fail(headgate::ErrorCode::bad_file,
         "not UTF-8 (found " + headgate::escaped(line.substr(bad, 4)) +
             "); is the terminal's encoding Windows-1252 or Latin-1?",
         static_cast<std::int64_t>(bad));
  }
  void read() {
    const std::size_t before = held_.size();
    held_.resize(before + (std::size_t{1} << 16));
    const ssize_t got = ::read(STDIN_FILENO, held_.data() + before, held_.size() - before);
    const int error = errno;
    held_.resize(before + (got > 0 ? static_cast<std::size_t>(got) : 0));
    ended_ = got == 0;
    if (got < 0 && error != EINTR) {
      fail(headgate::ErrorCode::io, "cannot be read: " + std::generic_category().message(error));
    }
  }

  std::string held_;
  bool ended_ = false;
  bool is_too_long_ = false;  // the line in progress: it has been refused, and what is left of it is skipped
  int number_ = 0;
};
