// Compute: what numbers activations are when they meet weights of fewer bits than float32.
#pragma once

#include <cstdint>

#include "headgate/core/config.hpp"

namespace headgate::inline HEADGATE_ABI {

enum class Compute : std::uint8_t {
  f32,   // every product is that of the weights' values: what references compute, and slow
  int8,  // with quantized weights: eight bits, 32 columns with a scale (kernels/formats/int8_tile.hpp)
  bf16,  // with weights in bfloat16: bfloat16, too (kernels/formats/bf16_tile.hpp)
};  // weights keep their values
inline constexpr Compute all_computes[] = {Compute::f32, Compute::int8, Compute::bf16};  // by value
constexpr const char* name_of(Compute compute) noexcept {
  constexpr const char* names[] = {"f32", "int8", "bf16"};
  return names[static_cast<std::size_t>(compute)];
}

}  // namespace headgate::inline HEADGATE_ABI
