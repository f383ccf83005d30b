// The patterns of tokenizer.json are written for Oniguruma, ours run on PCRE2. This translates what the two read alike
// or almost alike, and refuses the rest by name: a construct that means something else must never pass silently.
#pragma once

#include <string>
#include <string_view>

#include "headgate/core/error.hpp"

namespace headgate::inline HEADGATE_ABI {

// Differences that are bridged: \s is White_Space (PCRE2 adds U+180E), \w is Alphabetic, Mark, Nd and Pc (PCRE2 has
// letters, numbers and _), \v is the one character U+000B, and a script's name means the script and not its extensions
// (is_script).
template <class IsScript>
class PatternTranslator {
 public:
  PatternTranslator(std::string_view pattern, std::string_view field, IsScript is_script)
      : pattern_(pattern), field_(field), is_script_(is_script) {}

  std::string translate() {
    while (i_ < pattern_.size()) {
      const char c = pattern_[i_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_character(c);
      } else if (c == '[') {
        open_class();
      } else if (c == '(') {
        open_group();
      } else {
        if (c == '}' && peek(1) == '+') refuse("a possessive {n,m}+");
        copy(1);
      }
    }
    return std::move(out_);
  }

 private:
  char peek(std::size_t ahead) const noexcept { return i_ + ahead < pattern_.size() ? pattern_[i_ + ahead] : '\0'; }

  void copy(std::size_t count) {
    out_ += pattern_.substr(i_, count);
    i_ += count;
  }

  void put(std::string_view text, std::size_t consumed) {
    out_ += text;
    i_ += consumed;
  }

  void escape() {
    const char c = peek(1);
    switch (c) {
      case 's':
        return put("\\p{White_Space}", 2);
      case 'S':
        return put("\\P{White_Space}", 2);
      case 'w':
        return put(in_class_ ? "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}" : "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]", 2);
      case 'v':
        return put("\\x0b", 2);
      case 'p':
      case 'P':
        return property();
      case 'x':
      case 'd':
      case 'D':
      case 't':
      case 'n':
      case 'r':
      case 'f':
      case 'a':
      case 'e':
        return copy(2);
      default:
        break;
    }
    const bool letter_or_digit = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (c == '\0' || letter_or_digit) refuse("the escape \\" + std::string(c == '\0' ? 0 : 1, c));
    copy(2);
  }

  void property() {
    const std::size_t end = pattern_.find('}', i_);
    if (peek(2) != '{' || end == std::string_view::npos) refuse("\\p without {name}");
    std::string_view name = pattern_.substr(i_ + 3, end - i_ - 3);
    out_ += pattern_.substr(i_, 3);
    if (name.starts_with('^')) {
      out_ += '^';
      name.remove_prefix(1);
    }
    // General categories have one or two letters; scripts and binary properties have more.
    if (name.size() > 2 && is_script_(name)) out_ += "sc:";
    out_ += name;
    out_ += '}';
    i_ = end + 1;
  }

  void open_class() {
    in_class_ = true;
    copy(1);
    if (peek(0) == '^') copy(1);
    if (peek(0) == ']') refuse("an unescaped ] at the start of a class");
  }

  void class_character(char c) {
    if (c == '[') refuse("a class within a class");
    if (c == '&' && peek(1) == '&') refuse("an intersection of classes");
    if (c == ']') in_class_ = false;
    copy(1);
  }

  void open_group() {
    if (peek(1) == '*') refuse("a verb (*...)");
    if (peek(1) != '?') return copy(1);
    for (const std::string_view known :
         {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?i)", "(?-i:", "(?-i)"}) {
      if (pattern_.substr(i_).starts_with(known)) return copy(known.size());
    }
    refuse("a group that is none of (?: (?= (?! (?> (?<= (?<! (?i (?-i");
  }

  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorCode::bad_file, {"", std::string(field_), -1,
                                      "pattern '" + escaped(pattern_) + "' has " + what + " at its byte " +
                                          std::to_string(i_) + ", which is not supported"});
  }

  std::string_view pattern_;
  std::string_view field_;
  IsScript is_script_;
  std::string out_;
  std::size_t i_ = 0;
  bool in_class_ = false;
};

}  // namespace headgate::inline HEADGATE_ABI
