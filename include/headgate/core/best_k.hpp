// BestK: the k largest of keys that are offered one by one, best first. Ties stay behind the key that was offered
// before, so ascending positions give ties to the lower one; minus infinity is never kept.
#pragma once

#include <concepts>
#include <limits>

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

template <std::floating_point T>
class BestK {
 public:
  // order has room for k positions, or for as many as are offered; it and the keys (no NaN) are somebody else's.
  constexpr BestK(const T* keys, index_t k, index_t* order) noexcept : keys_(keys), k_(k), order_(order) {}

  constexpr void offer(index_t position) noexcept {
    const T key = keys_[position];
    if (!(key > -std::numeric_limits<T>::infinity())) return;
    index_t place = size_;
    while (place > 0 && keys_[order_[place - 1]] < key) --place;
    if (place >= k_) return;
    if (size_ < k_) ++size_;
    for (index_t i = size_ - 1; i > place; --i) order_[i] = order_[i - 1];
    order_[place] = position;
  }
  constexpr index_t size() const noexcept { return size_; }

 private:
  const T* keys_;
  index_t k_;
  index_t* order_;
  index_t size_ = 0;
};

}  // namespace headgate::inline HEADGATE_ABI
