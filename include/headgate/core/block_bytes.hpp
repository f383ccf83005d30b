// The bytes of quantized blocks, written: the inverse of what quantized_blocks.hpp reads. store_q and store_scales
// change nothing else of a block, so a block is put together part by part, in any order.
#pragma once

#include <array>
#include <cstring>

#include "headgate/core/quantized_blocks.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace blocks {

using Codes = std::array<std::uint8_t, 32>;  // q of a group

namespace detail {

// `value` in these bits of a byte.
HEADGATE_INLINE void put_bits(std::byte* at, unsigned mask, unsigned value) noexcept {
  *at = static_cast<std::byte>((std::to_integer<unsigned>(*at) & ~mask) | (value & mask));
}
// Two halves of a group side by side in 16 bytes.
inline void store_four_bits(std::byte* to, const Codes& q) noexcept {
  for (std::size_t i = 0; i < 16; ++i) to[i] = static_cast<std::byte>((q[i] & 15) | (q[i + 16] & 15) << 4);
}
inline void store_five_bits(std::byte* high, std::byte* low, const Codes& q) noexcept {
  store_four_bits(low, q);
  for (std::size_t i = 0; i < 32; ++i) put_bits(high + i / 8, 1u << i % 8, unsigned{q[i]} >> 4 << i % 8);
}
// Of which each 32 bytes hold those of two groups.
inline void store_four_bits_of_group(std::byte* to, index_t g, const Codes& q) noexcept {
  const auto shift = static_cast<unsigned>(4 * (g % 2));
  for (index_t i = 0; i < 32; ++i) put_bits(to + 32 * (g / 2) + i, 15u << shift, unsigned{q[as_size(i)]} << shift);
}
// Of which each 32 bytes hold those of four groups.
inline void store_two_bits_of_group(std::byte* to, index_t g, const Codes& q) noexcept {
  const auto shift = static_cast<unsigned>(2 * (g % 4));
  for (index_t i = 0; i < 32; ++i) put_bits(to + 32 * (g / 4) + i, 3u << shift, unsigned{q[as_size(i)]} << shift);
}
// One bit each, of all groups side by side.
inline void store_bit_of_group(std::byte* to, index_t g, const Codes& q, int bit) noexcept {
  for (index_t i = 0; i < 32; ++i) put_bits(to + i, 1u << g, unsigned{q[as_size(i)]} >> bit << g);
}

}  // namespace detail

// The codes of group g of a block.
template <QuantizedBlocks Blocks>
void store_q(std::byte* block, index_t g, const Codes& q) noexcept {
  if constexpr (Blocks::dtype == DType::q8_0) {
    for (std::size_t i = 0; i < 32; ++i) block[2 + i] = static_cast<std::byte>(q[i] ^ 0x80u);
  } else if constexpr (Blocks::dtype == DType::q5_0 || Blocks::dtype == DType::q5_1) {
    constexpr index_t high = Blocks::bytes - 20;
    detail::store_five_bits(block + high, block + high + 4, q);
  } else if constexpr (Blocks::size == 32) {
    static_assert(Blocks::bits == 4);
    detail::store_four_bits(block + Blocks::bytes - 16, q);
  } else if constexpr (Blocks::dtype == DType::iq4_xs) {
    detail::store_four_bits(block + 8 + 16 * g, q);
  } else if constexpr (Blocks::dtype == DType::q2_k) {
    detail::store_two_bits_of_group(block + 16, g, q);
  } else if constexpr (Blocks::dtype == DType::q3_k) {
    detail::store_two_bits_of_group(block + 32, g, q);
    detail::store_bit_of_group(block, g, q, 2);
  } else if constexpr (Blocks::dtype == DType::q6_k) {
    const auto low_shift = static_cast<unsigned>(4 * (g % 4 / 2));
    const auto high_shift = static_cast<unsigned>(2 * (g % 4));
    for (index_t i = 0; i < 32; ++i) {
      const unsigned code = q[as_size(i)];
      detail::put_bits(block + 64 * (g / 4) + 32 * (g % 2) + i, 15u << low_shift, code << low_shift);
      detail::put_bits(block + 128 + 32 * (g / 4) + i, 3u << high_shift, code >> 4 << high_shift);
    }
  } else {
    static_assert(Blocks::dtype == DType::q4_k || Blocks::dtype == DType::q5_k);
    detail::store_four_bits_of_group(block + Blocks::bytes - 128, g, q);
    if constexpr (Blocks::bits == 5) detail::store_bit_of_group(block + 16, g, q, 4);
  }
}

// What group_scales reads of group g.
template <QuantizedBlocks Blocks>
  requires(Blocks::size > 32)
void store_scales(std::byte* block, index_t g, const GroupScales<Blocks>& scales) noexcept {
  if constexpr (Blocks::dtype == DType::q6_k) {
    std::memcpy(block + 192 + 2 * g, scales.data(), 2);
  } else if constexpr (Blocks::dtype == DType::q2_k) {
    std::memcpy(block + 2 * g, scales.data(), 2);
  } else if constexpr (Blocks::dtype == DType::q3_k) {
    for (index_t half = 0; half < 2; ++half) {
      const index_t s = 2 * g + half;
      const auto scale = static_cast<unsigned>(scales[as_size(half)] + 32);
      const auto low_shift = static_cast<unsigned>(s / 8 * 4);
      const auto high_shift = static_cast<unsigned>(s / 4 * 2);
      detail::put_bits(block + 96 + s % 8, 15u << low_shift, scale << low_shift);
      detail::put_bits(block + 104 + s % 4, 3u << high_shift, scale >> 4 << high_shift);
    }
  } else if constexpr (Blocks::dtype == DType::iq4_xs) {
    const auto scale = static_cast<unsigned>(scales[0] + 32);
    const auto low_shift = static_cast<unsigned>(4 * (g % 2));
    const auto high_shift = static_cast<unsigned>(2 * (g % 4));
    detail::put_bits(block + 4 + g / 2, 15u << low_shift, scale << low_shift);
    detail::put_bits(block + 2 + g / 4, 3u << high_shift, scale >> 4 << high_shift);
  } else {
    std::byte* const six = block + 4;
    const unsigned scale = scales[0];
    const unsigned minimum = scales[1];
    if (g < 4) {
      detail::put_bits(six + g, 63u, scale);
      detail::put_bits(six + g + 4, 63u, minimum);
    } else {
      six[g + 4] = static_cast<std::byte>((scale & 15u) | (minimum & 15u) << 4);
      detail::put_bits(six + g - 4, 0xc0u, scale >> 4 << 6);
      detail::put_bits(six + g, 0xc0u, minimum >> 4 << 6);
    }
  }
}

// The halves of a block: d and, where there is one, the minimum.
template <QuantizedBlocks Blocks>
void store_halves(std::byte* block, f16 d, f16 minimum = {}) noexcept {
  std::memcpy(block + Blocks::scale_at, &d, 2);
  if constexpr (has_minimum<Blocks>) std::memcpy(block + Blocks::minimum_at, &minimum, 2);
}

}  // namespace blocks

}  // namespace headgate::inline HEADGATE_ABI
