// GgufVocabulary: what the metadata of a GGUF file says of its tokenizer (the keys tokenizer.ggml.*). Of the values
// only types and ranges are checked here, not yet whether they fit together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "headgate/io/gguf_metadata.hpp"

namespace headgate::inline HEADGATE_ABI {

// tokenizer.ggml.token_type.
enum class GgufTokenType : std::int32_t { normal = 1, unknown, control, user_defined, unused, byte };

// Texts are views of what outlives the vocabulary: the mapped file. A tokenizer made of it has its own copies.
struct GgufVocabulary {
  std::string_view model;                // "gpt2": byte-level BPE by merges; "llama": SentencePiece's BPE by scores
  std::string_view pre;                  // of gpt2: the name of the way in which text is cut into pieces
  std::vector<std::string_view> tokens;  // by id
  std::vector<float> scores;             // by id, of llama; the highest merges first
  std::vector<std::int64_t> types;       // by id, GgufTokenType; empty: all are normal
  std::vector<std::string_view> merges;  // of gpt2, "left right", in order of rank
  std::optional<std::int64_t> bos_id;    // what is not there: 1 of llama
  std::optional<std::int64_t> eos_id;    // 2 of llama
  std::optional<std::int64_t> unk_id;    // 0 of llama
  std::optional<std::int64_t> eot_id;    // the end of a turn
  std::optional<std::int64_t> pad_id;
  std::optional<bool> add_bos;           // what is not there: true of llama, and of gpt2 as pre says
  std::optional<bool> add_eos;           // false
  std::optional<bool> add_space_prefix;  // true of llama, false of gpt2
  bool strips_after_control = false;     // control tokens take the white space after them along (Phi-3)

  // Throws Error (bad_file) with the key.
  static GgufVocabulary read(const GgufMetadata& metadata) {
    const auto key = [](std::string_view name) { return "tokenizer.ggml." + std::string(name); };
    GgufVocabulary read;
    read.model = metadata.get_string(key("model"));
    read.pre = metadata.get_string(key("pre"), "");
    read.tokens = metadata.get_strings(key("tokens"));
    if (metadata.has(key("scores"))) read.scores = metadata.get_floats(key("scores"));
    if (const GgufValue* const types = metadata.find(key("token_type"))) {
      if (types->type != GgufType::i32 && types->type != GgufType::u32)
        metadata.fail(types->key, "expected a list of i32, found other values");
      read.types = metadata.get_integers(types->key, 1, 6);
    }
    if (metadata.has(key("merges"))) read.merges = metadata.get_strings(key("merges"));
    const auto id = [&](std::string_view name) -> std::optional<std::int64_t> {
      if (!metadata.has(key(name))) return std::nullopt;
      return metadata.get_integer(key(name), 0, static_cast<std::int64_t>(read.tokens.size()) - 1);
    };
    read.bos_id = id("bos_token_id");
    read.eos_id = id("eos_token_id");
    read.unk_id = id("unknown_token_id");
    read.eot_id = id("eot_token_id");
    read.pad_id = id("padding_token_id");
    const auto flag = [&](std::string_view name) -> std::optional<bool> {
      if (!metadata.has(key(name))) return std::nullopt;
      return metadata.get_bool(key(name));
    };
    read.add_bos = flag("add_bos_token");
    read.add_eos = flag("add_eos_token");
    read.add_space_prefix = flag("add_space_prefix");
    const std::string_view architecture = metadata.get_string("general.architecture", "");
    read.strips_after_control = read.model == "llama" && (architecture == "phi3" || architecture == "phimoe");
    return read;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
