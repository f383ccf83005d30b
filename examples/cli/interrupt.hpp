// Interrupt: Ctrl-C and SIGTERM, passed on to what is running. While an Interrupt lives, the first signal cancels its
// session, so that the text so far is kept; before that there is nothing to keep and the process ends at once. The
// second signal has its default action. The exit code is 128 + the signal's number: 130 and 143.
#pragma once

#include <atomic>
#include <csignal>

#include <unistd.h>

class Interrupt {
 public:
  // From now on a signal ends the process with our exit code.
  static void install() noexcept {
    received() = 0;
    for (const int number : {SIGINT, SIGTERM}) {
      struct sigaction action{};
      action.sa_handler = handle;
      action.sa_flags = static_cast<int>(SA_RESETHAND);
      ::sigaction(number, &action, nullptr);
    }
  }
  // From now on, and as long as this object lives, it calls running.cancel(), which is safe in a signal handler.
  template <class Session>
  explicit Interrupt(Session& running) noexcept {
    cancel() = [](void* object) noexcept { static_cast<Session*>(object)->cancel(); };
    target() = &running;
  }
  ~Interrupt() { target() = nullptr; }
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  static bool came() noexcept { return received() != 0; }  // a signal, since install()
  static int exit_code() noexcept { return 128 + received(); }

  // The file that goes when a signal ends the process at once; null: none. The text outlives its place here.
  static std::atomic<const char*>& unfinished_file() noexcept {
    static constinit std::atomic<const char*> path{nullptr};
    return path;
  }
  // The folder that goes likewise, with the files that were added since; null: none.
  static std::atomic<const char*>& unfinished_folder() noexcept {
    static constinit std::atomic<const char*> path{nullptr};
    return path;
  }
  static void add_unfinished(const char* file) noexcept {
    const int place = count_unfinished().load();
    if (place == most_unfinished) return;
    unfinished_files()[place] = file;
    count_unfinished() = place + 1;
  }

 private:
  static constexpr int most_unfinished = 16;
  static std::atomic<const char*>* unfinished_files() noexcept {
    static constinit std::atomic<const char*> paths[most_unfinished] = {};
    return paths;
  }
  static std::atomic<int>& count_unfinished() noexcept {
    static constinit std::atomic<int> count{0};
    return count;
  }
  using Cancel = void (*)(void*) noexcept;

  static std::atomic<void*>& target() noexcept {
    static constinit std::atomic<void*> session{nullptr};
    return session;
  }
  static std::atomic<Cancel>& cancel() noexcept {
    static constinit std::atomic<Cancel> function{nullptr};
    return function;
  }
  static std::atomic<int>& received() noexcept {
    static constinit std::atomic<int> number{0};
    return number;
  }
  static void handle(int number) noexcept {
    received() = number;
    void* const session = target();
    if (session == nullptr) {
      if (const char* const path = unfinished_file()) ::unlink(path);
      if (const char* const folder = unfinished_folder()) {
        for (int i = 0; i < count_unfinished(); ++i) ::unlink(unfinished_files()[i]);
        ::rmdir(folder);
      }
      ::_exit(128 + number);
    }
    cancel().load()(session);
  }
  static_assert(std::atomic<void*>::is_always_lock_free && std::atomic<int>::is_always_lock_free);
};
