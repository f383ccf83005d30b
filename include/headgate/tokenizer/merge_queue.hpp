// MergeQueue: the pairs of neighbours that BPE may merge, in order of rank and, of equal ranks, from left to right.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "headgate/core/config.hpp"

namespace headgate::inline HEADGATE_ABI {

class MergeQueue {
 public:
  struct Pair {
    std::int32_t rank;
    std::int32_t position;  // of the left symbol
  };

  // Both are not negative.
  void push(Pair pair) {
    heap_.push_back(std::uint64_t{static_cast<std::uint32_t>(pair.rank)} << 32 |
                    static_cast<std::uint32_t>(pair.position));
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  }

  // The first of them all; nothing: the queue is empty.
  std::optional<Pair> pop() {
    if (heap_.empty()) return std::nullopt;
    const std::uint64_t first = heap_.front();
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    heap_.pop_back();
    return Pair{static_cast<std::int32_t>(first >> 32), static_cast<std::int32_t>(first & 0xFFFFFFFFu)};
  }

 private:
  std::vector<std::uint64_t> heap_;  // rank above position
};

}  // namespace headgate::inline HEADGATE_ABI
