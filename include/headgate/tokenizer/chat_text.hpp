// What a conversation is made of, and the text that a chat format makes of it: segments, each either a control token of
// the format (`<|im_start|>`) or text, which stays text whatever it spells.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/core/error.hpp"
#include "headgate/core/types.hpp"
#include "headgate/core/utf8.hpp"
#include "headgate/tokenizer/text_steps.hpp"
#include "headgate/tokenizer/tokenizer.hpp"

namespace headgate::inline HEADGATE_ABI {

struct ChatMessage {
  std::string role;  // system, user or assistant
  std::string content;
};

struct ChatSegment {
  std::string text;
  bool is_control = false;
  index_t message = -1;  // whose content it is; -1: the format's own
};

// What a format leaves to the checkpoint.
struct ChatSettings {
  std::string bos = {};  // the text of the token that begins a conversation; empty: none does
  std::string eos = {};  // of the token that ends an answer, in formats that have none of their own
  std::optional<std::string> default_system = {};  // the system message of a conversation that has none
  std::string date = {};                           // of today, as the format writes it
  bool trims = false;                              // white space around what is said
  bool system_in_last_turn = false;                // mistral-v3: else in the first
  bool add_generation_prompt = true;               // the words after which the model answers
};

// A conversation being written by a format.
class ChatText {
 public:
  // Of adjacent texts nothing is lost by joining them, but of whom they are.
  ChatText& control(std::string_view token) {
    if (!token.empty()) segments_.push_back({std::string(token), true});
    return *this;
  }
  ChatText& text(std::string_view words) {
    if (!words.empty()) segments_.push_back({std::string(words)});
    return *this;
  }
  ChatText& content(std::string_view said, std::size_t message) {
    if (!said.empty()) segments_.push_back({std::string(said), false, static_cast<index_t>(message)});
    return *this;
  }
  std::vector<ChatSegment> take() { return std::move(segments_); }

 private:
  std::vector<ChatSegment> segments_;
};

// As Python's str.strip() cuts, which templates call: Unicode's White_Space and the four separators of ASCII. What is
// not UTF-8 stays as it is.
inline std::string_view trimmed(std::string_view text) noexcept {
  if (find_invalid_utf8(text) != std::string_view::npos) return text;
  const auto is_separator = [](char c) { return c >= 0x1C && c <= 0x1F; };
  for (std::size_t n = 1; n > 0;) {
    n = leading_white_space(text);
    text.remove_prefix(n);
    if (n == 0 && !text.empty() && is_separator(text.front())) text.remove_prefix(n = 1);
  }
  for (std::size_t n = 1; n > 0;) {
    n = trailing_white_space(text);
    text.remove_suffix(n);
    if (n == 0 && !text.empty() && is_separator(text.back())) text.remove_suffix(n = 1);
  }
  return text;
}

// A date as C's strftime writes it in English: of %Y %m %d %B %b; what else stands there stays.
inline std::string date_text(std::chrono::year_month_day day, std::string_view format) {
  static constexpr std::string_view months[] = {"January", "February", "March",     "April",   "May",      "June",
                                                "July",    "August",   "September", "October", "November", "December"};
  const auto two = [](unsigned n) { return std::string(n < 10 ? "0" : "") + std::to_string(n); };
  const unsigned month = unsigned{day.month()};
  const std::string_view name = day.month().ok() ? months[month - 1] : "?";
  std::string text;
  for (std::size_t i = 0; i < format.size(); ++i) {
    const char code = format[i] == '%' && i + 1 < format.size() ? format[i + 1] : '\0';
    const std::size_t before = text.size();
    if (code == 'Y') text += std::to_string(int{day.year()});
    if (code == 'm') text += two(month);
    if (code == 'd') text += two(unsigned{day.day()});
    if (code == 'B') text += name;
    if (code == 'b') text += name.substr(0, 3);
    if (text.size() == before) {
      text += format[i];
    } else {
      ++i;
    }
  }
  return text;
}

// The text as one string, for people and for comparisons.
inline std::string chat_text(std::span<const ChatSegment> segments) {
  std::string text;
  for (const ChatSegment& segment : segments) text += segment.text;
  return text;
}

// The tokens of the text, as the reference makes them of it: nothing is added around it, and control tokens stand only
// where the format put them. Throws what Tokenizer::encode throws.
inline std::vector<std::int32_t> encode_chat(const Tokenizer& tokenizer, std::span<const ChatSegment> segments) {
  std::vector<TextPiece> pieces;
  for (const ChatSegment& segment : segments) pieces.push_back({segment.text, segment.is_control});
  return tokenizer.encode(pieces, {.add_special_tokens = false});
}

}  // namespace headgate::inline HEADGATE_ABI
