// Progress: one line on standard error, drawn again at most 10 times a second and gone when the work is done; on a
// terminal only, and on any: without escape sequences. Time left is what the part done so far took, carried on.
#pragma once

#include <chrono>
#include <string>

#include <unistd.h>

#include <fmt/format.h>

#include "note.hpp"

class Progress {
 public:
  // what: "perplexity". Nothing is drawn before `quiet` seconds have passed.
  explicit Progress(std::string what, double quiet_s = 0.0, bool is_shown = ::isatty(STDERR_FILENO) != 0)
      : what_(std::move(what)), quiet_s_(quiet_s), is_shown_(is_shown) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() {
    if (drawn_at_ >= 0.0) draw("");
  }

  // done of total parts; detail: what is known so far.
  void update(double done, double total, const std::string& detail = {}) {
    if (!is_shown_) return;
    const double now = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    if (now < quiet_s_ || (drawn_at_ >= 0.0 && now - drawn_at_ < 0.1)) return;
    drawn_at_ = now;
    draw(line(what_, done, total, now, detail));
  }

  // "perplexity 42 %, 1:05 left, PPL 12.3"
  static std::string line(const std::string& what, double done, double total, double passed_s,
                          const std::string& detail) {
    const double share = total > 0.0 ? done / total : 1.0;
    std::string text = fmt::format("{} {:.0f} %", what, 100.0 * share);
    if (share > 0.0) text += ", " + time_text(passed_s * (1.0 - share) / share) + " left";
    return detail.empty() ? text : text + ", " + detail;
  }
  // 0:07, 12:00, 3:00:00
  static std::string time_text(double seconds) {
    const auto s = static_cast<long long>(seconds + 0.5);
    if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
    return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  }

 private:
  // In place of what was drawn before.
  void draw(const std::string& text) {
    note('\r' + std::string(width_, ' ') + '\r' + text);
    width_ = text.size();
  }

  std::string what_;
  double quiet_s_;
  bool is_shown_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double drawn_at_ = -1.0;  // seconds after the start
  std::size_t width_ = 0;   // of what stands there
};
