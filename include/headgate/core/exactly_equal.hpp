// exactly_equal: a == b of floating-point numbers where exactly that is meant: a sentinel such as minus infinity, a
// setting that is 0, a tie. Written so that -Wfloat-equal, which warns of all others, has nothing to say.
#pragma once

#include <concepts>
#include <type_traits>

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

// False for NaN, true for 0 and -0.
template <std::floating_point T>
constexpr bool exactly_equal(T a, std::type_identity_t<T> b) noexcept {
  return a <= b && a >= b;
}

}  // namespace headgate::inline HEADGATE_ABI
