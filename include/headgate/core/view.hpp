// view, copied: between a vector and a span. The constructors of std::span and std::vector do the same, but ask a compiler
// for the concepts of a range first, element type by element type: a fifth of what core and routing would compile.
#pragma once

#include <span>
#include <vector>

#include "headgate/core/config.hpp"

namespace headgate::inline HEADGATE_ABI {

// The elements of a vector; valid until it grows.
template <class T>
std::span<T> view(std::vector<T>& values) noexcept {
  return {values.data(), values.size()};
}
template <class T>
std::span<const T> view(const std::vector<T>& values) noexcept {
  return {values.data(), values.size()};
}

template <class T>
std::vector<T> copied(std::span<const T> values) {
  return std::vector<T>(values.data(), values.data() + values.size());
}

}  // namespace headgate::inline HEADGATE_ABI
