// GgufVocabulary: what the metadata of a GGUF file says of its tokenizer (the keys tokenizer.ggml.*), not yet checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "headgate/core/config.hpp"

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
};

}  // namespace headgate::inline HEADGATE_ABI
