// Rotary positions: the pair (x[i], x[i + half]) turns by the angle whose cosine and sine are given.
#pragma once

#include "headgate/kernels/simd/arch.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Arch>
HEADGATE_NOINLINE void rope(float* x, const float* cosine, const float* sine, index_t half) noexcept {
  for (index_t i = 0; i < half; i += lanes<Arch>) {
    const index_t n = half - i;
    const Floats<Arch> low = load<Arch>(x + i, n);
    const Floats<Arch> high = load<Arch>(x + half + i, n);
    const Floats<Arch> c = load<Arch>(cosine + i, n);
    const Floats<Arch> s = load<Arch>(sine + i, n);
    store<Arch>(x + i, multiply_add<Arch>(low, c, -(high * s)), n);
    store<Arch>(x + half + i, multiply_add<Arch>(high, c, low * s), n);
  }
}

}  // namespace headgate::inline HEADGATE_ABI
