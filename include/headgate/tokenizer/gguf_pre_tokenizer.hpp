// The names of tokenizer.ggml.pre: how byte-level BPE cuts text into pieces. They are llama.cpp's, of the families here
// and of all that share their patterns; the patterns are those of the tokenizers that the names stand for, which
// llama.cpp's own only come near in places.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "headgate/core/config.hpp"
#include "headgate/tokenizer/known_patterns.hpp"

namespace headgate::inline HEADGATE_ABI {

struct GgufPreTokenizer {
  std::string_view names;                    // with a space between two
  std::array<std::string_view, 6> patterns;  // one after another, each isolates what it matches; empty: none
  bool ignore_merges = false;                // a piece that is a token is that token
  bool add_bos = false;                      // where the file does not say
  bool composes = false;                     // to NFC first, which llama.cpp leaves out
};

inline constexpr GgufPreTokenizer gguf_pre_tokenizers[] = {
    {.names = "default",
     .patterns = {known_patterns::default_punctuation, known_patterns::gpt2, known_patterns::numbers,
                  known_patterns::three_ascii_digits}},
    {.names = "llama-bpe llama3 llama-v3 lfm2 falcon3 falcon-h1 pixtral midm-2.0",
     .patterns = {known_patterns::llama3},
     .ignore_merges = true,
     .add_bos = true},
    {.names = "dbrx smaug-bpe glm4 chatglm-bpe", .patterns = {known_patterns::llama3}},
    {.names = "qwen2", .patterns = {known_patterns::qwen2}, .composes = true},
    {.names = "deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2",
     .patterns = {known_patterns::qwen2}},
    {.names = "qwen35", .patterns = {known_patterns::qwen35}, .composes = true},
    {.names = "gpt-4o llama4 kanana2 talkie minimax-m2", .patterns = {known_patterns::o200k}},
    {.names = "tekken", .patterns = {known_patterns::tekken}, .ignore_merges = true, .add_bos = true},
    {.names = "kimi-k2", .patterns = {known_patterns::kimi_k2}},
    {.names = "deepseek-llm",
     .patterns = {known_patterns::line_ends, known_patterns::cased_letters, known_patterns::wide_punctuation,
                  known_patterns::last_space, known_patterns::cjk_and_hangul, known_patterns::digit}},
    {.names = "deepseek-coder",
     .patterns = {known_patterns::line_ends, known_patterns::letters, known_patterns::punctuation,
                  known_patterns::cjk_and_hangul, known_patterns::digit}},
    {.names = "deepseek-v3 hunyuan-dense joyai-llm hy_v4",
     .patterns = {known_patterns::three_digits, known_patterns::cjk_and_kana, known_patterns::deepseek3}},
    {.names = "bailingmoe bailingmoe2 llada-moe", .patterns = {known_patterns::bailing}},
    {.names = "olmo", .patterns = {known_patterns::gpt2}, .composes = true},
    {.names = "gpt-2 phi-2 gigachat mellum mpt exaone4 trillion granite-docling a.x-4.0 modern-bert jais jina-es "
              "jina-de jina-v2-es jina-v2-de",
     .patterns = {known_patterns::gpt2}},
    {.names = "smollm refact starcoder mellum2 command-r codeshell exaone minerva-7b",
     .patterns = {known_patterns::digit, known_patterns::gpt2}}};

// Null where there is none of this name.
constexpr const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name) noexcept {
  if (name.empty() || name.find(' ') != std::string_view::npos) return nullptr;
  for (const GgufPreTokenizer& known : gguf_pre_tokenizers) {
    for (std::size_t begin = 0, end = 0; begin < known.names.size(); begin = end + 1) {
      end = std::min(known.names.find(' ', begin), known.names.size());
      if (known.names.substr(begin, end - begin) == name) return &known;
    }
  }
  return nullptr;
}

// All of them, for an error.
inline std::string gguf_pre_tokenizer_names() {
  std::string names;
  for (const GgufPreTokenizer& known : gguf_pre_tokenizers)
    names += (names.empty() ? "" : " ") + std::string(known.names);
  return names;
}

}  // namespace headgate::inline HEADGATE_ABI
