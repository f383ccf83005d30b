// UTF-8 (Unicode 15, section 3.9, table 3-7): well-formed sequences, and what to do with the rest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "headgate/core/config.hpp"

namespace headgate::inline HEADGATE_ABI {

inline constexpr std::string_view replacement_character = "\xEF\xBF\xBD";  // U+FFFD

// The character at the front of a text: well-formed, cut off by the end of the text, or ill-formed. Of an ill-formed
// one, size is that of the longest part that could have begun a character, which one U+FFFD replaces.
struct Utf8Unit {
  enum class Kind : std::uint8_t { complete, cut, invalid };
  Kind kind;
  std::uint8_t size;
};

// Precondition: text is not empty.
inline Utf8Unit first_utf8_unit(std::string_view text) noexcept {
  using Kind = Utf8Unit::Kind;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {Kind::complete, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Kind::invalid, 1};
  const std::uint8_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and everything above U+10FFFF.
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (std::uint8_t i = 1; i < size; ++i) {
    if (i == text.size()) return {Kind::cut, i};
    const bool fits = i == 1 ? byte(1) >= low && byte(1) <= high : (byte(i) & 0xC0) == 0x80;
    if (!fits) return {Kind::invalid, i};
  }
  return {Kind::complete, size};
}

// The position of the first byte that is not part of a well-formed character, or npos.
inline std::size_t find_invalid_utf8(std::string_view text) noexcept {
  std::size_t i = 0;
  while (i < text.size()) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const Utf8Unit unit = first_utf8_unit(text.substr(i));
    if (unit.kind != Utf8Unit::Kind::complete) return i;
    i += unit.size;
  }
  return std::string_view::npos;
}

// Bytes of the character that begins with this byte. Precondition, here and below: well-formed text.
constexpr std::size_t utf8_size(char lead) noexcept {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// The character at position i.
inline char32_t code_point_at(std::string_view text, std::size_t i) noexcept {
  const auto lead = static_cast<unsigned char>(text[i]);
  if (lead < 0x80) return lead;
  const std::size_t size = utf8_size(text[i]);
  char32_t value = lead & (0x7Fu >> size);
  for (std::size_t j = 1; j < size; ++j) value = value << 6 | (static_cast<unsigned char>(text[i + j]) & 0x3Fu);
  return value;
}

// The position at which the character before position i begins. Precondition: i > 0.
inline std::size_t previous_utf8(std::string_view text, std::size_t i) noexcept {
  do {
    --i;
  } while ((static_cast<unsigned char>(text[i]) & 0xC0) == 0x80);
  return i;
}

inline void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

}  // namespace headgate::inline HEADGATE_ABI
