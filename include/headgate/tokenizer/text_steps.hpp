// Small rewritings of text that normalizers, pre-tokenizers and decoders share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include "headgate/core/error.hpp"
#include "headgate/core/utf8.hpp"

namespace headgate::inline HEADGATE_ABI {

// Every occurrence of `from` becomes `to`, from left to right. `from` is short (max_replace_size), so that the search
// is linear in the text.
struct ReplaceText {
  std::string from;
  std::string to;

  void append(std::string_view text, std::string& out) const {
    std::size_t i = 0;
    for (std::size_t hit; (hit = text.find(from, i)) != std::string_view::npos; i = hit + from.size()) {
      out += text.substr(i, hit - i);
      out += to;
    }
    out += text.substr(i);
  }
};
inline constexpr std::size_t max_replace_size = 256;  // bytes of ReplaceText::from

// What a text of this size may grow to while it is prepared, so that no list of steps fills the memory. Positions in it
// stay below 2^31, also when a step has written up to five times as much and is refused only then.
constexpr std::size_t room_for(std::size_t text_size, std::size_t times) noexcept {
  return std::min(times * text_size + 4096, std::size_t{256} << 20);
}

// White_Space of Unicode.
constexpr bool is_white_space(char32_t c) noexcept {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

// Bytes of white space at the front and at the back of a text.
inline std::size_t leading_white_space(std::string_view text) noexcept {
  std::size_t i = 0;
  while (i < text.size() && is_white_space(code_point_at(text, i))) i += utf8_size(text[i]);
  return i;
}
inline std::size_t trailing_white_space(std::string_view text) noexcept {
  std::size_t i = text.size();
  while (i > 0) {
    const std::size_t previous = previous_utf8(text, i);
    if (!is_white_space(code_point_at(text, previous))) break;
    i = previous;
  }
  return text.size() - i;
}

}  // namespace headgate::inline HEADGATE_ABI
