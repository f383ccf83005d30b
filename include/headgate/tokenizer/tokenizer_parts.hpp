// What a tokenizer is made of, whatever file describes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "headgate/tokenizer/added_tokens.hpp"
#include "headgate/tokenizer/bpe.hpp"
#include "headgate/tokenizer/normalizer.hpp"
#include "headgate/tokenizer/pre_tokenizer.hpp"
#include "headgate/tokenizer/token_decoder.hpp"

namespace headgate::inline HEADGATE_ABI {

// Ids written before and after every text.
struct Frame {
  std::vector<std::int32_t> before;
  std::vector<std::int32_t> after;
};

inline constexpr std::size_t max_added_tokens = 131072;
inline constexpr std::size_t max_added_bytes = std::size_t{2} << 20;  // of all their texts

struct TokenizerParts {
  std::vector<AddedToken> added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  Frame frame;
  TokenDecoder decoder;
};

}  // namespace headgate::inline HEADGATE_ABI
