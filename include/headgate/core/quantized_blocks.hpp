// Blocks of quantized weights as GGUF files hold them: 32 or 256 weights share a few scales. What each type means is
// what ggml computes (ggml-quants.c, dequantize_row_*; gguf-py/gguf/quants.py). A block is decoded by groups of 32
// weights, wherever it lies: every value is exact, or, with a minimum, rounded once, so that no order of operations and
// no fused multiply-add can change it. Any bytes are a block: no bit pattern reaches outside of a table.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstring>
#include <utility>

#include "headgate/core/dtype.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace blocks {

inline constexpr index_t group = 32;  // weights

// Read once, into an array of its own, so that what is written cannot be taken for it and loops become vector code.
template <index_t count>
HEADGATE_INLINE std::array<std::uint8_t, as_size(count)> load(const std::byte* from) noexcept {
  std::array<std::uint8_t, as_size(count)> bytes;
  std::memcpy(bytes.data(), from, as_size(count));
  return bytes;
}
HEADGATE_INLINE float load_half(const std::byte* from) noexcept {
  f16 half;
  std::memcpy(&half, from, 2);
  return static_cast<float>(half);
}
// The number of a 4-bit, nonlinear weight.
inline constexpr std::int8_t nonlinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
// Twice the number of e2m1.
inline constexpr std::int8_t doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// What all types are: 32 weights y = scale * value(q) + minimum, where q is a number of a few bits, with a scale and a
// minimum for each half where there are two. Both are exact.
template <std::size_t num_scales = 1>
struct AffineGroup {
  std::array<std::uint8_t, 32> q;
  std::array<float, num_scales> scale;
  std::array<float, num_scales> minimum{};
};
template <class Blocks>
inline constexpr bool has_minimum = requires { Blocks::minimum_at; };
// Weight i of a group.
template <class Blocks, std::size_t num_scales>
HEADGATE_INLINE float weight_of(const AffineGroup<num_scales>& group_of_32, std::size_t i) noexcept {
  const std::size_t s = i / (32 / num_scales);
  const float y = group_of_32.scale[s] * static_cast<float>(Blocks::value(group_of_32.q[i]));
  return has_minimum<Blocks> ? y + group_of_32.minimum[s] : y;
}
// What a block of several groups has for each beside its halves: whole numbers that scales are multiples of.
template <class Blocks>
using GroupScales = decltype(Blocks::group_scales(nullptr, 0));

// Four bits each: weights 0 to 15 in the low ones of the bytes, 16 to 31 in the high ones. Eight bytes are one word.
HEADGATE_INLINE std::array<std::uint8_t, 32> load_four_bits(const std::byte* from) noexcept {
  constexpr std::uint64_t low = 0x0f0f0f0f0f0f0f0fu;
  const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(load<16>(from));
  return std::bit_cast<std::array<std::uint8_t, 32>>(
      std::array{words[0] & low, words[1] & low, words[0] >> 4 & low, words[1] >> 4 & low});
}
// Five bits: the low four, and the fifth of all weights in a word.
HEADGATE_INLINE std::array<std::uint8_t, 32> load_five_bits(const std::byte* high, const std::byte* low) noexcept {
  auto words = std::bit_cast<std::array<std::uint64_t, 4>>(load_four_bits(low));
  const auto fifth = load<4>(high);
  for (std::size_t i = 0; i < 4; ++i) {
    // Bit j of byte j, moved up to bit 7 of it.
    const std::uint64_t apart = (fifth[i] * 0x0101010101010101u & 0x8040201008040201u) + 0x00406070787c7e7fu;
    words[i] |= (apart >> 7 & 0x0101010101010101u) << 4;
  }
  return std::bit_cast<std::array<std::uint8_t, 32>>(words);
}

// y = d (q - 8)
struct Q4_0 {
  static constexpr DType dtype = DType::q4_0;
  static constexpr index_t size = 32;     // weights of a block
  static constexpr index_t bytes = 18;    // that it takes
  static constexpr index_t scale_at = 0;  // of its half
  static constexpr index_t bits = 4;      // of q
  static constexpr int value(int q) noexcept { return q - 8; }
  static HEADGATE_INLINE AffineGroup<> affine(const std::byte* block, index_t /*g*/) noexcept {
    return {load_four_bits(block + 2), {load_half(block)}};
  }
};

