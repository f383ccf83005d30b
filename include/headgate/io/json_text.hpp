// JSON text of a Json: what parse_json reads back as the same value, numbers with the fewest digits that do.
#pragma once

#include "headgate/io/json_object.hpp"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <variant>

namespace headgate::inline HEADGATE_ABI {

// As JSON has it, with its quotes. text: UTF-8.
inline std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[7];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += code;
    } else {
      out += c;
    }
  }
  return out + '"';
}

// What is not finite is written as Python writes it, which strict readers refuse.
inline std::string json_text(const Json& json) {
  const auto joined = [](char open, const auto& list, auto&& text_of, char close) {
    std::string text(1, open);
    for (const auto& entry : list) text += (text.size() > 1 ? "," : "") + text_of(entry);
    return text + close;
  };
  if (const auto* const object = std::get_if<Json::Object>(&json.value)) {
    return joined('{', *object, [](const JsonMember& m) { return json_string(m.key) + ":" + json_text(m.value); }, '}');
  }
  if (const auto* const list = std::get_if<Json::Array>(&json.value)) return joined('[', *list, json_text, ']');
  if (const auto* const text = std::get_if<std::string>(&json.value)) return json_string(*text);
  if (const auto* const flag = std::get_if<bool>(&json.value)) return *flag ? "true" : "false";
  if (const auto* const whole = std::get_if<std::int64_t>(&json.value)) return std::to_string(*whole);
  if (const auto* const real = std::get_if<double>(&json.value)) {
    if (std::isnan(*real)) return "NaN";
    if (std::isinf(*real)) return *real > 0.0 ? "Infinity" : "-Infinity";
    char digits[40];
    const std::to_chars_result end = std::to_chars(digits, digits + sizeof digits, *real);
    std::string text(digits, end.ptr);
    if (text.find_first_of(".e") == text.npos) text += ".0";
    return text;
  }
  return "null";
}

}  // namespace headgate::inline HEADGATE_ABI
