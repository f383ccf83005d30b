// The text of a small tokenizer.json whose parts a test replaces. By default byte-level BPE: every byte has its own
// number as id, and there are four merges, of which the last makes "the".
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "headgate/tokenizer/byte_level.hpp"

struct TokenizerText {
  std::string version = "\"1.0\"";
  std::string added = "[]";
  std::string normalizer = "null";
  std::string pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})";
  std::string post_processor = "null";
  std::string decoder = R"({"type":"ByteLevel"})";
  std::string model_type = "\"BPE\"";
  std::string model_extra;  // ,"key":value ...
  std::string vocab = byte_vocab(R"(,"th":256,"the":257,"aa":258,"aaaa":259)");
  std::string merges = R"(["t h","a a","aa aa","th e"])";
  std::string top_extra;

  static std::string byte_vocab(std::string_view more = "", int without = -1) {
    std::string text = "{";
    for (int byte = 0; byte < 256; ++byte) {
      if (byte == without) continue;
      const char32_t c = headgate::byte_alphabet[static_cast<std::size_t>(byte)];
      text += text.size() > 1 ? ",\"" : "\"";
      if (c == '"' || c == '\\') text += '\\';
      headgate::append_utf8(text, c);
      text += "\":" + std::to_string(byte);
    }
    return text.append(more) + "}";
  }

  static std::string added_token(int id, std::string_view content, std::string_view flags = R"(,"special":true)") {
    return "{\"id\":" + std::to_string(id) + ",\"content\":\"" + std::string(content) + "\"" + std::string(flags) + "}";
  }

  // A text in JSON's own quotes, ASCII only.
  static std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    return out + '"';
  }

  static std::string split(std::string_view regex) {
    return R"({"type":"Split","pattern":{"Regex":)" + quoted(regex) + R"(},"behavior":"Isolated","invert":false})";
  }

  std::string model() const {
    return "{\"type\":" + model_type + model_extra + ",\"vocab\":" + vocab + ",\"merges\":" + merges + "}";
  }
  std::string json() const { return json_with_model(model()); }
  std::string json_with_model(std::string_view model) const {
    return "{\"version\":" + version + ",\"truncation\":null,\"padding\":null,\"added_tokens\":" + added +
           ",\"normalizer\":" + normalizer + ",\"pre_tokenizer\":" + pre_tokenizer +
           ",\"post_processor\":" + post_processor + ",\"decoder\":" + decoder + top_extra +
           ",\"model\":" + std::string(model) + "}";
  }
};
