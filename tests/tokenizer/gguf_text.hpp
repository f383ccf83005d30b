// Small vocabularies of GGUF files whose parts a test replaces, and the metadata of a file that holds one.
#pragma once

#include <cstdint>
#include <deque>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "headgate/io/gguf.hpp"
#include "headgate/tokenizer/byte_level.hpp"
#include "headgate/tokenizer/byte_token.hpp"
#include "headgate/tokenizer/gguf_vocabulary.hpp"
#include "io/gguf_writer.hpp"

// Owns the texts that a vocabulary refers to.
struct GgufText {
  headgate::GgufVocabulary vocabulary;
  std::deque<std::string> texts;

  std::string_view keep(std::string text) { return texts.emplace_back(std::move(text)); }
  void token(std::string text, headgate::GgufTokenType type = headgate::GgufTokenType::normal, float score = 0.0f) {
    vocabulary.tokens.push_back(keep(std::move(text)));
    vocabulary.types.push_back(static_cast<std::int64_t>(type));
    if (vocabulary.model == "llama") vocabulary.scores.push_back(score);
  }

  // Every byte has its own number as id; then th 256, the 257, aa 258, <|end|> 259, <think> 260.
  static GgufText bytes(std::string_view pre = "gpt-2") {
    GgufText text;
    text.vocabulary.model = "gpt2";
    text.vocabulary.pre = pre;
    for (const char32_t c : headgate::byte_alphabet) {
      std::string character;
      headgate::append_utf8(character, c);
      text.token(character);
    }
    for (const char* const token : {"th", "the", "aa"}) text.token(token);
    text.token("<|end|>", headgate::GgufTokenType::control);
    text.token("<think>", headgate::GgufTokenType::user_defined);
    text.vocabulary.merges = {"t h", "a a", "th e"};
    text.vocabulary.bos_id = text.vocabulary.eos_id = 259;
    return text;
  }

  // <unk> 0, <s> 1, </s> 2, bytes from 3, then U+2581 259, a 260, b 261, ab 262, U+2581 a 263, <x> 264.
  static GgufText pieces() {
    using Type = headgate::GgufTokenType;
    GgufText text;
    text.vocabulary.model = "llama";
    text.token("<unk>", Type::unknown);
    text.token("<s>", Type::control);
    text.token("</s>", Type::control);
    for (std::size_t byte = 0; byte < 256; ++byte) text.token(headgate::byte_token(byte), Type::byte);
    text.token("\xE2\x96\x81", Type::normal, -10.0f);
    text.token("a", Type::normal, -11.0f);
    text.token("b", Type::normal, -12.0f);
    text.token("ab", Type::normal, -1.0f);
    text.token(
        "\xE2\x96\x81"
        "a",
        Type::normal, -2.0f);
    text.token("<x>", Type::user_defined, -1000.0f);
    return text;
  }
};

// A file with such a vocabulary and nothing else, key by key.
inline io_test::GgufWriter gguf_file(const headgate::GgufVocabulary& vocabulary,
                                     std::initializer_list<std::string_view> without = {}) {
  using namespace io_test;
  GgufWriter writer;
  const auto put = [&](std::string_view key, const std::string& value) {
    for (const std::string_view left_out : without) {
      if (key == left_out) return;
    }
    writer.key("tokenizer.ggml." + std::string(key), value);
  };
  const auto strings = [](const std::vector<std::string_view>& texts) {
    std::string bytes;
    for (const std::string_view text : texts) bytes += gguf_string(text);
    return gguf_array(8, texts.size(), bytes);
  };
  std::string scores, types;
  for (const float score : vocabulary.scores) scores += raw(score);
  for (const std::int64_t type : vocabulary.types) types += raw(static_cast<std::int32_t>(type));
  put("model", gguf_value(vocabulary.model));
  if (!vocabulary.pre.empty()) put("pre", gguf_value(vocabulary.pre));
  put("tokens", strings(vocabulary.tokens));
  if (!scores.empty()) put("scores", gguf_array(6, vocabulary.scores.size(), scores));
  put("token_type", gguf_array(5, vocabulary.types.size(), types));
  if (!vocabulary.merges.empty()) put("merges", strings(vocabulary.merges));
  if (vocabulary.bos_id) put("bos_token_id", gguf_value(static_cast<std::uint32_t>(*vocabulary.bos_id)));
  if (vocabulary.eos_id) put("eos_token_id", gguf_value(static_cast<std::uint32_t>(*vocabulary.eos_id)));
  return writer;
}
