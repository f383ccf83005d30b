// Byte tokens: <0x00> to <0xFF>, which stand for single bytes where a vocabulary has no token for a character.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "headgate/core/config.hpp"

namespace headgate::inline HEADGATE_ABI {

// The byte of a token <0x00> to <0xFF> (either case).
inline std::optional<std::uint8_t> byte_of_token(std::string_view token) noexcept {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int byte = 0;
  for (const char c : {token[3], token[4]}) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    byte = 16 * byte + digit;
  }
  return static_cast<std::uint8_t>(byte);
}

inline std::string byte_token(std::size_t byte) {
  constexpr char digits[] = "0123456789ABCDEF";
  return {'<', '0', 'x', digits[byte >> 4 & 15], digits[byte & 15], '>'};
}

}  // namespace headgate::inline HEADGATE_ABI
