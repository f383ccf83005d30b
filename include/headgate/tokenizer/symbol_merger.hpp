// SymbolMerger: the merging of byte-pair encoding. Of all neighbours that may merge, those of the lowest rank do, the
// leftmost of equals, until none may.
//
// A few symbols are scanned for their best pair each time, more stand in a queue. A long piece is merged in windows
// that stay in the caches of the processor, which gives the same tokens: let a and b be texts that become the tokens
// (..., u) and (v, ...). If the text of u and v becomes (u, v), then that of a and b becomes (..., u, v, ...). For up
// to the first merge across the border, u and v are made of the same merges in the same order wherever they stand, and
// that merge would have happened between u and v alone.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "headgate/core/types.hpp"
#include "headgate/tokenizer/merge_queue.hpp"

namespace headgate::inline HEADGATE_ABI {

class SymbolMerger {
 public:
  struct Token {
    std::int32_t id;
    std::int32_t first;  // the symbol with which it begins
  };
  // What two neighbours become.
  struct Merge {
    std::int32_t rank = never;
    std::int32_t result = -1;
  };
  static constexpr std::int32_t never = std::numeric_limits<std::int32_t>::max();

  // Appends the tokens that symbols[first] to symbols[last - 1] become. find(left, right, end) gives the Merge of two
  // tokens, the right one of which ends before symbol `end`. Precondition: first < last.
  template <class Find>
  void merge(std::span<const std::int32_t> symbols, std::int32_t first, std::int32_t last, const Find& find,
             std::vector<Token>& tokens) {
    if (last - first <= max_scanned) return scan({symbols, first, last}, find, tokens);
    const std::size_t old_size = tokens.size();
    if (merge_in_windows({symbols, first, last}, find, tokens)) return;
    tokens.resize(old_size);
    drain({symbols, first, last}, find, tokens);
  }

 private:
  static constexpr std::int32_t max_scanned = 64;   // symbols
  static constexpr std::int32_t max_window = 2048;  // that is made so large of itself

  struct Stretch {
    std::span<const std::int32_t> symbols;
    std::int32_t first, last;
  };

  template <class Find>
  void merge_window(const Stretch& window, const Find& find, std::vector<Token>& tokens) {
    tokens.clear();
    return window.last - window.first <= max_scanned ? scan(window, find, tokens) : drain(window, find, tokens);
  }

  template <class Find>
  void scan(const Stretch& stretch, const Find& find, std::vector<Token>& tokens) {
    const std::int32_t last = stretch.last;
    auto count = as_size(last - stretch.first);
    Token* const parts = parts_.data();
    Merge* const merges = merges_.data();  // of a part and the next
    for (std::size_t i = 0; i < count; ++i) {
      const std::int32_t symbol = stretch.first + static_cast<std::int32_t>(i);
      parts[i] = {stretch.symbols[as_size(symbol)], symbol};
    }
    parts[count] = {-1, last};
    for (std::size_t i = 0; i + 1 < count; ++i) merges[i] = find(parts[i], parts[i + 1], parts[i + 2].first);
    merges[count - 1] = {};
    while (count > 1) {
      std::size_t best = 0;
      std::int32_t rank = merges[0].rank;
      for (std::size_t i = 1; i + 1 < count; ++i) {
        const bool better = merges[i].rank < rank;
        best = better ? i : best;
        rank = better ? merges[i].rank : rank;
      }
      if (rank == never) break;
      parts[best].id = merges[best].result;
      --count;
      for (std::size_t i = best + 1; i < count; ++i) {
        parts[i] = parts[i + 1];
        merges[i] = merges[i + 1];
      }
      parts[count] = {-1, last};
      merges[best] = best + 1 < count ? find(parts[best], parts[best + 1], parts[best + 2].first) : Merge{};
      if (best > 0) merges[best - 1] = find(parts[best - 1], parts[best], parts[best + 1].first);
    }
    tokens.insert(tokens.end(), parts, parts + count);
  }

