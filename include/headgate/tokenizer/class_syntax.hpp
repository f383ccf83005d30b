// Reads the classes of a pattern: [...] with classes within classes and intersections, \\p{...}, \\w and their like, as
// PCRE2 text that holds the characters that Oniguruma's class holds.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/core/error.hpp"
#include "headgate/core/utf8.hpp"
#include "headgate/tokenizer/character_class.hpp"
#include "headgate/tokenizer/pattern_cursor.hpp"

namespace headgate::inline HEADGATE_ABI {

// Engine: of CharacterSet, and bool is_script(std::string_view name).
template <class Engine>
class ClassReader : public PatternCursor {
 public:
  ClassReader(std::string_view pattern, std::string_view field, const Engine& engine)
      : PatternCursor(pattern, field), engine_(engine) {}

  // Ranges that were written to correct the installed Unicode data.
  std::size_t corrections() const noexcept { return corrections_; }

 protected:
  using Set = CharacterSet<Engine>;

  std::string set_text(const Set& set, bool negated) {
    if (set.has_properties() && ++sets_ > max_sets) {
      throw Error(ErrorCode::limit, {"", std::string(field_), -1,
                                     "a pattern with more than " + std::to_string(max_sets) + " properties"});
    }
    return set.text(negated, corrections_);
  }

  // \s \d \w \h \p{...} and their opposites, of which it says so; nothing if something else stands here.
  std::optional<bool> property_escape(Set& set, bool in_class) {
    const char c = peek(1);
    switch (c) {
      case 's':
      case 'S':
        set.add_property("whitespace", "\\p{White_Space}");
        break;
      case 'd':
      case 'D':
        set.add_property("nd", "\\p{Nd}");
        break;
      case 'w':
      case 'W':
        add_word(set, in_class);
        break;
      case 'h':
      case 'H':
        add_hexadecimal(set);
        break;
      case 'p':
      case 'P':
        return property(set, in_class);
      default:
        return std::nullopt;
    }
    i_ += 2;
    return c >= 'A' && c <= 'Z';
  }

  static void add_word(Set& set, bool in_class) {
    for (const char* const name : {"Alphabetic", "M", "Nd", "Pc"}) {
      set.add_property(property_key(name), "\\p{" + std::string(name) + "}");
    }
    if (in_class) return;
    set.add_range(0xB2, 0xB3);
    set.add_range(0xB9, 0xB9);
    set.add_range(0xBC, 0xBE);
  }

  static void add_hexadecimal(Set& set) {
    set.add_range('0', '9');
    set.add_range('A', 'F');
    set.add_range('a', 'f');
  }

  bool property(Set& set, bool in_class) {
    const std::size_t end = pattern_.find('}', i_);
    if (peek(2) != '{' || end == std::string_view::npos) refuse("\\p without {name}");
    std::string_view name = pattern_.substr(i_ + 3, end - i_ - 3);
    bool negated = peek(1) == 'P';
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    add_named(set, name, in_class, "the property \\p{" + escaped(name, 40) + "}");
    i_ = end + 1;
    return negated;
  }

  // A property by its name.
  void add_named(Set& set, std::string_view name, bool in_class, const std::string& what) {
    const std::string key = property_key(name);
    const auto add = [&](const char* property) {
      set.add_property(property_key(property), "\\p{" + std::string(property) + "}");
    };
    if (key == "digit") return add("Nd");
    if (key == "space" || key == "whitespace") return add("White_Space");
    if (key == "any") return add("Any");
    if (key == "punct") return add("P");
    if (key == "alnum") add("Nd");
    if (key == "alpha" || key == "alphabetic" || key == "alnum") return add("Alphabetic");
    // Where case is ignored, a class takes the other cases of its characters along; a property alone does not.
    const bool folds = in_class && ignores_case_;
    if (folds && key != "l" && key != "m" && key != "n" && key != "p" && key != "s" && key != "z" && key != "c" &&
        key != "nd" && key != "lo" && key != "han") {
      refuse(what + " in a class where case is ignored");
    }
    if (key == "upper" || key == "uppercase") return add("Uppercase");
    if (key == "lower" || key == "lowercase") return add("Lowercase");
    if (is_general_category(key)) {
      if (folds && key == "l") set.add_range(0x345, 0x345);
      if (folds && key == "m") {
        for (const char32_t c : {U'\u0399', U'\u03B9', U'\u1FBE'}) set.add_range(c, c);
      }
      if (key == "lc") return set.add_property(key, "\\p{Lu}\\p{Ll}\\p{Lt}");
      std::string category = key;
      category[0] = static_cast<char>(category[0] - 'a' + 'A');
      return set.add_property(key, "\\p{" + category + "}");
    }
    const bool installed = engine_.is_script(name);
    if (!installed && !is_newer_script(key)) refuse(what);
    set.add_property(key, installed ? "\\p{sc:" + std::string(name) + "}" : "");
  }

