// The k largest keys, best first, ties to the lower index; -inf is never chosen. k passes over the keys: each finds the
// best of those that come after the one chosen before, lane by lane, then across lanes. No scratch, no branch on a key.
#pragma once

#include <limits>

#include "headgate/core/exactly_equal.hpp"
#include "headgate/kernels/scalar.hpp"
#include "headgate/kernels/simd/arch.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Arch>
HEADGATE_NOINLINE index_t top_k(const float* keys, index_t n, index_t k, index_t* order) noexcept {
  using F = Floats<Arch>;
  constexpr float infinity = std::numeric_limits<float>::infinity();
  // Positions are counted in floats, which are whole up to 2^24; and of a few keys half or more are sooner found one by
  // one.
  if (n > (1 << 24) || (n <= lanes<Arch> && n <= 2 * k)) return Scalar::top_k(keys, n, k, order);
  float counting[lanes<Arch>];
  for (index_t i = 0; i < lanes<Arch>; ++i) counting[i] = static_cast<float>(i);
  const F start = F::load_unaligned(counting);

  F last_key(infinity);
  F last_position(-1.0f);
  for (index_t chosen = 0; chosen < k; ++chosen) {
    F best(-infinity);
    F best_position(infinity);
    F position = start;
    for (index_t i = 0; i < n; i += lanes<Arch>) {
      F key = load<Arch>(keys + i, n - i);
      if (n - i < lanes<Arch>) key = xsimd::select(position < F(static_cast<float>(n)), key, F(-infinity));
      const auto after = (key < last_key) || ((key == last_key) && (position > last_position));
      const auto better = after && (key > best);
      best = xsimd::select(better, key, best);
      best_position = xsimd::select(better, position, best_position);
      position = position + F(static_cast<float>(lanes<Arch>));
    }
    const float best_key = max_lanes<Arch>(best);
    if (exactly_equal(best_key, -infinity)) return chosen;
    last_key = F(best_key);
    // Signs, so that the largest is the lowest position.
    const float first = -max_lanes<Arch>(xsimd::select(best == last_key, -best_position, F(-infinity)));
    last_position = F(first);
    order[chosen] = static_cast<index_t>(first);
  }
  return k;
}

}  // namespace headgate::inline HEADGATE_ABI
