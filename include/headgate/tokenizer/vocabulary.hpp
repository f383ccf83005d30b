// Vocabulary: tokens and their ids, both ways. Texts stand one after another in one string; a hash table of ids finds
// them.
#pragma once

#include <bit>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

class Vocabulary {
 public:
  enum class Added : std::uint8_t { yes, text_known, id_known };

  // Precondition: 0 <= id. The caller bounds ids, as the table of texts grows to the largest.
  Added add(std::string_view text, std::int32_t id) {
    if (2 * (size_ + 1) > slots_.size()) grow();
    Slot& slot = slots_[find_slot(text)];
    if (slot.id >= 0) return Added::text_known;
    if (as_size(id) >= tokens_.size()) tokens_.resize(as_size(id) + 1);
    if (tokens_[as_size(id)].begin >= 0) return Added::id_known;
    tokens_[as_size(id)] = {static_cast<std::int64_t>(texts_.size()), static_cast<std::int64_t>(text.size())};
    texts_ += text;
    slot = {id, hash_of(text)};
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
  std::int32_t find(std::string_view text) const noexcept { return slots_.empty() ? -1 : slots_[find_slot(text)].id; }

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

  struct Slot {
    std::int32_t id = -1;    // -1: free
    std::uint32_t hash = 0;  // so that texts are compared once
  };

  static std::uint32_t hash_of(std::string_view text) noexcept {
    return static_cast<std::uint32_t>(std::hash<std::string_view>{}(text));
  }

  // The text's slot, or the free one where it would go.
  std::size_t find_slot(std::string_view text) const noexcept {
    const std::uint32_t hash = hash_of(text);
    std::size_t i = hash & (slots_.size() - 1);
    while (slots_[i].id >= 0 && (slots_[i].hash != hash || this->text(slots_[i].id) != text))
      i = (i + 1) & (slots_.size() - 1);
    return i;
  }

  void grow() { rebuild(std::bit_ceil(4 * (size_ + 1))); }
  void rebuild(std::size_t slots) {
    const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(slots));
    for (const Slot& slot : old) {
      if (slot.id < 0) continue;
      std::size_t i = slot.hash & (slots - 1);
      while (slots_[i].id >= 0) i = (i + 1) & (slots - 1);
      slots_[i] = slot;
    }
  }

  std::string texts_;
  std::vector<Span> tokens_;
  std::vector<Slot> slots_;
  std::size_t size_ = 0;
};

}  // namespace headgate::inline HEADGATE_ABI
