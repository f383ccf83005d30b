// A place in a pattern that is read: what stands there, characters written with a backslash, refusals.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "headgate/core/error.hpp"
#include "headgate/core/utf8.hpp"

namespace headgate::inline HEADGATE_ABI {

class PatternCursor {
 public:
  PatternCursor(std::string_view pattern, std::string_view field) : pattern_(pattern), field_(field) {}

 protected:
  char peek(std::size_t ahead) const noexcept { return i_ + ahead < pattern_.size() ? pattern_[i_ + ahead] : '\0'; }
  bool at(std::string_view text) const noexcept { return pattern_.substr(i_).starts_with(text); }

  // One character written with a backslash.
  char32_t character_escape() {
    const char c = peek(1);
    const auto take = [&](std::size_t size, char32_t value) {
      i_ += size;
      return value;
    };
    switch (c) {
      case 't':
        return take(2, '\t');
      case 'n':
        return take(2, '\n');
      case 'v':
        return take(2, '\v');
      case 'f':
        return take(2, '\f');
      case 'r':
        return take(2, '\r');
      case 'a':
        return take(2, '\a');
      case 'e':
        return take(2, 0x1B);
      case 'x':
        return peek(2) == '{' ? hexadecimal(3, 8, "}") : hexadecimal(2, 2, "");
      case 'u':
        return hexadecimal(2, 4, "");
      default:
        break;
    }
    const bool letter_or_digit = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (i_ + 1 >= pattern_.size() || letter_or_digit)
      refuse("the escape \\" + std::string(i_ + 1 < pattern_.size() ? 1 : 0, c));
    const char32_t value = code_point_at(pattern_, i_ + 1);
    return take(1 + utf8_size(c), value);
  }

  // \x{H...}, \xHH or \uHHHH: one to `most` digits, from the byte `begin` of the escape on.
  char32_t hexadecimal(std::size_t begin, std::size_t most, std::string_view end) {
    char32_t value = 0;
    std::size_t size = begin;
    for (; size < begin + most; ++size) {
      const char c = peek(size);
      const bool digit = c >= '0' && c <= '9';
      const bool upper = c >= 'A' && c <= 'F';
      if (!digit && !upper && !(c >= 'a' && c <= 'f')) break;
      value = 16 * value + static_cast<char32_t>(digit ? c - '0' : upper ? c - 'A' + 10 : c - 'a' + 10);
    }
    const bool two_digits = begin == 2 && most == 2;
    if (size == begin || (most == 4 && size < begin + 4)) refuse("an escape without its digits");
    if (!pattern_.substr(i_ + size).starts_with(end)) refuse("\\x{ without }");
    // Two digits are a byte of UTF-8 to Oniguruma.
    if (two_digits && value >= 0x80) refuse("a byte outside ASCII");
    if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) refuse("a number that is no character");
    i_ += size + end.size();
    return value;
  }

  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorCode::bad_file, {"", std::string(field_), -1,
                                      "pattern '" + escaped(pattern_) + "' has " + what + " at its byte " +
                                          std::to_string(i_) + ", which is not supported"});
  }

  std::string_view pattern_;
  std::string_view field_;
  std::size_t i_ = 0;
};

}  // namespace headgate::inline HEADGATE_ABI
