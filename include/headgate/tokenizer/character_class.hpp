// A class of characters of a pattern, [...] or \p{...}, as PCRE2 text that holds the same characters to every version
// of PCRE2 as to the reference.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/tokenizer/unicode_properties.hpp"

namespace headgate::inline HEADGATE_ABI {

inline std::string code_point_text(char32_t c) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (; c != 0 || text.empty(); c >>= 4) text.insert(text.begin(), digits[c & 15]);
  return "\\x{" + text + "}";
}

inline std::string range_text(char32_t first, char32_t last) {
  return first == last ? code_point_text(first) : code_point_text(first) + "-" + code_point_text(last);
}

template <std::size_t n>
std::string ranges_text(const UnicodeRange (&ranges)[n]) {
  std::string text;
  for (const UnicodeRange& range : ranges) text += range_text(range.first, range.last);
  return text;
}

// The union of ranges and properties. Engine: the installed Unicode data,
//   const std::vector<char32_t>& points()                  code points that it may see otherwise than Unicode 16,
//   ascending std::vector<bool> members(const std::string& text)     which of them are in [text]
template <class Engine>
class CharacterSet {
 public:
  explicit CharacterSet(const Engine& engine) : engine_(&engine) {}

  bool empty() const noexcept { return text_.empty() && keys_.empty(); }
  // Whether the installed version must be asked.
  bool has_properties() const noexcept { return !keys_.empty(); }

  void add_range(char32_t first, char32_t last) {
    ranges_.push_back({first, last});
    text_ += range_text(first, last);
  }

  // key: of has_property. text: how PCRE2 writes it, empty where it does not know the name.
  void add_property(std::string key, std::string_view text) {
    text_ += text;
    if (key == "any" || key == "whitespace") return;  // the same in all versions
    keys_.push_back(std::move(key));
    property_text_ += text;
  }

  // PCRE2 text that matches one character; negated: one that is not in the set. corrections grows by the ranges that
  // correct the installed version.
  std::string text(bool negated, std::size_t& corrections) const {
    std::string missing, excess;
    if (!keys_.empty()) correct(missing, excess, corrections);
    const std::string inside = (negated ? "[^" : "[") + text_ + missing + "]";
    if (excess.empty()) return inside;
    return negated ? "(?:[" + excess + "]|" + inside + ")" : "(?:(?![" + excess + "])" + inside + ")";
  }

 private:
  bool is_written(char32_t c) const noexcept {
    return std::any_of(ranges_.begin(), ranges_.end(),
                       [&](const UnicodeRange& range) { return range.first <= c && c <= range.last; });
  }

  // Ranges of the characters that the installed version does not see in the set, and of those that it should not see.
  void correct(std::string& missing, std::string& excess, std::size_t& corrections) const {
    const std::vector<char32_t>& points = engine_->points();
    const std::vector<bool> found =
        property_text_.empty() ? std::vector<bool>(points.size(), false) : engine_->members(property_text_);
    std::vector<UnicodeRange> lists[2];
    UnicodeChange row{1, 0, "", "", 0};
    bool expected = false;
    for (std::size_t i = 0; i < points.size(); ++i) {
      if (points[i] < row.first || points[i] > row.last) {
        row = *unicode_change(points[i]);
        expected =
            std::any_of(keys_.begin(), keys_.end(), [&](const std::string& key) { return has_property(row, key); });
      }
      if (expected == found[i] || is_written(points[i])) continue;
      std::vector<UnicodeRange>& list = lists[expected ? 0 : 1];
      if (!list.empty() && list.back().last + 1 == points[i]) {
        list.back().last = points[i];
      } else {
        list.push_back({points[i], points[i]});
      }
    }
    for (const UnicodeRange& range : lists[0]) missing += range_text(range.first, range.last);
    for (const UnicodeRange& range : lists[1]) excess += range_text(range.first, range.last);
    corrections += lists[0].size() + lists[1].size();
  }

  const Engine* engine_;
  std::vector<UnicodeRange> ranges_;
  std::vector<std::string> keys_;
  std::string text_;
  std::string property_text_;
};

}  // namespace headgate::inline HEADGATE_ABI
