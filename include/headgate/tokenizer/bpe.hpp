// Byte-pair encoding (Sennrich et al. 2016; Gage 1994): a piece starts as characters, and the adjacent pair of lowest
// rank is merged, the leftmost of equals, until no pair has a rank (symbol_merger.hpp).
//
// A rank belongs to a pair of tokens, in the order in which their merges were learnt, or, as in SentencePiece, to the
// token that they become: the higher its score, the lower its rank.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/core/error.hpp"
#include "headgate/core/utf8.hpp"
#include "headgate/tokenizer/byte_token.hpp"
#include "headgate/tokenizer/pair_filter.hpp"
#include "headgate/tokenizer/pair_table.hpp"
#include "headgate/tokenizer/symbol_merger.hpp"
#include "headgate/tokenizer/vocabulary.hpp"

namespace headgate::inline HEADGATE_ABI {

struct BpeOptions {
  std::int32_t unknown = -1;   // id of the unknown token, -1: none
  bool fuse_unknown = false;   // one unknown token for a run of unknown characters
  bool byte_fallback = false;  // unknown characters become tokens <0x00> to <0xFF>
  bool ignore_merges = false;  // a piece that is a token is that token, whatever the merges say
};

class Bpe {
 public:
  struct Merge {
    std::int32_t left, right;  // ids
    std::int32_t result;
  };

  // merges: in order of rank. A pair that occurs again has the later rank, as in the reference.
  Bpe(Vocabulary vocabulary, const std::vector<Merge>& merges, const BpeOptions& options)
      : Bpe(TokenRanks({}), std::move(vocabulary), options) {
    merges_.reserve(merges.size());
    std::int32_t rank = 0;
    for (const Merge& merge : merges) {
      merges_.insert(merge.left, merge.right, {rank++, merge.result});
      note_neighbours(merge);
    }
  }

  // By id, for all ids up to the largest; -1: the token never comes of a text.
  struct TokenRanks {
    explicit TokenRanks(std::vector<std::int32_t> ranks) : of(std::move(ranks)) {}
    std::vector<std::int32_t> of;
  };
  Bpe(Vocabulary vocabulary, TokenRanks ranks, const BpeOptions& options)
      : Bpe(std::move(ranks), std::move(vocabulary), options) {
    for (std::int32_t id = 0; id <= vocabulary_.max_id(); ++id) {
      if (token_ranks_[as_size(id)] >= 0) note_neighbours(*vocabulary_.text(id));
    }
  }

  const Vocabulary& vocabulary() const noexcept { return vocabulary_; }
  const BpeOptions& options() const noexcept { return options_; }

  // What encode works in; one for each call of the tokenizer.
  class Scratch {
    friend class Bpe;
    std::vector<std::int32_t> symbols_;
    std::vector<std::int32_t> begins_;  // in the piece, of the symbols' texts and its end; where tokens have ranks
    std::vector<SymbolMerger::Token> tokens_;
    SymbolMerger merger_;
  };

  // Appends the ids of a piece: well-formed UTF-8, not empty. A character that neither a token, nor byte tokens, nor an
  // unknown token stands for is left: it is returned, empty if there is none, and nothing is appended. (The reference
  // drops it without a word where the model names no unk_token, and fails where it names one that is not in the
  // vocabulary.)
  [[nodiscard]] std::string_view encode(std::string_view piece, Scratch& scratch,
                                        std::vector<std::int32_t>& ids) const {
    if (options_.ignore_merges) {
      if (const std::int32_t id = vocabulary_.find(piece); id >= 0) {
        ids.push_back(id);
        return {};
      }
    }
    scratch.symbols_.clear();
    scratch.tokens_.clear();
    if (has_token_ranks()) {
      spell_characters(piece, scratch);
      const auto find = [&](const SymbolMerger::Token& left, const SymbolMerger::Token&, std::int32_t end) {
        const std::int32_t begin = scratch.begins_[as_size(left.first)];
        return find_text(piece.substr(as_size(begin), as_size(scratch.begins_[as_size(end)] - begin)));
      };
      merge(find, scratch);
      return append_or_fall_back(piece, scratch, ids);
    }
    if (const std::string_view unknown = spell(piece, scratch.symbols_); !unknown.empty()) return unknown;
    merge([&](const SymbolMerger::Token& left, const SymbolMerger::Token& right,
              std::int32_t) { return find_pair(left.id, right.id); },
          scratch);
    for (const SymbolMerger::Token& token : scratch.tokens_) ids.push_back(token.id);
    return {};
  }

