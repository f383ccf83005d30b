// ExpertPlaces: where in a row of a plan an expert stands, so that ids that repeat are found. A hash table in memory
// that grows with the row and not with the number of experts, which may be a million.
#pragma once

#include <algorithm>
#include <bit>
#include <span>

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

class ExpertPlaces {
 public:
  // Slots for rows of up to so many entries.
  static constexpr std::int64_t slots_for(index_t entries) noexcept {
    return static_cast<std::int64_t>(std::bit_ceil(2 * as_size(entries)));
  }

  // table: at least slots_for(entries) zeros, and left so. It is somebody else's.
  ExpertPlaces(std::span<index_t> table, index_t entries) noexcept
      : slots_(table.first(as_size(slots_for(entries)))), shift_(64 - std::countr_zero(slots_.size())) {}
  ExpertPlaces(const ExpertPlaces&) = delete;
  ExpertPlaces& operator=(const ExpertPlaces&) = delete;
  ~ExpertPlaces() { std::fill(slots_.begin(), slots_.end(), 0); }

  // The place of `expert` in the row that has been entered so far, or -1; then it is entered as the row's next. row:
  // the ids entered.
  index_t find_or_enter(std::span<const ExpertId> row, ExpertId expert) noexcept {
    std::size_t slot = first_slot(expert);
    for (; slots_[slot] != 0; slot = (slot + 1) % slots_.size()) {
      if (row[as_size(slots_[slot]) - 1] == expert) return slots_[slot] - 1;
    }
    slots_[slot] = static_cast<index_t>(row.size()) + 1;
    return -1;
  }

 private:
  // Fibonacci hashing: ids of product keys differ by multiples of a power of two.
  std::size_t first_slot(ExpertId expert) const noexcept {
    if (slots_.size() == 1) return 0;
    return static_cast<std::size_t>(static_cast<std::uint64_t>(expert) * 0x9e3779b97f4a7c15u >> shift_);
  }

  std::span<index_t> slots_;  // place + 1, 0: free
  int shift_;
};

}  // namespace headgate::inline HEADGATE_ABI
