// The byte alphabet of byte-level BPE (Radford et al. 2019, GPT-2): every byte is written as one printable character,
// so that a vocabulary is text. Bytes 33-126, 161-172 and 174-255 stand for themselves; the other 68, in increasing
// order, are U+0100 to U+0143 (a space is U+0120).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "headgate/core/utf8.hpp"

namespace headgate::inline HEADGATE_ABI {

inline constexpr char32_t byte_alphabet_end = 0x144;

constexpr std::array<char32_t, 256> make_byte_alphabet() noexcept {
  std::array<char32_t, 256> characters{};
  char32_t next = 0x100;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const bool itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    characters[byte] = itself ? static_cast<char32_t>(byte) : next++;
  }
  return characters;
}
inline constexpr std::array<char32_t, 256> byte_alphabet = make_byte_alphabet();

// The byte that a character stands for, -1: none.
constexpr std::array<std::int16_t, byte_alphabet_end> make_alphabet_bytes() noexcept {
  std::array<std::int16_t, byte_alphabet_end> bytes{};
  for (auto& byte : bytes) byte = -1;
  for (std::size_t byte = 0; byte < 256; ++byte) bytes[byte_alphabet[byte]] = static_cast<std::int16_t>(byte);
  return bytes;
}
inline constexpr std::array<std::int16_t, byte_alphabet_end> alphabet_bytes = make_alphabet_bytes();

inline void append_byte_characters(std::string_view bytes, std::string& out) {
  for (const char c : bytes) append_utf8(out, byte_alphabet[static_cast<unsigned char>(c)]);
}

// Appends the bytes that a token stands for. A token with a character outside the alphabet (an added one) is its own
// text.
inline void append_token_bytes(std::string_view token, std::string& out) {
  const std::size_t old_size = out.size();
  for (std::size_t i = 0; i < token.size(); i += utf8_size(token[i])) {
    const char32_t c = code_point_at(token, i);
    if (c >= byte_alphabet_end || alphabet_bytes[c] < 0) {
      out.resize(old_size);
      out += token;
      return;
    }
    out += static_cast<char>(static_cast<unsigned char>(alphabet_bytes[c]));
  }
}

}  // namespace headgate::inline HEADGATE_ABI