  // A POSIX class by its name.
  void add_posix(Set& set, std::string_view name) {
    const auto property = [&](const char* text) {
      set.add_property(property_key(text), "\\p{" + std::string(text) + "}");
    };
    if (name == "word") return add_word(set, /*in_class=*/true);
    if (name == "xdigit") return add_hexadecimal(set);
    if (name == "ascii") return set.add_range(0, 0x7F);
    if (name == "cntrl") return property("Cc");
    if (name == "blank") {
      set.add_range('\t', '\t');
      return property("Zs");
    }
    if (name == "punct") property("S");
    for (const char* const same : {"alnum", "alpha", "digit", "lower", "punct", "space", "upper"}) {
      if (name == same) return add_named(set, name, /*in_class=*/true, "the class [:" + std::string(name) + ":]");
    }
    refuse("the class [:" + escaped(name, 40) + ":]");
  }

  // [...], from its bracket on, as text that matches one character.
  std::string character_class() {
    if (++depth_ > max_depth) refuse("classes within classes, too deep");
    const std::size_t begin = i_++;
    const bool negated = peek(0) == '^';
    if (negated) ++i_;
    std::vector<std::string> parts;  // the intersection of these
    bool first = true;
    bool end = false;
    while (!end) {
      Set set(engine_);
      std::vector<std::string> others;
      for (bool operand_ends = false; !operand_ends; first = false) {
        if (i_ >= pattern_.size()) {
          i_ = begin;
          refuse("a class without its ]");
        }
        if (peek(0) == ']' && !first) {
          ++i_;
          operand_ends = end = true;
        } else if (at("&&")) {
          i_ += 2;
          operand_ends = true;
        } else {
          class_item(set, others);
        }
      }
      if (set.empty() && others.empty()) refuse("an empty part of a class");
      if (!set.empty() && others.empty() && parts.empty() && end) {
        --depth_;
        return set_text(set, negated);
      }
      if (!set.empty()) others.insert(others.begin(), set_text(set, false));
      parts.push_back(joined(others, "|"));
    }
    --depth_;
    std::string text;
    for (std::size_t i = 1; i < parts.size(); ++i) text += "(?=" + parts[i] + ")";
    text = parts.size() == 1 ? parts[0] : "(?:" + text + parts[0] + ")";
    return negated ? "(?:(?!" + text + ")\\p{Any})" : text;
  }

  static std::string joined(const std::vector<std::string>& texts, std::string_view between) {
    if (texts.size() == 1) return texts[0];
    std::string text = "(?:";
    for (const std::string& each : texts) text.append(&each == &texts[0] ? "" : between).append(each);
    return text + ")";
  }

  void class_item(Set& set, std::vector<std::string>& others) {
    Set own(engine_);
    if (at("[:")) {
      const std::size_t end = pattern_.find(":]", i_);
      if (end == std::string_view::npos) refuse("[: without :]");
      std::string_view name = pattern_.substr(i_ + 2, end - i_ - 2);
      const bool negated = name.starts_with('^');
      if (negated) name.remove_prefix(1);
      add_posix(negated ? own : set, name);
      if (negated) others.push_back(set_text(own, true));
      i_ = end + 2;
      return refuse_range();
    }
    if (peek(0) == '[') {
      others.push_back(character_class());
      return;
    }
    if (peek(0) == '\\' && (peek(1) == 'R' || peek(1) == 'X'))
      refuse("the escape \\" + std::string(1, peek(1)) + " in a class");
    if (peek(0) == '\\') {
      const std::size_t begin = i_;
      if (const auto negated = property_escape(own, /*in_class=*/true)) {
        if (*negated) {
          others.push_back(set_text(own, true));
        } else {
          i_ = begin;
          property_escape(set, /*in_class=*/true);
        }
        return refuse_range();
      }
    }
    const char32_t low = class_character();
    if (peek(0) != '-' || peek(1) == ']' || i_ + 1 >= pattern_.size()) return set.add_range(low, low);
    ++i_;
    if (peek(0) == '[' || at("&&")) refuse("a range that ends in a class");
    const char32_t high = class_character();
    if (high < low) refuse("a range from a larger to a smaller character");
    if (ignores_case_ && high >= 0x80) refuse("a character outside ASCII where case is ignored");
    set.add_range(low, high);
  }

  char32_t class_character() {
    char32_t c = 0;
    if (peek(0) == '\\') {
      if (peek(1) == 'b') refuse("the escape \\b in a class");
      c = character_escape();
    } else {
      c = code_point_at(pattern_, i_);
      i_ += utf8_size(pattern_[i_]);
    }
    if (ignores_case_ && c >= 0x80) refuse("a character outside ASCII where case is ignored");
    return c;
  }

  // After a class within a class, a hyphen that is not the last is an error in Oniguruma.
  void refuse_range() const {
    if (peek(0) == '-' && peek(1) != ']') refuse("a range that begins with a class");
  }

  static constexpr int max_depth = 20;
  static constexpr int max_sets = 500;

  const Engine& engine_;
  bool ignores_case_ = false;  // here
  std::size_t corrections_ = 0;
  int depth_ = 0;
  int sets_ = 0;
};

}  // namespace headgate::inline HEADGATE_ABI
