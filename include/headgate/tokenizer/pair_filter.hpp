// PairFilter: a set of pairs of 32-bit numbers that may say yes of a pair that is not in it, and never no of one that
// is: one bit each, found by hashing.
#pragma once

#include <cstdint>
#include <vector>

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

class PairFilter {
 public:
  void insert(std::int32_t first, std::int32_t second) noexcept {
    const std::uint32_t bit = bit_of(first, second);
    words_[bit / 64] |= std::uint64_t{1} << bit % 64;
  }
  bool may_have(std::int32_t first, std::int32_t second) const noexcept {
    const std::uint32_t bit = bit_of(first, second);
    return (words_[bit / 64] >> bit % 64 & 1) != 0;
  }

 private:
  static constexpr int log_bits = 20;

  static std::uint32_t bit_of(std::int32_t first, std::int32_t second) noexcept {
    const std::uint64_t key =
        std::uint64_t{static_cast<std::uint32_t>(first)} << 32 | static_cast<std::uint32_t>(second);
    return static_cast<std::uint32_t>(((key ^ key >> 29) * 0x9E3779B97F4A7C15u) >> (64 - log_bits));
  }

  std::vector<std::uint64_t> words_ = std::vector<std::uint64_t>((std::size_t{1} << log_bits) / 64);
};

}  // namespace headgate::inline HEADGATE_ABI
