// MergeQueue: the pairs of neighbours that BPE may merge, in order of rank and, of equal ranks, from left to right. A
// heap for short pieces. In a long one, which is as large as the memory caches, the pairs of each rank wait in a list
// of their own and come out as one run from left to right: the symbols are then read in order, too.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

class MergeQueue {
 public:
  struct Pair {
    std::int32_t rank;
    std::int32_t position;  // of the left symbol
    std::int32_t result;    // the token that the two become
    friend bool operator<(const Pair& a, const Pair& b) noexcept {
      return a.rank != b.rank ? a.rank < b.rank : a.position < b.position;
    }
  };

  // Precondition: the queue is empty, as it is when pop returns nothing.
  void start(std::size_t symbols) noexcept {
    is_long_ = symbols > max_short;
    rank_ = -1;
  }

  void push(const Pair& pair) {
    if (is_long_ && pair.rank > rank_) return wait(pair);
    heap_.push_back(pair);
    std::push_heap(heap_.begin(), heap_.end(), later);
  }

  // The first of them all; nothing: the queue is empty.
  std::optional<Pair> pop() {
    if (next_ == run_.size() && heap_.empty()) next_run();
    if (next_ < run_.size() && (heap_.empty() || run_[next_] < heap_.front())) return run_[next_++];
    if (heap_.empty()) return std::nullopt;
    const Pair first = heap_.front();
    std::pop_heap(heap_.begin(), heap_.end(), later);
    heap_.pop_back();
    return first;
  }

 private:
  static constexpr std::size_t max_short = 2048;
  static bool later(const Pair& a, const Pair& b) noexcept { return b < a; }

  void wait(const Pair& pair) {
    if (as_size(pair.rank) >= waiting_.size()) waiting_.resize(as_size(pair.rank) + 1);
    std::vector<Pair>& pairs = waiting_[as_size(pair.rank)];
    if (pairs.empty()) {
      ranks_.push_back(pair.rank);
      std::push_heap(ranks_.begin(), ranks_.end(), std::greater<>());
    }
    pairs.push_back(pair);
  }

  // All that wait for the lowest rank. What is pushed later with this rank or a lower one goes through the heap.
  void next_run() {
    run_.clear();
    next_ = 0;
    if (ranks_.empty()) return;
    rank_ = ranks_.front();
    std::pop_heap(ranks_.begin(), ranks_.end(), std::greater<>());
    ranks_.pop_back();
    run_ = std::exchange(waiting_[as_size(rank_)], {});
    if (!std::is_sorted(run_.begin(), run_.end())) std::sort(run_.begin(), run_.end());
  }

  bool is_long_ = false;
  std::int32_t rank_ = -1;  // of the run
  std::vector<Pair> heap_;  // all pairs of a short piece; of a long one, those before the end of the run
  std::vector<Pair> run_;   // from next_ on
  std::size_t next_ = 0;
  std::vector<std::vector<Pair>> waiting_;  // by rank
  std::vector<std::int32_t> ranks_;         // of which pairs wait, a heap
};

}  // namespace headgate::inline HEADGATE_ABI
