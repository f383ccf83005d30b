// Numbers of a cache's lines (kernels/cache_format.hpp) as registers of floats.
#pragma once

#include <cstring>

#include "headgate/kernels/cache_format.hpp"
#include "headgate/kernels/simd/halves.hpp"

namespace headgate::inline HEADGATE_ABI {

// As many numbers as a register has lanes.
template <class Arch>
HEADGATE_INLINE Floats<Arch> floats_of(const std::int8_t* from) noexcept {
  return detail::to_floats<Arch>(detail::widened<Arch, std::int8_t>(reinterpret_cast<const std::byte*>(from)));
}
template <class Arch>
HEADGATE_INLINE Floats<Arch> floats_of(const f16* from) noexcept {
  return detail::load_halves<Arch>(reinterpret_cast<const std::byte*>(from));
}
template <class Arch>
HEADGATE_INLINE Floats<Arch> floats_of(const float* from) noexcept {
  return Floats<Arch>::load_unaligned(from);
}

// Part `part` of 16 / lanes of a line, without its scales.
template <class Arch, class Format>
HEADGATE_INLINE Floats<Arch> numbers_of(const std::byte* line, index_t part) noexcept {
  return floats_of<Arch>(reinterpret_cast<const typename Format::Number*>(line) + lanes<Arch> * part);
}
// A half in all lanes.
template <class Arch>
HEADGATE_INLINE Floats<Arch> scale_of(const std::byte* half) noexcept {
  std::uint16_t bits;
  std::memcpy(&bits, half, sizeof bits);
  return detail::floats_of_halves<Arch>(typename detail::Numbers<std::uint16_t, lanes<Arch>>::type{} + bits);
}

}  // namespace headgate::inline HEADGATE_ABI
