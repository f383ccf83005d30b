// SplitMix64 (Steele, Lea and Flood 2014): 64 random bits a step from a state of 64 bits. Every seed is a good one, and
// the sequence is the same on every machine, unlike that of the distributions of <random>.
#pragma once

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

class SplitMix64 {
 public:
  constexpr explicit SplitMix64(std::uint64_t seed) noexcept : state_(seed) {}

  constexpr std::uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // In [0, 1), a multiple of 2^-53.
  constexpr double next_unit() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  std::uint64_t state_;
};

}  // namespace headgate::inline HEADGATE_ABI
