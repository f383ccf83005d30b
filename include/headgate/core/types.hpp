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

// A count or position as the standard library wants it. Precondition i >= 0; nothing is checked.
constexpr std::size_t as_size(std::int64_t i) noexcept { return static_cast<std::size_t>(i); }

constexpr index_t divide_up(index_t a, index_t b) noexcept { return a / b + (a % b != 0 ? 1 : 0); }

}  // namespace headgate::inline HEADGATE_ABI