  template <class Find>
  void drain(const Stretch& stretch, const Find& find, std::vector<Token>& tokens) {
    const std::int32_t first = stretch.first, count = stretch.last - first;
    nodes_.resize(as_size(count) + 1);
    for (std::int32_t i = 0; i < count; ++i) {
      nodes_[as_size(i)] = {{stretch.symbols[as_size(first + i)], first + i}, i - 1, i + 1};
    }
    nodes_[as_size(count)] = {{-1, stretch.last}, count - 1, count};
    const auto merge_at = [&](std::int32_t left) {
      const Node& a = nodes_[as_size(left)];
      if (a.next == count) return Merge{};
      const Node& b = nodes_[as_size(a.next)];
      return find(a.token, b.token, nodes_[as_size(b.next)].token.first);
    };
    const auto offer = [&](std::int32_t left) {
      if (left < 0) return;
      if (const Merge found = merge_at(left); found.rank != never) queue_.push({found.rank, left});
    };
    for (std::int32_t i = 0; i < count; ++i) offer(i);
    while (const auto best = queue_.pop()) {
      Node& node = nodes_[as_size(best->position)];
      if (node.token.id == merged) continue;
      const Merge found = merge_at(best->position);
      if (found.rank != best->rank) continue;  // the pair has changed since it was queued
      node.token.id = found.result;
      Node& right = nodes_[as_size(node.next)];
      right.token.id = merged;
      node.next = right.next;
      nodes_[as_size(node.next)].previous = best->position;
      offer(node.previous);
      offer(best->position);
    }
    for (std::int32_t i = 0; i < count; i = nodes_[as_size(i)].next) tokens.push_back(nodes_[as_size(i)].token);
  }

  // False: some border could not be confirmed, and the tokens are not to be used.
  template <class Find>
  bool merge_in_windows(Stretch rest, const Find& find, std::vector<Token>& tokens) {
    const std::int32_t end = rest.last;
    const auto stretch = [&](std::int32_t first, std::int32_t size) {
      return Stretch{rest.symbols, first, size < end - first ? first + size : end};
    };
    std::int32_t usual_size = max_scanned, size = usual_size;
    Stretch window = stretch(rest.first, size);
    merge_window(window, find, window_);
    while (window.last < end) {
      // What lies near the end of the window may be other tokens when the text goes on.
      std::size_t keep = window_.size() - 1;
      while (keep > 0 && window_[keep].first > window.last - size / 8) --keep;
      if (keep > 0) {
        const std::int32_t border = window_[keep].first;
        const Stretch next = stretch(border, usual_size);
        merge_window(next, find, next_);
        const Stretch both{rest.symbols, window_[keep - 1].first, end_of(next_, 0, next)};
        // Tokens that stood side by side once always can.
        if (same(next_, 0, next, window_, keep, window) || meet(both, border, find)) {
          tokens.insert(tokens.end(), window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>(keep));
          if (size > usual_size) usual_size = std::min(4 * size, max_window);  // long tokens
          window = next;
          size = usual_size;
          std::swap(window_, next_);
          continue;
        }
      }
      size *= 2;
      const Stretch larger = stretch(window.first, size);
      merge_window(larger, find, next_);
      if (window.first > rest.first && !same(next_, 0, larger, window_, 0, window) &&
          !meet({rest.symbols, tokens.back().first, end_of(next_, 0, larger)}, window.first, find)) {
        return false;
      }
      window = larger;
      std::swap(window_, next_);
    }
    tokens.insert(tokens.end(), window_.begin(), window_.end());
    return true;
  }

  // Where token i of a stretch ends.
  static std::int32_t end_of(const std::vector<Token>& tokens, std::size_t i, const Stretch& stretch) noexcept {
    return i + 1 < tokens.size() ? tokens[i + 1].first : stretch.last;
  }
  static bool same(const std::vector<Token>& a, std::size_t i, const Stretch& a_stretch, const std::vector<Token>& b,
                   std::size_t j, const Stretch& b_stretch) noexcept {
    return a[i].id == b[j].id && end_of(a, i, a_stretch) == end_of(b, j, b_stretch);
  }

  // Whether two tokens, merged from one text, stay two with this border.
  template <class Find>
  bool meet(const Stretch& both, std::int32_t border, const Find& find) {
    merge_window(both, find, both_);
    return both_.size() == 2 && both_[1].first == border;
  }

  struct Node {
    Token token;
    std::int32_t previous, next;
  };
  static constexpr std::int32_t merged = -2;  // the id of a node that is part of one before it

  std::array<Token, as_size(max_scanned) + 1> parts_;
  std::array<Merge, as_size(max_scanned)> merges_;
  std::vector<Node> nodes_;
  MergeQueue queue_;
  std::vector<Token> window_, next_, both_;
};

}  // namespace headgate::inline HEADGATE_ABI