// y = d q + m
struct Q4_1 {
  static constexpr DType dtype = DType::q4_1;
  static constexpr index_t size = 32;
  static constexpr index_t bytes = 20;
  static constexpr index_t scale_at = 0;
  static constexpr index_t minimum_at = 2;
  static constexpr index_t bits = 4;
  static constexpr int value(int q) noexcept { return q; }
  static HEADGATE_INLINE AffineGroup<> affine(const std::byte* block, index_t /*g*/) noexcept {
    return {load_four_bits(block + 4), {load_half(block)}, {load_half(block + 2)}};
  }
};

// y = d (q - 16)
struct Q5_0 {
  static constexpr DType dtype = DType::q5_0;
  static constexpr index_t size = 32;
  static constexpr index_t bytes = 22;
  static constexpr index_t scale_at = 0;
  static constexpr index_t bits = 5;
  static constexpr int value(int q) noexcept { return q - 16; }
  static HEADGATE_INLINE AffineGroup<> affine(const std::byte* block, index_t /*g*/) noexcept {
    return {load_five_bits(block + 2, block + 6), {load_half(block)}};
  }
};

// y = d q + m
struct Q5_1 {
  static constexpr DType dtype = DType::q5_1;
  static constexpr index_t size = 32;
  static constexpr index_t bytes = 24;
  static constexpr index_t scale_at = 0;
  static constexpr index_t minimum_at = 2;
  static constexpr index_t bits = 5;
  static constexpr int value(int q) noexcept { return q; }
  static HEADGATE_INLINE AffineGroup<> affine(const std::byte* block, index_t /*g*/) noexcept {
    return {load_five_bits(block + 4, block + 8), {load_half(block)}, {load_half(block + 2)}};
  }
};

// y = d (q - 128): the file's eight bits with their sign turned over
struct Q8_0 {
  static constexpr DType dtype = DType::q8_0;
  static constexpr index_t size = 32;
  static constexpr index_t bytes = 34;
  static constexpr index_t scale_at = 0;
  static constexpr index_t bits = 8;
  static constexpr int value(int q) noexcept { return q - 128; }
  static HEADGATE_INLINE AffineGroup<> affine(const std::byte* block, index_t /*g*/) noexcept {
    AffineGroup<> weights{load<32>(block + 2), {load_half(block)}};
    for (std::uint8_t& q : weights.q) q = static_cast<std::uint8_t>(q ^ 0x80u);
    return weights;
  }
};

// Two bits of each weight: 32 bytes hold those of four groups.
HEADGATE_INLINE std::array<std::uint8_t, 32> load_two_bits(const std::byte* from, index_t g) noexcept {
  auto q = load<32>(from + 32 * (g / 4));
  const int shift = 2 * (g % 4);
  for (std::uint8_t& bits : q) bits = bits >> shift & 3;
  return q;
}

// y = d s q - dmin m, s and m of four bits for 16 weights each
struct Q2_K {
  static constexpr DType dtype = DType::q2_k;
  static constexpr index_t size = 256;
  static constexpr index_t bytes = 84;
  static constexpr index_t scale_at = 80;
  static constexpr index_t minimum_at = 82;
  static constexpr index_t bits = 2;
  static constexpr int value(int q) noexcept { return q; }
  // Of either half of a group the scale, and the minimum in the upper four bits.
  static HEADGATE_INLINE std::array<std::uint8_t, 2> group_scales(const std::byte* block, index_t g) noexcept {
    return load<2>(block + 2 * g);
  }
  static HEADGATE_INLINE AffineGroup<2> affine(const std::byte* block, index_t g) noexcept {
    const auto scales = group_scales(block, g);
    const float d = load_half(block + scale_at);
    const float dmin = load_half(block + minimum_at);
    const auto scale = [&](std::size_t half) { return d * static_cast<float>(scales[half] & 15); };
    const auto minimum = [&](std::size_t half) { return -(dmin * static_cast<float>(scales[half] >> 4)); };
    return {load_two_bits(block + 16, g), {scale(0), scale(1)}, {minimum(0), minimum(1)}};
  }
};

