// PairTable: a hash table from pairs of non-negative 32-bit numbers to values. Linear probing, at most half full.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Value>
class PairTable {
 public:
  // A pair that is there gets the new value.
  void insert(std::int32_t first, std::int32_t second, const Value& value) {
    if (2 * (size_ + 1) > slots_.size()) grow();
    Slot& slot = slots_[find_slot(key_of(first, second))];
    if (slot.key == empty) ++size_;
    slot = {key_of(first, second), value};
  }

  // Room for this many pairs.
  void reserve(std::size_t pairs) {
    while (2 * (pairs + 1) > slots_.size()) grow();
  }

  // Null if the pair is not there.
  const Value* find(std::int32_t first, std::int32_t second) const noexcept {
    const Slot& slot = slots_[find_slot(key_of(first, second))];
    return slot.key == empty ? nullptr : &slot.value;
  }

 private:
  static constexpr std::uint64_t empty = ~std::uint64_t{0};
  struct Slot {
    std::uint64_t key = empty;
    Value value{};
  };

  static std::uint64_t key_of(std::int32_t first, std::int32_t second) noexcept {
    return std::uint64_t{static_cast<std::uint32_t>(first)} << 32 | static_cast<std::uint32_t>(second);
  }
  // The key's slot, or the free one where it would go. Fibonacci hashing of the folded key: the upper bits of the
  // product depend on all of its bits.
  std::size_t find_slot(std::uint64_t key) const noexcept {
    auto i = static_cast<std::size_t>(((key ^ key >> 32) * 0x9E3779B97F4A7C15u) >> shift_);
    while (slots_[i].key != empty && slots_[i].key != key) i = (i + 1) & (slots_.size() - 1);
    return i;
  }

  void grow() {
    const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(2 * slots_.size()));
    --shift_;
    for (const Slot& slot : old) {
      if (slot.key != empty) slots_[find_slot(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_ = std::vector<Slot>(2);
  int shift_ = 63;  // 64 minus the logarithm of the number of slots
  std::size_t size_ = 0;
};

}  // namespace headgate::inline HEADGATE_ABI
