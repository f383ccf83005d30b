// A tokenizer from the vocabulary of a GGUF file. What is read as llama.cpp reads it (src/llama-vocab.cpp): models,
// names of pre-tokenizers, default ids and flags. What differs, each time towards the tokenizer that the file was made
// from: the patterns and the composition of gguf_pre_tokenizer.hpp; control, unknown, unused and byte tokens never come
// of merging text; where two added tokens overlap, the leftmost is taken, and of those the longest.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/core/error.hpp"
#include "headgate/tokenizer/gguf_pre_tokenizer.hpp"
#include "headgate/tokenizer/gguf_vocabulary.hpp"
#include "headgate/tokenizer/tokenizer_parts.hpp"

namespace headgate::inline HEADGATE_ABI {

inline constexpr std::size_t max_gguf_token_size = 65535;  // bytes

namespace detail {

class GgufTokenizerBuilder {
 public:
  // file: for errors.
  GgufTokenizerBuilder(const GgufVocabulary& gguf, const std::string& file) : gguf_(gguf), file_(file) {}

  TokenizerParts build() {
    const bool by_scores = gguf_.model == "llama";
    if (!by_scores && gguf_.model != "gpt2")
      fail("model", "unknown tokenizer '" + escaped(gguf_.model, 80) + "' (known: gpt2, llama)");
    const GgufPreTokenizer* const pre = by_scores ? nullptr : find_gguf_pre_tokenizer(gguf_.pre);
    if (!by_scores && pre == nullptr) {
      fail("pre", (gguf_.pre.empty() ? std::string("the key is missing")
                                     : "unknown pre-tokenizer '" + escaped(gguf_.pre, 80) + "'") +
                      " (known: " + gguf_pre_tokenizer_names() + ")");
    }
    read_ids(by_scores);
    read_tokens();
    Frame frame = read_frame(by_scores || pre->add_bos);
    return by_scores ? from_scores(std::move(frame)) : from_merges(*pre, std::move(frame));
  }

 private:
  [[noreturn]] void fail(const std::string& key, const std::string& what) const {
    throw Error(ErrorCode::bad_file, {file_, "tokenizer.ggml." + key, -1, what});
  }

  std::optional<std::int32_t> checked_id(const char* key, const std::optional<std::int64_t>& id) const {
    if (!id) return std::nullopt;
    if (*id < 0 || *id >= static_cast<std::int64_t>(gguf_.tokens.size())) {
      fail(key, "expected the id of a token, 0 to " + std::to_string(gguf_.tokens.size() - 1) + ", found " +
                    std::to_string(*id));
    }
    return static_cast<std::int32_t>(*id);
  }

  void read_ids(bool by_scores) {
    if (gguf_.tokens.empty()) fail("tokens", "the vocabulary is missing or empty");
    if (gguf_.tokens.size() > as_size(max_index)) fail("tokens", "more than 2^31 - 1 tokens");
    bos_ = checked_id("bos_token_id", gguf_.bos_id);
    eos_ = checked_id("eos_token_id", gguf_.eos_id);
    unknown_ = checked_id("unknown_token_id", gguf_.unk_id);
    eot_ = checked_id("eot_token_id", gguf_.eot_id);
    checked_id("padding_token_id", gguf_.pad_id);
    if (!by_scores || gguf_.tokens.size() < 3) return;
    if (!bos_) bos_ = 1;
    if (!eos_) eos_ = 2;
    if (!unknown_) unknown_ = 0;
  }

  // Tokens that end a text or a turn are control tokens, whatever the file calls them: a text must not spell them.
  GgufTokenType type_of(std::int32_t id) const {
    const std::string_view ends[] = {"</s>",
                                     "<EOT>",
                                     "<end_of_turn>",
                                     "<|call|>",
                                     "<|end|>",
                                     "<|end_of_text|>",
                                     "<|endoftext|>",
                                     "<|eom_id|>",
                                     "<|eot_id|>",
                                     "<|im_end|>",
                                     "<|return|>",
                                     "[EOS]",
                                     "[EOT]",
                                     "<\xEF\xBD\x9C"
                                     "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"};
    if (id == bos_ || id == eos_ || id == eot_) return GgufTokenType::control;
    if (std::find(std::begin(ends), std::end(ends), gguf_.tokens[as_size(id)]) != std::end(ends))
      return GgufTokenType::control;
    if (gguf_.types.empty()) return id == unknown_ ? GgufTokenType::unknown : GgufTokenType::normal;
    return static_cast<GgufTokenType>(gguf_.types[as_size(id)]);
  }

