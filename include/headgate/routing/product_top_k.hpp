// The k largest of all sums a_i + b_j without making them (product keys: Lample et al. 2019, "Large Memory Layers with
// Product Keys", arXiv 1907.05242). A sum is at most those of its a with larger b and of its b with larger a, so the
// k + 1 best of either side are enough: O(I + J + k^2) for I J sums. Sums are float32; rounding keeps their order but
// makes ties that are none of the sides', so among equal sums those of the lower id, i J + j, are looked for in all of
// both sides. What is chosen is what enumerating all sums chooses, always.
#pragma once

#include <limits>
#include <span>

#include "headgate/core/exactly_equal.hpp"
#include "headgate/kernels/native.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Backend = NativeBackend>
class ProductTopK {
 public:
  // Of its scratch memory, for sides of up to `size` numbers: three times as many indices, once as many floats.
  static constexpr std::int64_t scratch_size(index_t size, index_t k) noexcept { return k < size ? k + 1 : size; }
  ProductTopK(index_t k, std::span<index_t> indices, std::span<float> floats) noexcept
      : k_(k),
        a_order_(indices.first(floats.size())),
        b_order_(indices.subspan(floats.size(), floats.size())),
        next_(indices.last(floats.size())),
        sum_(floats) {}

  // Best first, ties to the lower id. a (I) and b (J), finite and not empty; their sums are not infinite where they are
  // chosen, or fewer are. ids and sums: (k). Returns how many, k where there are as many.
  index_t choose(std::span<const float> a, std::span<const float> b, std::span<ExpertId> ids,
                 std::span<float> sums) noexcept {
    const auto width = static_cast<index_t>(b.size());
    const index_t a_count = best(a, a_order_);
    const index_t b_count = best(b, b_order_);
    const auto at = [&](index_t row) {
      return next_[as_size(row)] < b_count
                 ? a[as_size(a_order_[as_size(row)])] + b[as_size(b_order_[as_size(next_[as_size(row)])])]
                 : none;
    };
    const auto start = [&](index_t row) {
      next_[as_size(row)] = 0;
      sum_[as_size(row)] = at(row);
    };
    // Rows are the best of a in their order; of each the best sum not yet taken. What is neither taken nor in a row
    // here is no better than one of those.
    index_t rows = 1;
    start(0);
    index_t count = 0;
    for (;;) {
      index_t row = 0;
      for (index_t r = 1; r < rows; ++r) row = sum_[as_size(r)] > sum_[as_size(row)] ? r : row;
      const float sum = sum_[as_size(row)];
      if (!(sum > none)) break;
      if (count == k_) {
        if (exactly_equal(sum, sums[as_size(k_) - 1])) take_lowest_ties(a, b, ids, sums);
        break;
      }
      const index_t j = next_[as_size(row)]++;
      const ExpertId id = a_order_[as_size(row)] * width + b_order_[as_size(j)];
      index_t place = count++;
      for (; place > 0 && exactly_equal(sums[as_size(place) - 1], sum) && ids[as_size(place) - 1] > id; --place) {
        ids[as_size(place)] = ids[as_size(place) - 1];
      }
      ids[as_size(place)] = id;
      sums[as_size(count) - 1] = sum;
      sum_[as_size(row)] = at(row);
      if (j == 0 && row + 1 == rows && rows < a_count) start(rows++);
    }
    return count;
  }

 private:
  static constexpr float none = -std::numeric_limits<float>::infinity();

  index_t best(std::span<const float> side, std::span<index_t> order) const noexcept {
    const auto size = static_cast<index_t>(side.size());
    return Backend::top_k(side.data(), size, static_cast<index_t>(scratch_size(size, k_)), order.data());
  }
  // More sums than were taken are equal to the last. Those above it are taken already, fewer than k of them, so that
  // fewer than 2 k rows are searched.
  void take_lowest_ties(std::span<const float> a, std::span<const float> b, std::span<ExpertId> ids,
                        std::span<const float> sums) const noexcept {
    const float last = sums[as_size(k_) - 1];
    std::size_t place = as_size(k_);
    while (place > 0 && exactly_equal(sums[place - 1], last)) --place;
    const float largest = b[as_size(b_order_[0])];
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (a[i] + largest < last) continue;
      for (std::size_t j = 0; j < b.size(); ++j) {
        if (!exactly_equal(a[i] + b[j], last)) continue;
        ids[place++] = static_cast<ExpertId>(i * b.size() + j);
        if (place == as_size(k_)) return;
      }
    }
  }

  index_t k_;
  std::span<index_t> a_order_;  // (k + 1), or as many as there are
  std::span<index_t> b_order_;
  std::span<index_t> next_;  // of a row, position in b_order_
  std::span<float> sum_;     // of a row, -inf at its end
};

}  // namespace headgate::inline HEADGATE_ABI
