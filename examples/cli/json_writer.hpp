// JsonWriter: JSON text, written in order. Commas are its business; balancing begin and end is the caller's.
// Strings are UTF-8 already; quotes, backslashes and control bytes are escaped.
#pragma once

#include <cmath>
#include <concepts>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

class JsonWriter {
 public:
  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }

  JsonWriter& key(std::string_view name) {
    value(name);
    text_ += ':';
    comma_ = false;
    return *this;
  }
  JsonWriter& value(std::string_view text) {
    separate();
    text_ += '"';
    for (const char c : text) {
      if (c == '"' || c == '\\') {
        text_ += {'\\', c};
      } else if (static_cast<unsigned char>(c) < 0x20) {
        text_ += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
      } else {
        text_ += c;
      }
    }
    text_ += '"';
    return *this;
  }
  // The shortest text that reads back as the same number; JSON has no word for what is not finite.
  template <class T>
    requires std::integral<T> || std::floating_point<T>
  JsonWriter& value(T number) {
    separate();
    if constexpr (std::floating_point<T>) {
      if (!std::isfinite(number)) {
        text_ += "null";
        return *this;
      }
    }
    text_ += fmt::format("{}", number);
    return *this;
  }
  template <class Range>
  JsonWriter& array(const Range& values) {
    begin_array();
    for (const auto& v : values) value(v);
    return end_array();
  }

  // What was written; the next value begins a new text.
  std::string take() {
    comma_ = false;
    return std::exchange(text_, {});
  }

 private:
  void separate() {
    if (comma_) text_ += ',';
    comma_ = true;
  }
  JsonWriter& open(char bracket) {
    separate();
    text_ += bracket;
    comma_ = false;
    return *this;
  }
  JsonWriter& close(char bracket) {
    text_ += bracket;
    comma_ = true;
    return *this;
  }

  std::string text_;
  bool comma_ = false;  // a value stands before the next one
};