  void read_tokens() {
    const std::size_t count = gguf_.tokens.size();
    if (!gguf_.types.empty() && gguf_.types.size() != count) {
      fail("token_type", std::to_string(gguf_.types.size()) + " types of " + std::to_string(count) + " tokens");
    }
    std::size_t bytes = 0;
    for (const std::string_view text : gguf_.tokens) bytes += text.size();
    vocabulary_.reserve(count, bytes);
    std::size_t added_bytes = 0;
    for (std::int32_t id = 0; as_size(id) < count; ++id) {
      const std::string_view text = gguf_.tokens[as_size(id)];
      if (!gguf_.types.empty() && (gguf_.types[as_size(id)] < 1 || gguf_.types[as_size(id)] > 6)) {
        fail("token_type", "unknown type " + std::to_string(gguf_.types[as_size(id)]) + " of token " +
                               std::to_string(id) + " (known: 1 to 6)");
      }
      if (text.size() > max_gguf_token_size) {
        fail("tokens", "token " + std::to_string(id) + " has " + std::to_string(text.size()) + " bytes, at most " +
                           std::to_string(max_gguf_token_size) + " are allowed");
      }
      if (find_invalid_utf8(text) != std::string_view::npos)
        fail("tokens", "token " + std::to_string(id) + " is not UTF-8: '" + escaped(text) + "'");
      const GgufTokenType type = type_of(id);
      if (type == GgufTokenType::byte && !byte_of_token(text))
        fail("tokens", "token " + std::to_string(id) + " is no byte token <0x00> to <0xFF>: '" + escaped(text) + "'");
      if (text.empty()) continue;  // a row that no text leads to
      const bool is_special = type == GgufTokenType::control || type == GgufTokenType::unknown;
      if (is_special || type == GgufTokenType::user_defined) {
        added_bytes += text.size();
        if (added_.size() == max_added_tokens || added_bytes > max_added_bytes) {
          throw Error(ErrorCode::limit, {file_, "tokenizer.ggml.token_type", -1,
                                         "more than " + std::to_string(max_added_tokens) +
                                             " control and user-defined tokens, or more than " +
                                             std::to_string(max_added_bytes) + " bytes of them"});
        }
        added_.push_back({.id = id, .content = std::string(text), .special = is_special, .normalized = false});
        added_.back().strip_right =
            gguf_.strips_after_control && is_special && id != unknown_ && id != bos_ && text != "<|endoftext|>";
      }
      Vocabulary& known = is_special ? specials_ : vocabulary_;
      const Vocabulary& other = is_special ? vocabulary_ : specials_;
      if (other.find(text) >= 0 || known.add(text, id) != Vocabulary::Added::yes)
        fail("tokens", "token " + std::to_string(id) + " occurs twice: '" + escaped(text) + "'");
    }
    if (vocabulary_.size() == 0) fail("tokens", "no token stands for text");
  }

  Frame read_frame(bool adds_bos) const {
    Frame frame;
    if (gguf_.add_bos.value_or(adds_bos)) {
      if (!bos_) fail("add_bos_token", "a first token is to be added, and bos_token_id is missing");
      frame.before.push_back(*bos_);
    }
    if (gguf_.add_eos.value_or(false)) {
      if (!eos_) fail("add_eos_token", "a last token is to be added, and eos_token_id is missing");
      frame.after.push_back(*eos_);
    }
    return frame;
  }

  TokenizerParts from_merges(const GgufPreTokenizer& pre, Frame frame) {
    BpeOptions options;
    options.ignore_merges = pre.ignore_merges;
    const std::vector<Bpe::Merge> merges = read_merges();
    std::vector<Normalizer::Step> normalizer;
    if (pre.composes) normalizer.push_back(UnicodeForm{/*compose=*/true, /*compatible=*/false});
    std::vector<PreTokenizer::Step> steps;
    for (const std::string_view pattern : pre.patterns) {
      if (pattern.empty()) break;
      steps.push_back(SplitPieces{Pattern::regex(pattern, "tokenizer.ggml.pre"), SplitPieces::Behavior::isolated});
    }
    steps.push_back(SpellBytes{});
    TokenDecoder decoder;
    decoder.byte_level = true;
    decoder.added_as_they_are = true;
    return {std::move(added_),
            Normalizer(std::move(normalizer)),
            PreTokenizer(std::move(steps)),
            Bpe(std::move(vocabulary_), merges, options),
            std::move(frame),
            std::move(decoder)};
  }

