// Normalizer: what happens to text before it is cut into pieces. Unicode normalization forms (UAX 15) by utf8proc,
// which only this file includes; lower case; replacing, prefixing and stripping. As in the reference, the forms are
// those of Unicode 9, lower case is Unicode 17's and word characters are Unicode 16's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <utf8proc.h>

#include "headgate/core/error.hpp"
#include "headgate/core/utf8.hpp"
#include "headgate/tokenizer/byte_level.hpp"
#include "headgate/tokenizer/pattern.hpp"
#include "headgate/tokenizer/text_steps.hpp"
#include "headgate/tokenizer/unicode_properties.hpp"

namespace headgate::inline HEADGATE_ABI {

// NFC, NFD, NFKC or NFKD. Linear up to a sort of each run of combining marks: utf8proc's own reordering is quadratic in
// the marks of a run, so only its tables and its composition are used.
struct UnicodeForm {
  bool compose;
  bool compatible;

  // ASCII is its own normal form and nothing before it depends on it: each stretch between ASCII characters stands
  // alone, with the ASCII character before it, which a mark may join.
  void append(std::string_view text, std::string& out) const {
    const auto is_ascii = [&](std::size_t i) { return static_cast<unsigned char>(text[i]) < 0x80; };
    std::vector<utf8proc_int32_t> buffer;
    std::size_t done = 0;
    for (std::size_t i = 0; i < text.size();) {
      if (is_ascii(i)) {
        ++i;
        continue;
      }
      const std::size_t begin = i > done ? i - 1 : i;
      out += text.substr(done, begin - done);
      while (i < text.size() && !is_ascii(i)) ++i;
      append_stretch(text.substr(begin, i - begin), buffer, out);
      done = i;
    }
    out += text.substr(done);
  }

 private:
  // Characters that are newer stay as they are, and nothing passes them; nor does U+11A7, one below the first trailing
  // consonant of Hangul, which utf8proc composes away.
  void append_stretch(std::string_view text, std::vector<utf8proc_int32_t>& buffer, std::string& out) const {
    std::size_t done = 0;
    for (std::size_t i = 0; i < text.size(); i += utf8_size(text[i])) {
      const char32_t c = code_point_at(text, i);
      const bool stays = c >= 0x300 && (c == 0x11A7 || is_newer_character(c) ||
                                        find_row<UnicodeRange>(inert_characters, c) != nullptr);
      if (!stays) continue;
      append_known(text.substr(done, i - done), buffer, out);
      done = i + utf8_size(text[i]);
      out += text.substr(i, done - i);
    }
    append_known(text.substr(done), buffer, out);
  }

  void append_known(std::string_view text, std::vector<utf8proc_int32_t>& buffer, std::string& out) const {
    const int decompose = UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0);
    buffer.clear();
    for (std::size_t i = 0; i < text.size(); i += utf8_size(text[i])) {
      utf8proc_int32_t parts[32];  // the longest decomposition has 18
      int boundary = 0;
      const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point_at(text, i)), parts, 32,
                                                 static_cast<utf8proc_option_t>(decompose), &boundary);
      buffer.insert(buffer.end(), parts, parts + std::clamp<utf8proc_ssize_t>(count, 0, 32));
    }
    const auto mark_class = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
    for (auto first = buffer.begin(); first != buffer.end();) {
      if (mark_class(*first) == 0) {
        ++first;
        continue;
      }
      const auto last = std::find_if(first, buffer.end(), [&](utf8proc_int32_t c) { return mark_class(c) == 0; });
      std::stable_sort(first, last,
                       [&](utf8proc_int32_t a, utf8proc_int32_t b) { return mark_class(a) < mark_class(b); });
      first = last;
    }
    auto size = static_cast<utf8proc_ssize_t>(buffer.size());
    if (compose) {
      size = utf8proc_normalize_utf32(buffer.data(), size,
                                      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    }
    for (utf8proc_ssize_t i = 0; i < size; ++i)
      append_utf8(out, static_cast<char32_t>(buffer[static_cast<std::size_t>(i)]));
  }
};

