// Counts, positions and expert ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "headgate/core/config.hpp"

namespace headgate::inline HEADGATE_ABI {

// Signed, so that a - b is safe. Anything that may not fit is checked in 64 bits before it becomes an index_t.
using index_t = std::int32_t;
// Position of an expert in its layer's bank, from 0.
using ExpertId = std::int32_t;

inline constexpr std::int64_t max_index = std::numeric_limits<index_t>::max();

// Towards the standard library only: precondition i >= 0.
constexpr std::size_t at(std::int64_t i) noexcept { return static_cast<std::size_t>(i); }

// std::isfinite for constant expressions and without <cmath>, a quarter of what core and routing would compile.
constexpr bool is_finite(float x) noexcept {
  return x >= -std::numeric_limits<float>::max() && x <= std::numeric_limits<float>::max();
}

constexpr index_t divide_up(index_t a, index_t b) noexcept { return a / b + (a % b != 0 ? 1 : 0); }

}  // namespace headgate::inline HEADGATE_ABI
