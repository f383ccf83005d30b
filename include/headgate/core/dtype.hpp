// Storage types of tensors, bfloat16 with exact conversions, and smaller floats that are only stored.
#pragma once

#include <bit>
#include <iterator>
#include <string_view>

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

// Brain floating point: the upper half of a float. Encoding rounds to nearest even and keeps NaN quiet.
struct bf16 {
  std::uint16_t bits = 0;

  constexpr bf16() = default;
  constexpr explicit bf16(float value) noexcept {
    const auto u = std::bit_cast<std::uint32_t>(value);
    if ((u & 0x7fffffffu) > 0x7f800000u) {
      bits = static_cast<std::uint16_t>((u >> 16) | 0x40u);
    } else {
      bits = static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
    }
  }
  constexpr explicit operator float() const noexcept {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};

// IEEE half precision. Every f16 is a float; encoding rounds to nearest even, to infinity from 65520 on, and keeps NaN
// quiet.
struct f16 {
  std::uint16_t bits = 0;

  constexpr f16() = default;
  constexpr explicit f16(float value) noexcept {
    const auto u = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = u >> 16 & 0x8000u;
    const std::uint32_t magnitude = u & 0x7fffffffu;
    std::uint32_t rounded = 0;
    if (magnitude > 0x7f800000u) {
      rounded = 0x7e00u | (magnitude >> 13 & 0x3ffu);
    } else if (magnitude >= 0x477ff000u) {
      rounded = 0x7c00u;
    } else if (magnitude >= 0x38800000u) {
      rounded = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    } else {  // a multiple of 2^-24, which is the last bit of a float in [0.5, 1)
      rounded = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
    }
    bits = static_cast<std::uint16_t>(sign | rounded);
  }
  // Without branches, so that loops become vector code.
  constexpr explicit operator float() const noexcept {
    const std::uint32_t sign = (bits & 0x8000u) << 16;
    const std::uint32_t magnitude = bits & 0x7fffu;
    const std::uint32_t normal = (magnitude << 13) + (112u << 23) + ((0u - (magnitude >> 10 == 31u)) & 112u << 23);
    const float denormal = static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f;
    const std::uint32_t is_denormal = 0u - static_cast<std::uint32_t>(magnitude < 0x400u);
    return std::bit_cast<float>(sign | (normal & ~is_denormal) |
                                (std::bit_cast<std::uint32_t>(denormal) & is_denormal));
  }
};

// Eight bits with four of exponent, as in deep learning ("fn"): no infinity, NaN is 0x7f and 0xff, the largest 448.
// Storage only.
struct f8_e4m3 {
  std::uint8_t bits = 0;

  constexpr explicit operator float() const noexcept {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x80u) << 24;
    const std::uint32_t exponent = (bits >> 3) & 15u;
    const std::uint32_t fraction = bits & 7u;
    if ((bits & 0x7fu) == 0x7fu) return std::bit_cast<float>(sign | 0x7fc00000u);
    if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 120u) << 23) | (fraction << 20));
    const float magnitude = static_cast<float>(fraction) * 0x1p-9f;
    return sign != 0 ? -magnitude : magnitude;
  }
};

// The upper half of an f16, with its infinities and NaN. Storage only.
struct f8_e5m2 {
  std::uint8_t bits = 0;

  constexpr explicit operator float() const noexcept {
    f16 wide;
    wide.bits = static_cast<std::uint16_t>(bits << 8);
    return static_cast<float>(wide);
  }
};

// Element types of safetensors and GGUF files that this library can name. From q4_0 on: of GGUF files alone, several
// elements share a block of bytes (quantized_blocks.hpp).
enum class DType : std::uint8_t {
  boolean,
  u8,
  i8,
  u16,
  i16,
  f16,
  bf16,
  u32,
  i32,
  f32,
  u64,
  i64,
  f64,
  f8_e4m3,
  f8_e5m2,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs,
  mxfp4
};

struct DTypeInfo {
  DType dtype;
  std::string_view name;  // as safetensors spells it, or ggml
  index_t size;           // bytes of an element, or of a block of them
  index_t block = 1;      // elements of a block; more than one: a row is whole blocks, and safetensors has no such type
};

inline constexpr DTypeInfo dtypes[] = {
    {DType::boolean, "BOOL", 1},
    {DType::u8, "U8", 1},
    {DType::i8, "I8", 1},
    {DType::u16, "U16", 2},
    {DType::i16, "I16", 2},
    {DType::f16, "F16", 2},
    {DType::bf16, "BF16", 2},
    {DType::u32, "U32", 4},
    {DType::i32, "I32", 4},
    {DType::f32, "F32", 4},
    {DType::u64, "U64", 8},
    {DType::i64, "I64", 8},
    {DType::f64, "F64", 8},
    {DType::f8_e4m3, "F8_E4M3", 1},
    {DType::f8_e5m2, "F8_E5M2", 1},
    {DType::q4_0, "Q4_0", 18, 32},
    {DType::q4_1, "Q4_1", 20, 32},
    {DType::q5_0, "Q5_0", 22, 32},
    {DType::q5_1, "Q5_1", 24, 32},
    {DType::q8_0, "Q8_0", 34, 32},
    {DType::q2_k, "Q2_K", 84, 256},
    {DType::q3_k, "Q3_K", 110, 256},
    {DType::q4_k, "Q4_K", 144, 256},
    {DType::q5_k, "Q5_K", 176, 256},
    {DType::q6_k, "Q6_K", 210, 256},
    {DType::iq4_nl, "IQ4_NL", 18, 32},
    {DType::iq4_xs, "IQ4_XS", 136, 256},
    {DType::mxfp4, "MXFP4", 17, 32},
};
static_assert(std::size(dtypes) == static_cast<std::size_t>(DType::mxfp4) + 1);

constexpr const DTypeInfo& info(DType dtype) noexcept { return dtypes[static_cast<int>(dtype)]; }

}  // namespace headgate::inline HEADGATE_ABI
