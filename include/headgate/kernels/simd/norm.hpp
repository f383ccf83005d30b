// RMSNorm: y = x / sqrt(mean(x^2) + epsilon) * weight.
#pragma once

#include "headgate/kernels/simd/reduce.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Arch>
HEADGATE_NOINLINE void rms_norm(const float* x, const float* weight, float epsilon, index_t n, float* y) noexcept {
  const Floats<Arch> scale(1.0f / std::sqrt(dot<Arch>(x, x, n) / static_cast<float>(n) + epsilon));
  for (index_t i = 0; i < n; i += lanes<Arch>) {
    store<Arch>(y + i, load<Arch>(x + i, n - i) * scale * load<Arch>(weight + i, n - i), n - i);
  }
}

}  // namespace headgate::inline HEADGATE_ABI
