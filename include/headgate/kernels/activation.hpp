// Activations of expert FFNs. A gated expert computes act(gate) * up, a plain one act(up).
//   silu(x) = x * sigmoid(x)                      gelu(x) = x * Phi(x)                gelu_tanh: its tanh form
//   relu(x) = max(x, 0)                           relu2(x) = max(x, 0)^2
//   clamped_swiglu (gpt-oss): g = min(gate, limit), u = clamp(up, -limit, limit): (u + 1) * g * sigmoid(alpha * g)
#pragma once

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

enum class ActivationKind : std::uint8_t { silu, gelu, gelu_tanh, relu, relu2, clamped_swiglu };

struct Activation {
  ActivationKind kind = ActivationKind::silu;
  float alpha = 1.702f;  // clamped_swiglu only
  float limit = 7.0f;    // clamped_swiglu only
};

}  // namespace headgate::inline HEADGATE_ABI
