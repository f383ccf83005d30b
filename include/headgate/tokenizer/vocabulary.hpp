// Vocabulary: tokens and their ids, both ways. Texts stand one after another in one string; a hash table of ids finds
// them.
#pragma once

#include <bit>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

class Vocabulary {
 public:
  enum class Added : std::uint8_t { yes, text_known, id_known };

  // Precondition: 0 <= id. The caller bounds ids, as the table of texts grows to the largest.
  Added add(std::string_view text, std::int32_t id) {
    if (2 * (size_ + 1) > slots_.size()) grow();
    const std::size_t slot = find_slot(text);
    if (slots_[slot] >= 0) return Added::text_known;
    if (as_size(id) >= tokens_.size()) tokens_.resize(as_size(id) + 1);
    if (tokens_[as_size(id)].begin >= 0) return Added::id_known;
    tokens_[as_size(id)] = {static_cast<std::int64_t>(texts_.size()), static_cast<std::int64_t>(text.size())};
    texts_ += text;
    slots_[slot] = id;
    ++size_;
    return Added::yes;
  }

  // Room for this many tokens, whose texts take this many bytes.
  void reserve(std::size_t tokens, std::size_t bytes) {
    texts_.reserve(bytes);
    tokens_.reserve(tokens);
    if (2 * tokens > slots_.size()) rebuild(std::bit_ceil(2 * tokens));
  }

  // The id of a token, -1: none.
  std::int32_t find(std::string_view text) const noexcept { return slots_.empty() ? -1 : slots_[find_slot(text)]; }

  std::optional<std::string_view> text(std::int32_t id) const noexcept {
    if (id < 0 || as_size(id) >= tokens_.size() || tokens_[as_size(id)].begin < 0) return std::nullopt;
    const Span& token = tokens_[as_size(id)];
    return std::string_view(texts_).substr(as_size(token.begin), as_size(token.size));
  }

  std::int32_t size() const noexcept { return static_cast<std::int32_t>(size_); }
  // The largest id, -1: no token.
  std::int32_t max_id() const noexcept { return static_cast<std::int32_t>(tokens_.size()) - 1; }

 private:
  struct Span {
    std::int64_t begin = -1;  // -1: no token has this id
    std::int64_t size = 0;
  };

  std::size_t find_slot(std::string_view text) const noexcept {
    std::size_t i = std::hash<std::string_view>{}(text) & (slots_.size() - 1);
    while (slots_[i] >= 0 && this->text(slots_[i]) != text) i = (i + 1) & (slots_.size() - 1);
    return i;
  }

  void grow() { rebuild(std::bit_ceil(4 * (size_ + 1))); }
  void rebuild(std::size_t slots) {
    slots_.assign(slots, -1);
    for (std::int32_t id = 0; id <= max_id(); ++id) {
      if (const auto token = text(id)) slots_[find_slot(*token)] = id;
    }
  }

  std::string texts_;
  std::vector<Span> tokens_;
  std::vector<std::int32_t> slots_;
  std::size_t size_ = 0;
};

}  // namespace headgate::inline HEADGATE_ABI
