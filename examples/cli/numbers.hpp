// Numbers of the command line and of the environment, read strictly: the whole text is the number, in decimal, whatever
// the locale. No blanks, no leading plus, no 0x10, no 1e3 for a count, no nan and no inf.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "headgate/core/error.hpp"

[[noreturn]] inline void throw_usage(std::string_view flag, std::string what) {
  throw headgate::Error(headgate::ErrorCode::usage, {"", std::string(flag), -1, std::move(what)});
}

[[noreturn]] inline void throw_limit(std::string what) {
  throw headgate::Error(headgate::ErrorCode::limit, {"", "", -1, std::move(what)});
}

// The integer that text is; low to high is what the message says is allowed.
inline std::int64_t parse_integer(std::string_view flag, std::string_view text, std::int64_t low, std::int64_t high) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < low || value > high) {
    throw_usage(flag, fmt::format("got '{}', allowed is an integer from {} to {}", headgate::escaped(text), low, high));
  }
  return value;
}

// 64 bits without sign; none for -1, which asks for a random one.
inline std::optional<std::uint64_t> parse_seed(std::string_view flag, std::string_view text) {
  if (text == "-1") return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    throw_usage(flag,
                fmt::format("got '{}', allowed is -1 or an integer from 0 to {}", headgate::escaped(text), UINT64_MAX));
  }
  return value;
}

// A finite number from low to high. Too small for a float reads as 0, which asks for the same thing.
inline float parse_real(std::string_view flag, std::string_view text, double low, double high) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !(value >= low && value <= high)) {
    throw_usage(flag, fmt::format("got '{}', allowed is a number from {} to {}", headgate::escaped(text), low, high));
  }
  return static_cast<float>(value);
}

// "5,17,3": ids from 0, separated by single commas.
inline std::vector<std::int32_t> parse_ids(std::string_view flag, std::string_view text) {
  std::vector<std::int32_t> ids;
  for (std::size_t first = 0; first <= text.size();) {
    const std::size_t comma = std::min(text.find(',', first), text.size());
    ids.push_back(static_cast<std::int32_t>(parse_integer(flag, text.substr(first, comma - first), 0, INT32_MAX)));
    first = comma + 1;
  }
  return ids;
}
