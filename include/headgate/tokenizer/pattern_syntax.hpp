// The patterns of tokenizer.json are written for Oniguruma (Ruby's syntax), ours run on PCRE2. This translates what the
// two read alike or almost alike, and refuses the rest by name: a construct that means something else must never pass
// silently.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/core/error.hpp"
#include "headgate/core/utf8.hpp"
#include "headgate/tokenizer/class_syntax.hpp"

namespace headgate::inline HEADGATE_ABI {

// Reads a pattern. Differences that are bridged:
//   \w        Alphabetic, Mark, Nd and Pc; outside a class also the numbers of Latin-1 (superscripts and fractions)
//   \b        by that \w; \s is White_Space; \h a hexadecimal digit; \v the one character U+000B
//   \p{...}   the Unicode version (character_class.hpp); a script's name means the script and not its extensions
//   [...]     classes within classes, and intersections with &&
//   (?i)      holds to the end of the group, the alternatives that follow included; (?m) means PCRE2's (?s)
//   {,n}      from zero; a { that begins no such thing is itself
// Engine: of CharacterSet, and bool is_script(std::string_view name).
template <class Engine>
class PatternTranslator : private ClassReader<Engine> {
  using Reader = ClassReader<Engine>;

 public:
  using Reader::corrections;
  using Reader::Reader;

  // Once.
  std::string translate() {
    while (i_ < pattern_.size()) element();
    out_.append(groups_.back().open_options, ')');
    return std::move(out_);
  }

 private:
  struct Group {
    bool ignored_case = false;     // before it
    std::size_t open_options = 0;  // groups opened for (?i) and its like, which end with this one
  };
  using Set = CharacterSet<Engine>;
  using Reader::at;
  using Reader::corrections_;
  using Reader::engine_;
  using Reader::i_;
  using Reader::ignores_case_;
  using Reader::pattern_;
  using Reader::peek;
  using Reader::refuse;

  void put(std::string_view text, std::size_t consumed) {
    out_ += text;
    i_ += consumed;
  }
  void copy(std::size_t count) { put(pattern_.substr(i_, count), count); }

  void element() {
    const char32_t before = std::exchange(letter_, U'\0');
    switch (peek(0)) {
      case '\\':
        return escape(before);
      case '[':
        out_ += this->character_class();
        return;
      case '(':
        return open_group();
      case ')':
        out_.append(groups_.back().open_options, ')');
        if (groups_.size() > 1) {
          ignores_case_ = groups_.back().ignored_case;
          groups_.pop_back();
        }
        return copy(1);
      case '{':
        return brace();
      case '}':
      case ']':
        return put(peek(0) == '}' ? "\\}" : "\\]", 1);
      case '|':
      case '^':
      case '$':
      case '.':
      case '*':
      case '+':
      case '?':
        return copy(1);
      default:
        return literal(code_point_at(pattern_, i_), before, utf8_size(pattern_[i_]));
    }
  }

  // Some letters in a row mean one other character, where case is ignored: ss is ß.
  void literal(char32_t c, char32_t before, std::size_t consumed) {
    if (ignores_case_) {
      if (c >= 0x80) refuse("a character outside ASCII where case is ignored");
      letter_ = c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
      const bool follows_s = before == 's' && (letter_ == 's' || letter_ == 't');
      const bool follows_f = before == 'f' && (letter_ == 'f' || letter_ == 'i' || letter_ == 'l');
      if (follows_s || follows_f) refuse("letters that are one character too where case is ignored");
    }
    copy(consumed);
  }

  void escape(char32_t before) {
    const std::size_t begin = i_;
    if (Set set(engine_); const auto negated = this->property_escape(set, /*in_class=*/false)) {
      const std::string text = shortest(set, pattern_.substr(begin, i_ - begin), *negated);
      out_ += ignores_case_ ? "(?-i:" + text + ")" : text;  // to Oniguruma a property does not ignore case
      return;
    }
    switch (peek(1)) {
      case 'b':
      case 'B': {
        Set word(engine_);
        this->add_word(word, /*in_class=*/false);
        const std::string is = this->set_text(word, false);
        const bool edge = peek(1) == 'b';
        return put(
            "(?:(?<=" + is + ")(?" + (edge ? "!" : "=") + is + ")|(?<!" + is + ")(?" + (edge ? "=" : "!") + is + "))",
            2);
      }
      case 'R':
        return put("(?>\\r\\n|[\\n-\\r\\x{85}\\x{2028}\\x{2029}])", 2);
      case 'A':
      case 'z':
      case 'Z':
        return copy(2);
      default:
        break;
    }
    const char32_t c = this->character_escape();
    const std::size_t size = std::exchange(i_, begin) - begin;
    literal(c, before, 0);
    put(code_point_text(c), size);
  }

  // What is in the pattern already, where it needs no correction.
  std::string shortest(const Set& set, std::string_view written, bool negated) {
    const std::size_t before = corrections_;
    std::string text = this->set_text(set, negated);
    const bool same = corrections_ == before && written.starts_with("\\p") && text == "[" + std::string(written) + "]";
    return same ? std::string(written) : text;
  }

  // A repeat {n}, {n,}, {n,m} or {,m}, or the character.
  void brace() {
    std::size_t size = 1;
    const auto digits = [&] {
      const std::size_t begin = size;
      while (peek(size) >= '0' && peek(size) <= '9') ++size;
      return pattern_.substr(i_ + begin, size - begin);
    };
    const std::string_view least = digits();
    const bool comma = peek(size) == ',';
    if (comma) ++size;
    const std::string_view most = comma ? digits() : "";
    if (peek(size) != '}' || (least.empty() && most.empty())) return put("\\{", 1);
    const char after = peek(size + 1);
    if (after == '+') refuse("a possessive {n,m}+");
    if (after == '?' && (!comma || least.empty())) refuse("a lazy {n}? or {,n}?");
    out_.append("{").append(least.empty() ? "0" : least).append(comma ? "," : "").append(most).append("}");
    i_ += size + 1;
  }

  void open_group() {
    groups_.push_back({ignores_case_, 0});
    if (groups_.size() > max_groups) refuse("groups within groups, too deep");
    if (peek(1) == '*') refuse("a verb (*...)");
    if (peek(1) != '?') return copy(1);
    for (const std::string_view known : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"}) {
      if (at(known)) return copy(known.size());
    }
    // Options: i, and m, with which the dot matches a line feed.
    bool off = false;
    std::string options;
    std::size_t size = 2;
    for (; peek(size) == 'i' || peek(size) == 'm' || (peek(size) == '-' && !off); ++size) {
      if (peek(size) == '-') off = true;
      if (peek(size) == 'i') ignores_case_ = !off;
      options += peek(size) == 'm' ? 's' : peek(size);
    }
    const bool closed = peek(size) == ')';
    if (options.empty() || (!closed && peek(size) != ':')) {
      refuse("a group that is none of (?: (?= (?! (?> (?<= (?<! (?i (?m (?-i (?-m");
    }
    if (closed) {
      groups_.pop_back();
      ++groups_.back().open_options;
    }
    put("(?" + options + ":", size + 1);
  }

  static constexpr std::size_t max_groups = 10000;

  std::string out_;
  std::vector<Group> groups_ = std::vector<Group>(1);
  char32_t letter_ = U'\0';  // the character before, where case is ignored
};
template <class Engine>
PatternTranslator(std::string_view, std::string_view, const Engine&) -> PatternTranslator<Engine>;

}  // namespace headgate::inline HEADGATE_ABI
