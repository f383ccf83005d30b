// StopStrings: ends a text before the first of some strings, wherever the pieces it arrives in are cut. What may be the
// beginning of one is held back until it is known. The string that is complete first counts; of those that end at the
// same byte, the longest.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

class StopStrings {
 public:
  // No string is empty.
  explicit StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {}

  bool found() const noexcept { return found_; }

  // The text that is certain to stand before every stop string.
  std::string append(std::string_view piece) {
    held_ += piece;
    std::pair<std::size_t, std::size_t> first = {std::string::npos, 0};  // end and beginning of what was found
    std::size_t kept = 0;
    for (const std::string& stop : strings_) {
      if (const std::size_t begin = held_.find(stop); begin != std::string::npos) {
        first = std::min(first, {begin + stop.size(), begin});
        found_ = true;
      }
      for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > kept; --n) {
        if (held_.ends_with(std::string_view(stop).substr(0, n))) kept = n;
      }
    }
    return take(found_ ? first.second : held_.size() - kept);
  }
  // What was held back, once no more text comes.
  std::string finish() { return found_ ? std::string() : take(held_.size()); }

 private:
  std::string take(std::size_t size) {
    std::string text = held_.substr(0, size);
    held_.erase(0, size);
    return text;
  }
  std::vector<std::string> strings_;
  std::string held_;
  bool found_ = false;
};