 private:
  using RankedMerge = SymbolMerger::Merge;
  static constexpr char32_t direct_characters = 0x200;  // the byte alphabet is among them
  static constexpr std::int32_t no_token = -1;          // the id of a character that is none
  static constexpr std::size_t max_uncut = 32;          // symbols

  Bpe(TokenRanks&& ranks, Vocabulary&& vocabulary, const BpeOptions& options)
      : vocabulary_(std::move(vocabulary)), token_ranks_(std::move(ranks.of)), options_(options) {
    for (char32_t c = 0; c < direct_characters; ++c) {
      std::string text;
      append_utf8(text, c);
      character_ids_[c] = find_character(text);
    }
    for (std::size_t byte = 0; byte < 256; ++byte) byte_ids_[byte] = vocabulary_.find(byte_token(byte));
    for (std::int32_t id = 0; id < static_cast<std::int32_t>(token_ranks_.size()); ++id) {
      if (token_ranks_[as_size(id)] >= 0) max_size_ = std::max(max_size_, vocabulary_.text(id)->size());
    }
  }

  bool has_token_ranks() const noexcept { return !token_ranks_.empty(); }

  std::int32_t find_character(std::string_view character) const noexcept {
    const std::int32_t id = vocabulary_.find(character);
    return id >= 0 && has_token_ranks() && token_ranks_[as_size(id)] < 0 ? no_token : id;
  }
  std::int32_t character_id(std::string_view piece, std::size_t i, std::size_t size) const noexcept {
    const char32_t c = code_point_at(piece, i);
    return c < direct_characters ? character_ids_[c] : find_character(piece.substr(i, size));
  }

  // Characters that are no tokens wait for what they become part of.
  void spell_characters(std::string_view piece, Scratch& scratch) const {
    scratch.begins_.clear();
    for (std::size_t i = 0, size = 0; i < piece.size(); i += size) {
      size = utf8_size(piece[i]);
      scratch.symbols_.push_back(character_id(piece, i, size));
      scratch.begins_.push_back(static_cast<std::int32_t>(i));
    }
    scratch.begins_.push_back(static_cast<std::int32_t>(piece.size()));
  }

  // An unknown token waits until a known character, another unknown one or the end comes, and byte tokens pass it, as
  // in the reference. Returns the first character that nothing stands for.
  std::string_view spell(std::string_view piece, std::vector<std::int32_t>& symbols) const {
    bool unknown_waits = false;
    const auto add = [&](std::int32_t id) { symbols.push_back(id); };
    for (std::size_t i = 0, size = 0; i < piece.size(); i += size) {
      size = utf8_size(piece[i]);
      if (const std::int32_t id = character_id(piece, i, size); id >= 0) {
        if (std::exchange(unknown_waits, false)) add(options_.unknown);
        add(id);
        continue;
      }
      const std::string_view bytes = piece.substr(i, size);
      if (options_.byte_fallback && has_byte_tokens(bytes)) {
        for (const char byte : bytes) add(byte_ids_[static_cast<unsigned char>(byte)]);
      } else if (options_.unknown >= 0) {
        if (unknown_waits && !options_.fuse_unknown) add(options_.unknown);
        unknown_waits = true;
      } else {
        return bytes;
      }
    }
    if (unknown_waits) add(options_.unknown);
    return {};
  }

