// CacheType: how sessions hold the keys and values of their texts.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "headgate/core/config.hpp"

namespace headgate::inline HEADGATE_ABI {

enum class CacheType : std::uint8_t {
  f32,
  f16,   // rounded to nearest even; infinite from 65520 on
  q8_0,  // whole numbers of eight bits, of every 32 channels of a key or value with a scale of 16 bits
};

// In the order of their values, as the command line spells them.
inline constexpr std::array<std::string_view, 3> cache_type_names{"f32", "f16", "q8_0"};

constexpr std::string_view name_of(CacheType type) noexcept { return cache_type_names[static_cast<std::size_t>(type)]; }

}  // namespace headgate::inline HEADGATE_ABI
