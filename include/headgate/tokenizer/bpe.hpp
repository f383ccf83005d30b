// Byte-pair encoding (Sennrich et al. 2016; Gage 1994): a piece starts as characters, and the adjacent pair whose merge
// was learnt first is merged, the leftmost of equals, until no pair has a merge. With a queue of candidate pairs over a
// linked list of symbols this is O(n log n) in the length of the piece.
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
#include "headgate/tokenizer/byte_level.hpp"
#include "headgate/tokenizer/pair_table.hpp"
#include "headgate/tokenizer/utf8.hpp"
#include "headgate/tokenizer/vocabulary.hpp"

namespace headgate::inline HEADGATE_ABI {

struct BpeOptions {
  std::int32_t unknown = -1;   // id of the unknown token, -1: none
  bool fuse_unknown = false;   // one unknown token for a run of unknown characters
  bool byte_fallback = false;  // unknown characters become tokens <0x00> to <0xFF>
  bool ignore_merges = false;  // a piece that is a token is that token, whatever the merges say
};

// The byte of a token <0x00> to <0xFF> (either case).
inline std::optional<std::uint8_t> byte_of_token(std::string_view token) noexcept {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int byte = 0;
  for (const char c : {token[3], token[4]}) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    byte = 16 * byte + digit;
  }
  return static_cast<std::uint8_t>(byte);
}

inline std::string byte_token(std::size_t byte) {
  constexpr char digits[] = "0123456789ABCDEF";
  return {'<', '0', 'x', digits[byte >> 4 & 15], digits[byte & 15], '>'};
}

class Bpe {
 public:
  struct Merge {
    std::int32_t left, right;  // ids
    std::int32_t result;
  };

  // merges: in order of rank. A pair that occurs again has the later rank, as in the reference.
  Bpe(Vocabulary vocabulary, const std::vector<Merge>& merges, const BpeOptions& options)
      : vocabulary_(std::move(vocabulary)), options_(options) {
    std::int32_t rank = 0;
    for (const Merge& merge : merges) merges_.insert(merge.left, merge.right, {rank++, merge.result});
    for (char32_t c = 0; c < direct_characters; ++c) {
      std::string text;
      append_utf8(text, c);
      character_ids_[c] = vocabulary_.find(text);
    }
    for (std::size_t byte = 0; byte < 256; ++byte) byte_ids_[byte] = vocabulary_.find(byte_token(byte));
  }

  const Vocabulary& vocabulary() const noexcept { return vocabulary_; }
  const BpeOptions& options() const noexcept { return options_; }

  // What encode works in; one for each call of the tokenizer.
  class Scratch {
    friend class Bpe;
    struct Symbol {
      std::int32_t id;              // -1: merged into the one before
      std::int32_t previous, next;  // -1: none
    };
    struct Candidate {
      std::uint64_t order;  // rank, then position of the left symbol
      std::int32_t result;
      friend bool operator<(const Candidate& a, const Candidate& b) noexcept { return a.order > b.order; }
    };
    std::vector<Symbol> symbols_;
    std::vector<Candidate> queue_;
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
    if (const std::string_view unknown = spell(piece, scratch); !unknown.empty()) return unknown;
    merge(scratch);
    for (std::int32_t i = 0; i >= 0; i = scratch.symbols_[as_size(i)].next)
      ids.push_back(scratch.symbols_[as_size(i)].id);
    return {};
  }

 private:
  using Symbol = Scratch::Symbol;
  using Candidate = Scratch::Candidate;
  struct RankedMerge {
    std::int32_t rank, result;
  };
  static constexpr char32_t direct_characters = 0x200;  // the byte alphabet is among them

  std::int32_t character_id(std::string_view piece, std::size_t i, std::size_t size) const noexcept {
    const char32_t c = code_point_at(piece, i);
    return c < direct_characters ? character_ids_[c] : vocabulary_.find(piece.substr(i, size));
  }

  // An unknown token waits until a known character, another unknown one or the end comes, and byte tokens pass it, as
  // in the reference. Returns the first character that nothing stands for.
  std::string_view spell(std::string_view piece, Scratch& scratch) const {
    const auto add = [&](std::int32_t id) {
      const auto position = static_cast<std::int32_t>(scratch.symbols_.size());
      scratch.symbols_.push_back({id, position - 1, position + 1});
    };
    bool unknown_waits = false;
    for (std::size_t i = 0, size = 0; i < piece.size(); i += size) {
      size = utf8_size(piece[i]);
      if (const std::int32_t id = character_id(piece, i, size); id >= 0) {
        if (std::exchange(unknown_waits, false)) add(options_.unknown);
        add(id);
        continue;
      }
      const std::string_view bytes = piece.substr(i, size);
      const auto id_of = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
      if (options_.byte_fallback && std::all_of(bytes.begin(), bytes.end(), [&](char b) { return id_of(b) >= 0; })) {
        for (const char byte : bytes) add(id_of(byte));
      } else if (options_.unknown >= 0) {
        if (unknown_waits && !options_.fuse_unknown) add(options_.unknown);
        unknown_waits = true;
      } else {
        return bytes;
      }
    }
    if (unknown_waits) add(options_.unknown);
    scratch.symbols_.back().next = -1;
    return {};
  }

  void merge(Scratch& scratch) const {
    auto& symbols = scratch.symbols_;
    auto& queue = scratch.queue_;
    const auto find = [&](std::int32_t left, std::int32_t right) {
      return merges_.find(symbols[as_size(left)].id, symbols[as_size(right)].id);
    };
    const auto candidate = [](const RankedMerge& merge, std::int32_t position) {
      return Candidate{static_cast<std::uint64_t>(merge.rank) << 32 | static_cast<std::uint32_t>(position),
                       merge.result};
    };
    const auto offer = [&](std::int32_t left, std::int32_t right) {
      if (left < 0 || right < 0) return;
      if (const RankedMerge* const merge = find(left, right)) {
        queue.push_back(candidate(*merge, left));
        std::push_heap(queue.begin(), queue.end());
      }
    };
    queue.clear();
    for (std::int32_t i = 0; i + 1 < static_cast<std::int32_t>(symbols.size()); ++i) {
      if (const RankedMerge* const merge = find(i, i + 1)) queue.push_back(candidate(*merge, i));
    }
    std::make_heap(queue.begin(), queue.end());
    while (!queue.empty()) {
      const Candidate best = queue.front();
      std::pop_heap(queue.begin(), queue.end());
      queue.pop_back();
      const auto left = static_cast<std::int32_t>(best.order & 0xFFFFFFFF);
      Symbol& symbol = symbols[as_size(left)];
      if (symbol.id < 0 || symbol.next < 0) continue;
      // The pair may have changed since it was queued. One that makes the same token now counts, as in the reference.
      const RankedMerge* const merge = find(left, symbol.next);
      if (merge == nullptr || merge->result != best.result) continue;
      symbol.id = best.result;
      Symbol& right = symbols[as_size(symbol.next)];
      right.id = -1;
      symbol.next = right.next;
      if (symbol.next >= 0) symbols[as_size(symbol.next)].previous = left;
      offer(symbol.previous, left);
      offer(left, symbol.next);
    }
  }

  Vocabulary vocabulary_;
  PairTable<RankedMerge> merges_;
  BpeOptions options_;
  std::array<std::int32_t, direct_characters> character_ids_;
  std::array<std::int32_t, 256> byte_ids_;
};

}  // namespace headgate::inline HEADGATE_ABI
