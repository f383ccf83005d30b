// TokenDecoder: from tokens back to bytes. Hugging Face's decoders (ByteLevel, Metaspace, Replace, ByteFallback, Fuse,
// Strip) in the order that makes sense: each token's text is changed on its own, then the texts are joined, then the
// start is cut.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "headgate/core/utf8.hpp"
#include "headgate/tokenizer/byte_level.hpp"
#include "headgate/tokenizer/byte_token.hpp"
#include "headgate/tokenizer/text_steps.hpp"

namespace headgate::inline HEADGATE_ABI {

struct TokenDecoder {
  std::vector<ReplaceText> replacements;  // in each token
  std::string dropped_first;              // removed from the first token before anything is replaced; empty: nothing
  bool byte_level = false;                // tokens are spelt in the byte alphabet
  bool added_as_they_are = false;         // but for the added ones (the reference undoes the alphabet in those, too)
  bool byte_fallback = false;             // <0xE2> is a byte
  bool spaced = false;                    // tokens are joined with spaces: what no decoder means
  std::string stripped;                   // one character, removed from the start of the text
  std::int32_t max_stripped = 0;          // this many times at most

  // Appends the bytes of a token; they need not end a character.
  void append(std::string_view token, bool is_added, bool is_first, std::string& out) const {
    if (spaced && !is_first) out += ' ';
    if (byte_level && is_added && added_as_they_are) {
      out += token;
      return;
    }
    if (byte_level) return append_token_bytes(token, out);
    std::string text(token);
    const auto replace = [&](const ReplaceText& step) {
      std::string changed;
      step.append(text, changed);
      text = std::move(changed);
    };
    if (is_first && !dropped_first.empty()) replace({dropped_first, ""});
    for (const ReplaceText& step : replacements) replace(step);
    if (byte_fallback) {
      if (const auto byte = byte_of_token(text)) text = static_cast<char>(*byte);
    }
    out += text;
  }
};

// The text of a growing list of tokens. Gives out whole characters only; what may become one is held back.
// Bytes that cannot be part of a character become U+FFFD: one for each longest part of a character, or, with byte
// fallback, one for each byte.
class TextAssembler {
 public:
  // Outlives the assembler.
  explicit TextAssembler(const TokenDecoder& decoder) noexcept : decoder_(&decoder), may_strip_(decoder.max_stripped) {}
  explicit TextAssembler(const TokenDecoder&&) = delete;

  // The characters that this token completes.
  std::string push(std::string_view token, bool is_added = false) {
    decoder_->append(token, is_added, is_first_, held_);
    is_first_ = false;
    return take(/*all=*/false);
  }

  // What is held back still, as U+FFFD.
  std::string finish() { return take(/*all=*/true); }

 private:
  std::string take(bool all) {
    std::string text;
    std::size_t i = 0;
    while (i < held_.size()) {
      const std::string_view rest = std::string_view(held_).substr(i);
      const Utf8Unit unit = first_utf8_unit(rest);
      if (unit.kind == Utf8Unit::Kind::cut && !all) break;
      if (unit.kind == Utf8Unit::Kind::complete) {
        put(rest.substr(0, unit.size), text);
      } else {
        for (int n = decoder_->byte_fallback ? unit.size : 1; n > 0; --n) put(replacement_character, text);
      }
      i += unit.size;
    }
    held_.erase(0, i);
    return text;
  }

  void put(std::string_view character, std::string& text) {
    if (may_strip_ > 0 && character == decoder_->stripped) {
      --may_strip_;
      return;
    }
    may_strip_ = 0;
    text += character;
  }

  const TokenDecoder* decoder_;
  std::string held_;
  std::int32_t may_strip_;
  bool is_first_ = true;
};

}  // namespace headgate::inline HEADGATE_ABI
