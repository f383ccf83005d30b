// Text from outside, safe between the tags and in the attributes of HTML and SVG. Bytes that XML does not allow become
// '?'.
#pragma once

#include <string>
#include <string_view>

#include "headgate/core/config.hpp"

namespace headgate::inline HEADGATE_ABI {

inline std::string escaped_xml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? '?' : c;
    }
  }
  return out;
}

}  // namespace headgate::inline HEADGATE_ABI
