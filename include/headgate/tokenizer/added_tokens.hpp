// Added tokens: texts that become one token wherever they stand, found before anything else happens to the text. Where
// several could match, the leftmost is taken, and of those the longest.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/core/utf8.hpp"
#include "headgate/tokenizer/normalizer.hpp"
#include "headgate/tokenizer/pair_table.hpp"
#include "headgate/tokenizer/text_steps.hpp"

namespace headgate::inline HEADGATE_ABI {

// Finds the leftmost-longest matches of many texts in time linear in the text, however the texts overlap: the automaton
// of Aho and Corasick (1975) for the reversed texts runs over the text from its end, and so knows at each position the
// longest text that begins there.
class TextFinder {
 public:
  struct Match {
    std::size_t begin, end;
    std::int32_t index;  // of the text
  };

  // Empty texts never match; of equal texts the first does.
  explicit TextFinder(const std::vector<std::string>& texts = {}) {
    root_children_.fill(root);
    nodes_.push_back({});
    for (std::size_t i = 0; i < texts.size(); ++i) insert(texts[i], static_cast<std::int32_t>(i));
    link();
  }

  std::vector<Match> find(std::string_view text) const {
    std::vector<Match> starts;  // the longest match at each position that has one, from the back
    if (nodes_.size() == 1) return starts;
    std::int32_t node = root;
    for (std::size_t i = text.size(); i-- > 0;) {
      node = next(node, static_cast<unsigned char>(text[i]));
      const Node& longest = nodes_[as_size(nodes_[as_size(node)].longest)];
      if (longest.index >= 0) starts.push_back({i, i + as_size(longest.depth), longest.index});
    }
    std::reverse(starts.begin(), starts.end());
    std::size_t end = 0;
    std::erase_if(starts, [&](const Match& match) {
      if (match.begin < end) return true;
      end = match.end;
      return false;
    });
    return starts;
  }

 private:
  static constexpr std::int32_t root = 0;
  struct Node {
    std::int32_t parent = root;
    std::int32_t depth = 0;
    std::int32_t fail = root;     // the longest proper suffix that is a node
    std::int32_t longest = root;  // the longest suffix, this node included, that is a whole text; root: none
    std::int32_t index = -1;      // of the text that ends here
    unsigned char byte = 0;
  };

  std::int32_t child(std::int32_t node, unsigned char byte) const noexcept {
    if (node == root) return root_children_[byte];
    const std::int32_t* const found = children_.find(node, byte);
    return found == nullptr ? root : *found;
  }

  std::int32_t next(std::int32_t node, unsigned char byte) const noexcept {
    while (true) {
      const std::int32_t found = child(node, byte);
      if (found != root || node == root) return found;
      node = nodes_[as_size(node)].fail;
    }
  }

  void insert(std::string_view text, std::int32_t index) {
    std::int32_t node = root;
    for (std::size_t i = text.size(); i-- > 0;) {
      const auto byte = static_cast<unsigned char>(text[i]);
      std::int32_t found = child(node, byte);
      if (found == root) {
        found = static_cast<std::int32_t>(nodes_.size());
        nodes_.push_back({node, nodes_[as_size(node)].depth + 1, root, root, -1, byte});
        if (node == root) {
          root_children_[byte] = found;
        } else {
          children_.insert(node, byte, found);
        }
      }
      node = found;
    }
    if (node != root && nodes_[as_size(node)].index < 0) nodes_[as_size(node)].index = index;
  }

  // Parents before children: nodes in order of depth.
  void link() {
    std::vector<std::int32_t> order(nodes_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>(i);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return nodes_[as_size(a)].depth < nodes_[as_size(b)].depth;
    });
    for (const std::int32_t i : order) {
      Node& node = nodes_[as_size(i)];
      if (node.depth > 1) node.fail = next(nodes_[as_size(node.parent)].fail, node.byte);
      node.longest = node.index >= 0 ? i : nodes_[as_size(node.fail)].longest;
    }
  }

  std::vector<Node> nodes_;
  PairTable<std::int32_t> children_;
  std::array<std::int32_t, 256> root_children_;
};

struct AddedToken {
  std::int32_t id;
  std::string content;
  bool special = false;      // a control token: may be kept out of decoded text, and be ignored in text
  bool normalized = true;    // found in the normalized text, after it is normalized itself
  bool strip_left = false;   // takes the white space before it along
  bool strip_right = false;  // and after it
  bool single_word = false;  // only where no word character adjoins
};

// Those of the added tokens that are found before, or those that are found after normalization.
class AddedTokenFinder {
 public:
  struct Part {
    std::size_t begin, end;
    std::int32_t id;  // -1: text between added tokens
  };
  // A place of the text that is this token, whatever else could be found there.
  struct Fixed {
    std::size_t begin, end;
    const AddedToken* token;
  };

  AddedTokenFinder() = default;
  AddedTokenFinder(const std::vector<AddedToken>& tokens, bool normalized, const Normalizer& normalizer) {
    std::vector<std::string> texts;
    for (const AddedToken& token : tokens) {
      if (token.normalized != normalized) continue;
      tokens_.push_back(token);
      texts.push_back(normalized ? normalizer.apply(token.content) : token.content);
    }
    finder_ = TextFinder(texts);
  }

  // The whole text in parts, none empty. parse_special false: special tokens are text like any other. fixed: in order.
  std::vector<Part> split(std::string_view text, bool parse_special, std::span<const Fixed> fixed = {}) const {
    std::vector<Part> parts;
    std::size_t end = 0;
    const auto take = [&](const AddedToken& token, std::size_t first, std::size_t last) {
      if (token.strip_left) first -= trailing_white_space(text.substr(end, first - end));
      if (token.strip_right) last += leading_white_space(text.substr(last));
      if (end < first) parts.push_back({end, first, -1});
      parts.push_back({first, last, token.id});
      end = last;
    };
    const auto take_fixed_before = [&](std::size_t place) {
      for (; !fixed.empty() && fixed.front().begin < place; fixed = fixed.subspan(1)) {
        take(*fixed.front().token, std::max(end, fixed.front().begin), std::max(end, fixed.front().end));
      }
    };
    for (const TextFinder::Match& match : finder_.find(text)) {
      const AddedToken& token = tokens_[as_size(match.index)];
      if (token.special && !parse_special) continue;
      take_fixed_before(match.end);
      if (match.begin < end) continue;  // in what the token before took along
      if (token.single_word && adjoins_word(text, match)) continue;
      take(token, match.begin, match.end);
    }
    take_fixed_before(text.size());
    if (end < text.size()) parts.push_back({end, text.size(), -1});
    return parts;
  }

 private:
  static bool adjoins_word(std::string_view text, const TextFinder::Match& match) {
    return (match.begin > 0 && is_word_character(code_point_at(text, previous_utf8(text, match.begin)))) ||
           (match.end < text.size() && is_word_character(code_point_at(text, match.end)));
  }

  std::vector<AddedToken> tokens_;
  TextFinder finder_;
};

}  // namespace headgate::inline HEADGATE_ABI
