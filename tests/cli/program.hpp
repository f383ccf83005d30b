// The headgate program as a user meets it: a child process with captured output and an exit code.
#pragma once

#include <algorithm>
#include <csignal>
#include <functional>
#include <regex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;  // NOLINT(readability-redundant-declaration)

namespace cli {

struct Result {
  int code = -1;        // exit code, or 128 + the signal that killed it
  bool killed = false;  // by a signal, in place of leaving with a code
  std::string out;
  std::string err;
};

struct Launch {
  std::string input = {};                     // given to standard input, then closed
  std::string input_from = "/dev/null";       // a path in place of `input` while that is empty; empty: closed
  std::string output_to = {};                 // a path in place of the captured standard output
  std::vector<std::string> environment = {};  // NAME=value, added
  // Called whenever more of standard output has arrived; false closes our end of it.
  std::function<bool(pid_t, std::string_view out)> on_output = {};
  std::string program = HEADGATE_PROGRAM;
};

class Descriptors {
 public:
  Descriptors() {
    if (::pipe2(fd_, O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
  }
  ~Descriptors() { close(0), close(1); }
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;
  int operator[](int end) const { return fd_[end]; }
  void close(int end) {
    if (fd_[end] >= 0) ::close(fd_[end]);
    fd_[end] = -1;
  }

 private:
  int fd_[2] = {-1, -1};
};

inline Result run(const std::vector<std::string>& arguments, const Launch& launch = {}) {
  Descriptors in;
  Descriptors out;
  Descriptors err;
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  if (!launch.input.empty()) {
    ::posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  } else if (launch.input_from.empty()) {
    ::posix_spawn_file_actions_addclose(&actions, 0);
  } else {
    ::posix_spawn_file_actions_addopen(&actions, 0, launch.input_from.c_str(), O_RDONLY, 0);
  }
  if (launch.output_to.empty()) {
    ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  } else {
    ::posix_spawn_file_actions_addopen(&actions, 1, launch.output_to.c_str(), O_WRONLY, 0);
  }
  ::posix_spawn_file_actions_adddup2(&actions, err[1], 2);

  std::vector<std::string> words = {launch.program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::vector<std::string> added = launch.environment;
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with("HEADGATE_ISA=")) environment.push_back(*entry);
  }
  for (std::string& entry : added) environment.push_back(entry.data());
  environment.push_back(nullptr);
  pid_t pid = 0;
  const int failed = ::posix_spawn(&pid, launch.program.c_str(), &actions, nullptr, argv.data(), environment.data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) throw std::runtime_error("cannot start " + launch.program);
  in.close(0);
  out.close(1);
  err.close(1);

  Result result;
  std::string_view to_write = launch.input;
  const auto old_action = std::signal(SIGPIPE, SIG_IGN);  // a child that does not read its input is its own affair
  if (to_write.empty()) in.close(1);
  while (out[0] >= 0 || err[0] >= 0) {
    pollfd waiting[3] = {{out[0], POLLIN, 0}, {err[0], POLLIN, 0}, {in[1], POLLOUT, 0}};
    if (::poll(waiting, 3, 300'000) <= 0) {  // five minutes without a word, sanitizers are slow: it hangs
      ::kill(pid, SIGKILL);
      break;
    }
    char buffer[1 << 16];
    const auto drain = [&](Descriptors& pipe, short events, std::string& text) {
      if (events == 0) return;
      const ssize_t got = ::read(pipe[0], buffer, sizeof buffer);
      if (got > 0) {
        text.append(buffer, static_cast<std::size_t>(got));
      } else {
        pipe.close(0);
      }
    };
    drain(out, waiting[0].revents, result.out);
    if (out[0] >= 0 && waiting[0].revents != 0 && launch.on_output && !launch.on_output(pid, result.out)) out.close(0);
    drain(err, waiting[1].revents, result.err);
    if (waiting[2].revents != 0) {
      const ssize_t written = ::write(in[1], to_write.data(), std::min<std::size_t>(to_write.size(), 1 << 16));
      if (written > 0) to_write.remove_prefix(static_cast<std::size_t>(written));
      if (written <= 0 || to_write.empty()) in.close(1);
    }
  }
  std::signal(SIGPIPE, old_action);
  int status = 0;
  ::waitpid(pid, &status, 0);
  result.killed = WIFSIGNALED(status);
  result.code = result.killed ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return result;
}

// The commands that --help lists.
inline std::vector<std::string> commands() {
  const std::string help = run({"--help"}).out;
  const std::string list = help.substr(help.find("Commands:"), help.find("Options:") - help.find("Commands:"));
  std::vector<std::string> names;
  const std::regex line("\n  ([a-z]+) ");
  for (std::sregex_iterator it(list.begin(), list.end(), line), end; it != end; ++it) names.push_back((*it)[1]);
  return names;
}

}  // namespace cli
