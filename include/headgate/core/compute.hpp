// Compute: what numbers activations are when they meet quantized weights. Other weights are multiplied with float32.
#pragma once

#include <cstdint>

#include "headgate/core/config.hpp"

namespace headgate::inline HEADGATE_ABI {

enum class Compute : std::uint8_t {
  f32,   // every product is that of the weights' values: what references compute, and slow
  int8,  // eight bits, 32 columns with a scale (kernels/formats/int8_tile.hpp); weights keep their values
};
inline constexpr Compute all_computes[] = {Compute::f32, Compute::int8};  // by value
constexpr const char* name_of(Compute compute) noexcept { return compute == Compute::f32 ? "f32" : "int8"; }

}  // namespace headgate::inline HEADGATE_ABI