// y = d s (q - 4), s of six bits for 16 weights each
struct Q3_K {
  static constexpr DType dtype = DType::q3_k;
  static constexpr index_t size = 256;
  static constexpr index_t bytes = 110;
  static constexpr index_t scale_at = 108;
  static constexpr index_t bits = 3;
  static constexpr int value(int q) noexcept { return q - 4; }
  // The scales of either half of a group.
  static HEADGATE_INLINE std::array<std::int8_t, 2> group_scales(const std::byte* block, index_t g) noexcept {
    const auto packed = load<12>(block + 96);
    const auto scale = [&](index_t s) {  // 0..15
      const int low = packed[as_size(s % 8)] >> (s / 8 * 4) & 15;
      const int high = packed[as_size(8 + s % 4)] >> (s / 4 * 2) & 3;
      return static_cast<std::int8_t>((low | high << 4) - 32);
    };
    return {scale(2 * g), scale(2 * g + 1)};
  }
  static HEADGATE_INLINE AffineGroup<2> affine(const std::byte* block, index_t g) noexcept {
    const auto scales = group_scales(block, g);
    const float d = load_half(block + scale_at);
    AffineGroup<2> weights{load_two_bits(block + 32, g),
                           {d * static_cast<float>(scales[0]), d * static_cast<float>(scales[1])}};
    const auto high = load<32>(block);
    for (std::size_t i = 0; i < 32; ++i) {
      weights.q[i] = static_cast<std::uint8_t>(weights.q[i] | (high[i] >> g & 1) << 2);
    }
    return weights;
  }
};

// Scale and minimum, six bits each, of eight groups in 12 bytes.
HEADGATE_INLINE std::array<std::uint8_t, 2> load_six_bits(const std::byte* from, index_t g) noexcept {
  const auto q = load<12>(from);
  const auto at = [&](index_t i) { return static_cast<unsigned>(q[as_size(i)]); };
  const auto both = [](unsigned scale, unsigned minimum) {
    return std::array{static_cast<std::uint8_t>(scale), static_cast<std::uint8_t>(minimum)};
  };
  if (g < 4) return both(at(g) & 63u, at(g + 4) & 63u);
  return both((at(g + 4) & 15u) | (at(g - 4) >> 6) << 4, at(g + 4) >> 4 | (at(g) >> 6) << 4);
}

// A group of such scales, with the low four bits of q, of which each 32 bytes hold those of two groups.
HEADGATE_INLINE AffineGroup<> load_six_bit_group(const std::byte* block, const std::byte* low, index_t g) noexcept {
  const auto six = load_six_bits(block + 4, g);
  AffineGroup<> weights{load<32>(low + 32 * (g / 2)),
                        {load_half(block) * static_cast<float>(six[0])},
                        {-(load_half(block + 2) * static_cast<float>(six[1]))}};
  const int shift = 4 * (g % 2);
  for (std::uint8_t& q : weights.q) q = q >> shift & 15;
  return weights;
}

// y = d s q - dmin m
struct Q4_K {
  static constexpr DType dtype = DType::q4_k;
  static constexpr index_t size = 256;
  static constexpr index_t bytes = 144;
  static constexpr index_t scale_at = 0;
  static constexpr index_t minimum_at = 2;
  static constexpr index_t bits = 4;
  static constexpr int value(int q) noexcept { return q; }
  // Scale and minimum of a group.
  static HEADGATE_INLINE std::array<std::uint8_t, 2> group_scales(const std::byte* block, index_t g) noexcept {
    return load_six_bits(block + 4, g);
  }
  static HEADGATE_INLINE AffineGroup<> affine(const std::byte* block, index_t g) noexcept {
    return load_six_bit_group(block, block + 16, g);
  }
};

