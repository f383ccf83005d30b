// What a code point is to the reference (Unicode 16, Oniguruma's), where the installed PCRE2 or utf8proc may say
// something else: they know Unicode 14 or later. A character that is newer than Unicode 14 has its row in
// unicode_tables.hpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "headgate/tokenizer/unicode_tables.hpp"

namespace headgate::inline HEADGATE_ABI {

// The row that holds a code point, null: none. rows: ascending.
template <class Row>
const Row* find_row(std::span<const Row> rows, char32_t c) noexcept {
  const auto after =
      std::upper_bound(rows.begin(), rows.end(), c, [](char32_t a, const Row& row) { return a < row.first; });
  if (after == rows.begin() || std::prev(after)->last < c) return nullptr;
  return &*std::prev(after);
}

// What Unicode 16 says of a code point of which others may say something else; nothing for all others.
inline std::optional<UnicodeChange> unicode_change(char32_t c) noexcept {
  if (c < 0x295) return std::nullopt;
  if (const UnicodeChange* const row = find_row<UnicodeChange>(unicode_changes, c)) return *row;
  if (find_row<UnicodeRange>(unassigned_characters, c) != nullptr) return UnicodeChange{c, c, "Cn", "Unknown", 0};
  return std::nullopt;
}

// Whether a character is newer than Unicode 14.
inline bool is_newer_character(char32_t c) noexcept {
  const auto change = unicode_change(c);
  return change && (change->flags & 8) == 0;
}

// Names of properties are compared as Oniguruma and PCRE2 do: without case, spaces, hyphens and underscores.
inline std::string property_key(std::string_view name) {
  std::string key;
  for (const char c : name) {
    if (c == ' ' || c == '-' || c == '_') continue;
    key += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return key;
}

// key: a general category of one or two letters, a script, or "any", "alphabetic", "uppercase", "lowercase",
// "whitespace".
inline bool has_property(const UnicodeChange& row, std::string_view key) {
  if (key == "any") return true;
  if (key == "whitespace") return false;  // has not changed since Unicode 6.3
  if (key == "alphabetic") return (row.flags & 1) != 0;
  if (key == "uppercase") return (row.flags & 2) != 0;
  if (key == "lowercase") return (row.flags & 4) != 0;
  const std::string category = property_key(row.category);
  if (key == "lc") return category == "lu" || category == "ll" || category == "lt";
  if (key.size() <= 2) return category.starts_with(key);
  return property_key(row.script) == key;
}

inline bool is_general_category(std::string_view key) noexcept {
  constexpr std::string_view known =
      " c cc cf cn co cs l lc ll lm lo lt lu m mc me mn n nd nl no p pc pd pe pf pi po ps s sc sk sm so z zl zp zs ";
  return !key.empty() && key.size() <= 2 && known.find(" " + std::string(key) + " ") != std::string_view::npos;
}

// Whether only a script of the newer characters has this name.
inline bool is_newer_script(std::string_view key) {
  return std::any_of(std::begin(unicode_changes), std::end(unicode_changes),
                     [&](const UnicodeChange& row) { return property_key(row.script) == key; });
}

}  // namespace headgate::inline HEADGATE_ABI
