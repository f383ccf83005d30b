// The activations of kernels/activation.hpp on registers. gelu_tanh uses (1 + tanh(u)) / 2 = sigmoid(2 u).
#pragma once

#include "headgate/kernels/activation.hpp"
#include "headgate/kernels/simd/exp.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Arch, ActivationKind KIND>
HEADGATE_INLINE Floats<Arch> activated(Floats<Arch> x) noexcept {
  using F = Floats<Arch>;
  if constexpr (KIND == ActivationKind::silu) {
    return x * sigmoid<Arch>(x);
  } else if constexpr (KIND == ActivationKind::gelu) {
    return F(0.5f) * x * (F(1.0f) + erf<Arch>(x * F(0.70710678f)));
  } else if constexpr (KIND == ActivationKind::gelu_tanh) {
    const F cubic = multiply_add<Arch>(F(0.044715f) * x * x, x, x);
    return x * sigmoid<Arch>(F(2.0f * 0.79788456f) * cubic);
  } else {
    static_assert(KIND == ActivationKind::relu || KIND == ActivationKind::relu2);
    const F positive = xsimd::select(x > F(0.0f), x, F(0.0f));
    if constexpr (KIND == ActivationKind::relu) return positive;
    return positive * positive;
  }
}

template <class Arch, ActivationKind KIND>
HEADGATE_NOINLINE void activate_all(const float* x, index_t n, float* y) noexcept {
  for (index_t i = 0; i < n; i += lanes<Arch>) {
    store<Arch>(y + i, activated<Arch, KIND>(load<Arch>(x + i, n - i)), n - i);
  }
}

template <class Arch, ActivationKind KIND>
HEADGATE_NOINLINE void glu_all(const float* gate, const float* up, index_t n, float* y) noexcept {
  for (index_t i = 0; i < n; i += lanes<Arch>) {
    const Floats<Arch> g = activated<Arch, KIND>(load<Arch>(gate + i, n - i));
    store<Arch>(y + i, g * load<Arch>(up + i, n - i), n - i);
  }
}

template <class Arch>
HEADGATE_NOINLINE void clamped_swiglu(float alpha, float limit, const float* gate, const float* up, index_t n,
                                      float* y) noexcept {
  using F = Floats<Arch>;
  const F most(limit);
  for (index_t i = 0; i < n; i += lanes<Arch>) {
    const F gate_in = load<Arch>(gate + i, n - i);
    const F up_in = load<Arch>(up + i, n - i);
    const F g = xsimd::select(gate_in > most, most, gate_in);
    const F below = xsimd::select(up_in > most, most, up_in);
    const F u = xsimd::select(below < -most, -most, below);
    store<Arch>(y + i, (u + F(1.0f)) * g * sigmoid<Arch>(F(alpha) * g), n - i);
  }
}

template <class Arch>
void activate(Activation activation, const float* x, index_t n, float* y) noexcept {
  switch (activation.kind) {
    case ActivationKind::silu:
      return activate_all<Arch, ActivationKind::silu>(x, n, y);
    case ActivationKind::gelu:
      return activate_all<Arch, ActivationKind::gelu>(x, n, y);
    case ActivationKind::gelu_tanh:
      return activate_all<Arch, ActivationKind::gelu_tanh>(x, n, y);
    case ActivationKind::relu:
      return activate_all<Arch, ActivationKind::relu>(x, n, y);
    case ActivationKind::relu2:
      return activate_all<Arch, ActivationKind::relu2>(x, n, y);
    case ActivationKind::clamped_swiglu:
      return;  // gated only
  }
}

template <class Arch>
void glu(Activation activation, const float* gate, const float* up, index_t n, float* y) noexcept {
  switch (activation.kind) {
    case ActivationKind::silu:
      return glu_all<Arch, ActivationKind::silu>(gate, up, n, y);
    case ActivationKind::gelu:
      return glu_all<Arch, ActivationKind::gelu>(gate, up, n, y);
    case ActivationKind::gelu_tanh:
      return glu_all<Arch, ActivationKind::gelu_tanh>(gate, up, n, y);
    case ActivationKind::relu:
      return glu_all<Arch, ActivationKind::relu>(gate, up, n, y);
    case ActivationKind::relu2:
      return glu_all<Arch, ActivationKind::relu2>(gate, up, n, y);
    case ActivationKind::clamped_swiglu:
      return clamped_swiglu<Arch>(activation.alpha, activation.limit, gate, up, n, y);
  }
}

}  // namespace headgate::inline HEADGATE_ABI