  std::vector<Bpe::Merge> read_merges() const {
    if (gguf_.merges.empty()) fail("merges", "the key is missing or empty, which model gpt2 needs");
    std::vector<Bpe::Merge> merges;
    merges.reserve(gguf_.merges.size());
    std::string result;
    for (std::size_t i = 0; i < gguf_.merges.size(); ++i) {
      const std::string_view text = gguf_.merges[i];
      const std::size_t space = text.find(' ');
      if (space == 0 || space >= text.size() - 1 || text.find(' ', space + 1) != std::string_view::npos)
        fail("merges", "merge " + std::to_string(i) + " is not a pair of tokens: '" + escaped(text) + "'");
      const auto [left, right] = std::pair(text.substr(0, space), text.substr(space + 1));
      result.assign(left).append(right);
      const std::int32_t ids[] = {vocabulary_.find(left), vocabulary_.find(right), vocabulary_.find(result)};
      if (ids[0] >= 0 && ids[1] >= 0 && ids[2] >= 0) {
        merges.push_back({ids[0], ids[1], ids[2]});
        continue;
      }
      for (const std::string_view part : {left, right, std::string_view(result)}) {
        if (vocabulary_.find(part) >= 0 || specials_.find(part) >= 0) continue;
        fail("merges", "merge " + std::to_string(i) + ": its " +
                           (part.data() == result.data() ? "result"
                            : part.data() == left.data() ? "left part"
                                                         : "right part") +
                           " '" + escaped(part) + "' is not in the vocabulary");
      }
      // Of a control token, which never comes of text.
    }
    return merges;
  }

  TokenizerParts from_scores(Frame frame) {
    const std::string mark = "\xE2\x96\x81";  // U+2581
    BpeOptions options;
    options.unknown = unknown_.value_or(-1);
    options.fuse_unknown = options.byte_fallback = true;
    std::vector<Normalizer::Step> normalizer;
    const bool adds_space = gguf_.add_space_prefix.value_or(true);
    if (adds_space) normalizer.push_back(PrependText{mark});
    normalizer.push_back(ReplaceText{" ", mark});
    TokenDecoder decoder;
    decoder.replacements = {{mark, " "}};
    decoder.byte_fallback = true;
    decoder.stripped = " ";
    decoder.max_stripped = adds_space ? 1 : 0;
    Bpe::TokenRanks ranks(read_scores());
    return {std::move(added_), Normalizer(std::move(normalizer)),
            PreTokenizer(),    Bpe(std::move(vocabulary_), std::move(ranks), options),
            std::move(frame),  std::move(decoder)};
  }

  // The rank of each token: how many other scores are higher.
  std::vector<std::int32_t> read_scores() const {
    const std::vector<float>& scores = gguf_.scores;
    if (scores.size() != gguf_.tokens.size()) {
      fail("scores", std::to_string(scores.size()) + " scores of " + std::to_string(gguf_.tokens.size()) + " tokens");
    }
    std::vector<std::int32_t> ids;
    ids.reserve(scores.size());
    for (std::int32_t id = 0; id <= vocabulary_.max_id(); ++id) {
      if (!std::isfinite(scores[as_size(id)]))
        fail("scores", "the score of token " + std::to_string(id) + " is not finite");
      const GgufTokenType type = type_of(id);
      const bool merges = type == GgufTokenType::normal || type == GgufTokenType::user_defined;
      if (merges && vocabulary_.text(id)) ids.push_back(id);
    }
    std::sort(ids.begin(), ids.end(),
              [&](std::int32_t a, std::int32_t b) { return scores[as_size(a)] > scores[as_size(b)]; });
    std::vector<std::int32_t> ranks(as_size(vocabulary_.max_id()) + 1, -1);
    std::int32_t rank = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (i > 0 && scores[as_size(ids[i])] < scores[as_size(ids[i - 1])]) ++rank;
      ranks[as_size(ids[i])] = rank;
    }
    return ranks;
  }

  const GgufVocabulary& gguf_;
  const std::string& file_;
  std::optional<std::int32_t> bos_, eos_, unknown_, eot_;
  Vocabulary vocabulary_;  // what text may become
  Vocabulary specials_;    // control and unknown tokens
  std::vector<AddedToken> added_;
};

}  // namespace detail

// file: its name, for errors. Throws Error (bad_file, limit) with the key that is at fault.
inline TokenizerParts make_gguf_tokenizer(const GgufVocabulary& vocabulary, const std::string& file) {
  return detail::GgufTokenizerBuilder(vocabulary, file).build();
}

}  // namespace headgate::inline HEADGATE_ABI