struct Lowercase {
  void append(std::string_view text, std::string& out) const {
    for (std::size_t i = 0; i < text.size(); i += utf8_size(text[i])) {
      const char32_t c = code_point_at(text, i);
      // The one character whose lower case is always two characters.
      if (c == 0x130) {
        out += "i\xCC\x87";
      } else if (const LowerCaseChange* const change = find_row<LowerCaseChange>(lower_case_changes, c)) {
        append_utf8(out, static_cast<char32_t>(static_cast<std::int32_t>(c) + change->add));
      } else if (is_newer_character(c)) {
        append_utf8(out, c);
      } else {
        append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
      }
    }
  }
};

struct PrependText {
  std::string prefix;
  void append(std::string_view text, std::string& out) const {
    if (!text.empty()) out += prefix;
    out += text;
  }
};

struct StripWhiteSpace {
  bool left;
  bool right;
  void append(std::string_view text, std::string& out) const {
    if (left) text.remove_prefix(leading_white_space(text));
    if (right) text.remove_suffix(trailing_white_space(text));
    out += text;
  }
};

// A letter or a part of a word, as \w: Alphabetic, Mark, Nd, Pc or Join_Control.
inline bool is_word_character(char32_t c) {
  if (const auto change = unicode_change(c)) {
    const std::string_view category = change->category;
    return (change->flags & 1) != 0 || category[0] == 'M' || category == "Nd" || category == "Pc";
  }
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      // Circled and squared letters are symbols that are Alphabetic; the two joiners are formats.
      return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
             (c >= 0x1F170 && c <= 0x1F189) || c == 0x200C || c == 0x200D;
  }
}

// Every match becomes the content.
struct ReplaceMatches {
  Pattern pattern;
  std::string content;

  void append(std::string_view text, std::string& out, MatchBudget& budget) const {
    if (text.empty()) return;
    PatternSearch search(pattern, budget);
    search.start(text);
    std::size_t end = 0;
    while (const auto match = search.next()) {
      out.append(text.substr(end, match->begin - end)).append(content);
      end = match->end;
    }
    out += text.substr(end);
  }
};

// Every byte becomes its character of the byte alphabet.
struct SpellBytesInText {
  void append(std::string_view text, std::string& out) const { append_byte_characters(text, out); }
};

class Normalizer {
 public:
  using Step =
      std::variant<UnicodeForm, Lowercase, ReplaceText, ReplaceMatches, PrependText, StripWhiteSpace, SpellBytesInText>;

  explicit Normalizer(std::vector<Step> steps = {}) : steps_(std::move(steps)) {}

  // What all the normalized parts of a text may fill together. (NFKC makes a character 11 times as long at most.)
  static constexpr std::size_t room(std::size_t text_size) noexcept { return room_for(text_size, 16); }

  // text: well-formed UTF-8. left: the room of the whole text, from which this part is taken. budget: its matches'.
  std::string apply(std::string_view text, std::size_t& left, MatchBudget& budget) const {
    std::string from(text);
    for (const Step& step : steps_) {
      std::string to;
      std::visit(
          [&](const auto& change) {
            if constexpr (std::is_same_v<decltype(change), const ReplaceMatches&>) {
              change.append(from, to, budget);
            } else {
              change.append(from, to);
            }
          },
          step);
      from = std::move(to);
      if (from.size() > left) {
        throw Error(ErrorCode::limit,
                    {"", "normalizer", -1, "the text grows to more than 16 times its size or 256 MiB"});
      }
    }
    left -= from.size();
    return from;
  }
  // Of a text of its own.
  std::string apply(std::string_view text) const {
    std::size_t left = room(text.size());
    MatchBudget budget = MatchBudget::for_text(text.size());
    return apply(text, left, budget);
  }

  // Whether every text is spelt in the byte alphabet.
  bool spells_bytes() const noexcept {
    return std::any_of(steps_.begin(), steps_.end(),
                       [](const Step& step) { return std::holds_alternative<SpellBytesInText>(step); });
  }

 private:
  std::vector<Step> steps_;
};

}  // namespace headgate::inline HEADGATE_ABI