// y = d s q - dmin m
struct Q5_K {
  static constexpr DType dtype = DType::q5_k;
  static constexpr index_t size = 256;
  static constexpr index_t bytes = 176;
  static constexpr index_t scale_at = 0;
  static constexpr index_t minimum_at = 2;
  static constexpr index_t bits = 5;
  static constexpr int value(int q) noexcept { return q; }
  // Scale and minimum of a group.
  static HEADGATE_INLINE std::array<std::uint8_t, 2> group_scales(const std::byte* block, index_t g) noexcept {
    return load_six_bits(block + 4, g);
  }
  static HEADGATE_INLINE AffineGroup<> affine(const std::byte* block, index_t g) noexcept {
    AffineGroup<> weights = load_six_bit_group(block, block + 48, g);
    const auto high = load<32>(block + 16);
    for (std::size_t i = 0; i < 32; ++i) {
      weights.q[i] = static_cast<std::uint8_t>(weights.q[i] | (high[i] >> g & 1) << 4);
    }
    return weights;
  }
};

// y = d s (q - 32), s of eight bits for 16 weights each
struct Q6_K {
  static constexpr DType dtype = DType::q6_k;
  static constexpr index_t size = 256;
  static constexpr index_t bytes = 210;
  static constexpr index_t scale_at = 208;
  static constexpr index_t bits = 6;
  static constexpr int value(int q) noexcept { return q - 32; }
  // The scales of either half of a group.
  static HEADGATE_INLINE std::array<std::int8_t, 2> group_scales(const std::byte* block, index_t g) noexcept {
    return std::bit_cast<std::array<std::int8_t, 2>>(load<2>(block + 192 + 2 * g));
  }
  static HEADGATE_INLINE AffineGroup<2> affine(const std::byte* block, index_t g) noexcept {
    const auto scales = group_scales(block, g);
    const float d = load_half(block + 208);
    const auto scale = [&](std::size_t half) { return d * static_cast<float>(scales[half]); };
    AffineGroup<2> weights{load<32>(block + 64 * (g / 4) + 32 * (g % 2)), {scale(0), scale(1)}};
    const auto high = load<32>(block + 128 + 32 * (g / 4));
    const int low_shift = 4 * (g % 4 / 2);
    const int high_shift = 2 * (g % 4);
    for (std::size_t i = 0; i < 32; ++i) {
      weights.q[i] = static_cast<std::uint8_t>((weights.q[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4);
    }
    return weights;
  }
};

// y = d T[q]
struct IQ4_NL {
  static constexpr DType dtype = DType::iq4_nl;
  static constexpr index_t size = 32;
  static constexpr index_t bytes = 18;
  static constexpr index_t scale_at = 0;
  static constexpr index_t bits = 4;
  static constexpr int value(int q) noexcept { return nonlinear[q]; }
  static HEADGATE_INLINE AffineGroup<> affine(const std::byte* block, index_t /*g*/) noexcept {
    return {load_four_bits(block + 2), {load_half(block)}};
  }
};

// y = d (s - 32) T[q], s of six bits for 32 weights each
struct IQ4_XS {
  static constexpr DType dtype = DType::iq4_xs;
  static constexpr index_t size = 256;
  static constexpr index_t bytes = 136;
  static constexpr index_t scale_at = 0;
  static constexpr index_t bits = 4;
  static constexpr int value(int q) noexcept { return nonlinear[q]; }
  // The scale of a group.
  static HEADGATE_INLINE std::array<std::int8_t, 1> group_scales(const std::byte* block, index_t g) noexcept {
    const auto high = load<2>(block + 2);
    const auto low = load<4>(block + 4);
    const int scale = (low[as_size(g / 2)] >> (4 * (g % 2)) & 15) | ((high[0] | high[1] << 8) >> (2 * g) & 3) << 4;
    return {static_cast<std::int8_t>(scale - 32)};
  }
  static HEADGATE_INLINE AffineGroup<> affine(const std::byte* block, index_t g) noexcept {
    return {load_four_bits(block + 8 + 16 * g), {load_half(block) * static_cast<float>(group_scales(block, g)[0])}};
  }
};

// y = 2^(e - 128) K[q], K twice the numbers of e2m1 (OCP Microscaling Formats v1.0). e = 255, no number there, is a
// power of two as in ggml. safetensors files have other nibbles side by side (io/mxfp4.hpp).
struct MXFP4 {
  static constexpr DType dtype = DType::mxfp4;
  static constexpr index_t size = 32;
  static constexpr index_t bytes = 17;
  static constexpr index_t bits = 4;
  static constexpr int value(int q) noexcept { return doubled[q]; }
  // 2^(e - 128)
  static HEADGATE_INLINE float scale(std::uint32_t e) noexcept {
    return std::bit_cast<float>(e < 2 ? 0x200000u << e : (e - 1) << 23);
  }
  static HEADGATE_INLINE AffineGroup<> affine(const std::byte* block, index_t /*g*/) noexcept {
    return {load_four_bits(block + 1), {scale(std::to_integer<std::uint32_t>(*block))}};
  }
  static HEADGATE_INLINE void decode(const std::byte* block, index_t /*g*/, float* out) noexcept {
    const auto e = std::to_integer<std::uint32_t>(*block);
    // In two steps, each a normal float, so that a thread that takes denormals as zero computes the same where it can.
    const float first = std::bit_cast<float>((e < 2 ? e + 63 : e - 1) << 23);
    const float second = e < 2 ? 0x1p-64f : 1.0f;
    const auto q = load<16>(block + 1);
    for (std::size_t i = 0; i < 16; ++i) {
      out[i] = static_cast<float>(doubled[q[i] & 15]) * first * second;
      out[i + 16] = static_cast<float>(doubled[q[i] >> 4]) * first * second;
    }
  }
};

template <class... Types>
struct TypeList {
  // use(the blocks of this type). False: it has none.
  template <class Use>
  static bool visit(DType dtype, Use&& use) {
    return ((dtype == Types::dtype ? (use(Types{}), true) : false) || ...);
  }
  static_assert(((info(Types::dtype).size == Types::bytes && info(Types::dtype).block == Types::size) && ...));
};
using All = TypeList<Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4>;

// The 32 weights of group g of a block.
template <class Blocks>
HEADGATE_INLINE void decode_group(const std::byte* block, index_t g, float* out) noexcept {
  if constexpr (requires { Blocks::decode(block, g, out); }) {
    Blocks::decode(block, g, out);
  } else {
    const auto weights = Blocks::affine(block, g);
    for (std::size_t i = 0; i < 32; ++i) out[i] = weight_of<Blocks>(weights, i);
  }
}

}  // namespace blocks

// Affine groups, decoded group by group.
template <class B>
concept QuantizedBlocks = std::is_empty_v<B> && requires(const std::byte* block, index_t g, int q) {
  { B::dtype } -> std::convertible_to<DType>;
  { B::size } -> std::convertible_to<index_t>;
  { B::bytes } -> std::convertible_to<index_t>;
  { B::bits } -> std::convertible_to<index_t>;
  { B::value(q) } noexcept -> std::same_as<int>;
  B::affine(block, g).scale;
};

// Calls use(blocks::Q4_0{}) or ...: the blocks of a type. False: it has none.
template <class Use>
bool visit_blocks(DType dtype, Use&& use) {
  return blocks::All::visit(dtype, std::forward<Use>(use));
}

// `count` weights of blocks that follow one another, from weight `first` on. Reads no byte of a later block.
template <QuantizedBlocks Blocks>
HEADGATE_INLINE void decode_blocks(const std::byte* from, std::int64_t first, std::int64_t count, float* out) noexcept {
  constexpr index_t group = blocks::group;
  while (count > 0) {
    const std::byte* const block = from + first / Blocks::size * Blocks::bytes;
    const auto g = static_cast<index_t>(first % Blocks::size / group);
    const std::int64_t skipped = first % group;
    std::int64_t taken = group - skipped;
    if (taken == group && count >= group) {
      blocks::decode_group<Blocks>(block, g, out);
    } else {
      if (count < taken) taken = count;
      float all[as_size(group)];
      blocks::decode_group<Blocks>(block, g, all);
      for (std::int64_t i = 0; i < taken; ++i) out[i] = all[skipped + i];
    }
    first += taken;
    count -= taken;
    out += taken;
  }
}

}  // namespace headgate::inline HEADGATE_ABI
