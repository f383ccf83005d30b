// NonFinite: the numbers of a JSON text that Python's json reads and strict JSON or a double has no place for: NaN,
// Infinity, -Infinity, and decimals beyond the range of a double, which Python reads as infinite.
#pragma once

#include "headgate/core/types.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace headgate::inline HEADGATE_ABI::detail {

class NonFinite {
 public:
  // Finds them outside of strings and writes a zero of the same length over each, which strict parsers take. Text that
  // is no JSON stays text that is no JSON, with every byte where it was.
  explicit NonFinite(std::string text) : text_(std::move(text)) {
    constexpr std::string_view between = " \t\r\n,:[]{}\"";
    std::size_t end = 0;
    for (std::size_t first = 0; first < text_.size(); first = end) {
      if (text_[first] == '"') {
        end = end_of_string(first);
      } else if (between.find(text_[first]) != between.npos) {
        end = first + 1;
      } else {
        end = std::min(text_.find_first_of(between, first), text_.size());
        replace(first, end - first);
      }
    }
  }

  std::string_view text() const noexcept { return text_; }
  // The value that stood at this byte.
  std::optional<double> at(std::size_t position) const {
    const auto found = values_.find(position);
    return found == values_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  std::size_t end_of_string(std::size_t first) const noexcept {
    std::size_t i = first + 1;
    while (i < text_.size() && text_[i] != '"') i += text_[i] == '\\' ? 2u : 1u;
    return i + 1;
  }

  void replace(std::size_t first, std::size_t size) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    const std::string_view word = std::string_view(text_).substr(first, size);
    const bool is_negative = word.front() == '-';
    const std::string_view magnitude = word.substr(is_negative ? 1 : 0);
    if (word == "NaN") {
      values_[first] = std::numeric_limits<double>::quiet_NaN();
    } else if (magnitude == "Infinity" || (is_number(magnitude) && is_beyond(magnitude))) {
      values_[first] = is_negative ? -infinity : infinity;
    } else {
      return;
    }
    text_.replace(first, size, "0." + std::string(size - 2, '0'));  // the shortest, NaN, has three characters
  }

  // Strict JSON, without the sign.
  static bool is_number(std::string_view word) noexcept {
    std::size_t i = 0;
    const auto digits = [&] {
      const std::size_t first = i;
      while (i < word.size() && word[i] >= '0' && word[i] <= '9') ++i;
      return i > first;
    };
    if (!digits() || (word[0] == '0' && i > 1)) return false;
    if (i < word.size() && word[i] == '.' && (++i, !digits())) return false;
    if (i < word.size() && (word[i] == 'e' || word[i] == 'E')) {
      ++i;
      if (i < word.size() && (word[i] == '+' || word[i] == '-')) ++i;
      if (!digits()) return false;
    }
    return i == word.size();
  }
  // Above the largest double. Not by from_chars, which has one answer for too large and too small, and which libc++ 14
  // lacks for double; and without the point, which strtod takes from the locale.
  static bool is_beyond(std::string_view number) {
    const std::size_t e = std::min(number.find_first_of("eE"), number.size());
    if (e == number.size() && e <= 308) return false;
    const bool is_small = e + 1 < number.size() && number[e + 1] == '-';
    const bool has_sign = is_small || (e + 1 < number.size() && number[e + 1] == '+');
    const std::string_view digits = number.substr(std::min(e + (has_sign ? 2 : 1), number.size()));
    std::int64_t exponent = 0;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), exponent).ec == std::errc::result_out_of_range) {
      exponent = std::numeric_limits<std::int64_t>::max() / 2;
    }
    if (is_small) exponent = -exponent;
    std::string whole(number.substr(0, e));
    if (const std::size_t point = whole.find('.'); point != std::string::npos) {
      whole.erase(point, 1);
      exponent -= static_cast<std::int64_t>(whole.size() - point);
    }
    return std::isinf(std::strtod((whole + "e" + std::to_string(exponent)).c_str(), nullptr));
  }

  std::string text_;
  std::map<std::size_t, double> values_;  // by first byte
};

}  // namespace headgate::inline HEADGATE_ABI::detail