  bool has_byte_tokens(std::string_view bytes) const noexcept {
    return std::all_of(bytes.begin(), bytes.end(),
                       [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)] >= 0; });
  }

  // A piece can be cut wherever two symbols meet that stand side by side in no token: nothing merges across. A whole
  // text without a pre-tokenizer falls into words this way.
  std::size_t end_of_stretch(const std::vector<std::int32_t>& symbols, std::size_t first) const noexcept {
    if (!may_cut_ || symbols.size() <= max_uncut) return symbols.size();
    std::size_t last = first + 1;
    while (last < symbols.size() && neighbours_.may_have(symbols[last - 1], symbols[last])) ++last;
    return last;
  }

  // The characters that a merge brings together. Not known where a part is made of something else than characters.
  void note_neighbours(const Merge& merge) {
    const auto left = vocabulary_.text(merge.left), right = vocabulary_.text(merge.right);
    const auto is_text = [&](std::int32_t id, std::string_view text) {
      return !text.empty() && id != options_.unknown && !(options_.byte_fallback && byte_of_token(text));
    };
    may_cut_ = may_cut_ && left && right && is_text(merge.left, *left) && is_text(merge.right, *right);
    if (!may_cut_) return;
    const std::size_t last = previous_utf8(*left, left->size());
    neighbours_.insert(character_id(*left, last, left->size() - last), character_id(*right, 0, utf8_size((*right)[0])));
  }
  void note_neighbours(std::string_view token) {
    std::int32_t before = no_token;
    for (std::size_t i = 0, size = 0; i < token.size(); i += size) {
      size = utf8_size(token[i]);
      const std::int32_t id = character_id(token, i, size);
      if (i > 0) neighbours_.insert(before, id);
      before = id;
    }
  }

  RankedMerge find_pair(std::int32_t left, std::int32_t right) const noexcept {
    const RankedMerge* const found = merges_.find(left, right);
    return found == nullptr ? RankedMerge{} : *found;
  }
  // The text of two symbols.
  RankedMerge find_text(std::string_view text) const noexcept {
    const std::int32_t id = text.size() > max_size_ ? no_token : vocabulary_.find(text);
    return id < 0 || token_ranks_[as_size(id)] < 0 ? RankedMerge{} : RankedMerge{token_ranks_[as_size(id)], id};
  }

  template <class Find>
  void merge(const Find& find, Scratch& scratch) const {
    const std::size_t count = scratch.symbols_.size();
    for (std::size_t first = 0, last; first < count; first = last) {
      last = end_of_stretch(scratch.symbols_, first);
      scratch.merger_.merge(scratch.symbols_, static_cast<std::int32_t>(first), static_cast<std::int32_t>(last), find,
                            scratch.tokens_);
    }
  }

  // Characters that became part of no token are bytes, or a run of them is one unknown token, as in SentencePiece.
  std::string_view append_or_fall_back(std::string_view piece, const Scratch& scratch,
                                       std::vector<std::int32_t>& ids) const {
    const std::size_t old_size = ids.size();
    bool after_unknown = false;
    for (const SymbolMerger::Token& token : scratch.tokens_) {
      const bool was_unknown = std::exchange(after_unknown, false);
      if (token.id >= 0) {
        ids.push_back(token.id);
        continue;
      }
      const std::size_t begin = as_size(scratch.begins_[as_size(token.first)]);
      const std::string_view bytes = piece.substr(begin, utf8_size(piece[begin]));
      if (options_.byte_fallback && has_byte_tokens(bytes)) {
        for (const char byte : bytes) ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
      } else if (options_.unknown >= 0) {
        if (!was_unknown || !options_.fuse_unknown) ids.push_back(options_.unknown);
        after_unknown = true;
      } else {
        ids.resize(old_size);
        return bytes;
      }
    }
    return {};
  }

  Vocabulary vocabulary_;
  PairTable<RankedMerge> merges_;
  std::vector<std::int32_t> token_ranks_;  // empty: merges have ranks
  std::size_t max_size_ = 0;               // of a token that may come of a text
  PairFilter neighbours_;                  // characters that stand side by side in a token
  bool may_cut_ = true;
  BpeOptions options_;
  std::array<std::int32_t, direct_characters> character_ids_;
  std::array<std::int32_t, 256> byte_ids_;
};

}  // namespace headgate::inline HEADGATE_ABI
