// A program on a terminal of its own: what a person types and sees.
#pragma once

#include <cerrno>
#include <chrono>
#include <csignal>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

namespace cli {

class Terminal {
 public:
  // words: the program, by path or by name, and its arguments. edits_lines: as a terminal does unless a program asks it
  // not to: a line is given when it is complete, and Ctrl-C is a signal.
  explicit Terminal(std::vector<std::string> words, bool edits_lines = true) {
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    winsize size{40, 200, 0, 0};
    pid_ = ::forkpty(&fd_, nullptr, nullptr, &size);
    if (pid_ < 0) throw std::runtime_error("no terminal can be made");
    if (pid_ == 0) {
      termios mode{};
      ::tcgetattr(0, &mode);
      if (!edits_lines) ::cfmakeraw(&mode);
      ::tcsetattr(0, TCSANOW, &mode);
      ::setenv("TERM", "xterm", 1);
      ::execvp(argv.front(), argv.data());
      ::_exit(127);
    }
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal() {
    if (pid_ > 0) ::kill(pid_, SIGKILL), ::waitpid(pid_, nullptr, 0);
    ::close(fd_);
  }

  static constexpr const char* ctrl_c = "\x03";
  static constexpr const char* ctrl_d = "\x04";

  // Everything seen so far, carriage returns and echo too.
  const std::string& seen() const noexcept { return seen_; }

  void type(std::string_view keys) {
    while (!keys.empty()) {
      const ssize_t written = ::write(fd_, keys.data(), keys.size());
      if (written < 0) throw std::runtime_error("the terminal cannot be written");
      keys.remove_prefix(static_cast<std::size_t>(written));
    }
  }
  // Waits for this text among what was not waited for yet. False: it did not come.
  bool sees(std::string_view text) {
    while (true) {
      if (const std::size_t at = seen_.find(text, passed_); at != std::string::npos) {
        passed_ = at + text.size();
        return true;
      }
      if (!read()) return false;
    }
  }
  // Waits for so many bytes after what was waited for, and gives them.
  std::string next(std::size_t bytes) {
    while (seen_.size() < passed_ + bytes && read()) {
    }
    return seen_.substr(passed_, bytes);
  }
  // Waits for the end of the program: its exit code, or 128 + the signal that killed it.
  int finish() {
    while (read()) {
    }
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  // False: the program has closed the terminal, or says nothing any more.
  bool read() {
    pollfd waiting{fd_, POLLIN, 0};
    if (::poll(&waiting, 1, 60'000) <= 0) return false;  // sanitizers are slow
    char buffer[4096];
    const ssize_t got = ::read(fd_, buffer, sizeof buffer);
    if (got <= 0) return false;
    seen_.append(buffer, static_cast<std::size_t>(got));
    return true;
  }

  int fd_ = -1;
  pid_t pid_ = -1;
  std::string seen_;
  std::size_t passed_ = 0;
};

}  // namespace cli
