// Rows of quantized blocks: random bytes but for the upper one of each half that scales, so that sums stay finite.
#pragma once

#include <random>
#include <vector>

#include "headgate/kernels/weight_formats.hpp"

namespace headgate {

// Where the halves of a block are.
inline std::vector<index_t> halves_of(DType dtype) {
  switch (dtype) {
    case DType::q4_1:
    case DType::q5_1:
    case DType::q4_k:
    case DType::q5_k:
      return {0, 2};
    case DType::q2_k:
      return {80, 82};
    case DType::q3_k:
      return {108};
    case DType::q6_k:
      return {208};
    case DType::mxfp4:
      return {};
    default:
      return {0};
  }
}

// count * k weights.
template <class Blocks>
std::vector<std::byte> random_rows(index_t count, index_t k, unsigned seed) {
  std::mt19937 engine(seed);
  std::vector<std::byte> bytes(as_size(count * (k / Blocks::size * Blocks::bytes)));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(engine());
  for (std::size_t b = 0; b < bytes.size(); b += as_size(Blocks::bytes)) {
    for (const index_t half : halves_of(Blocks::dtype)) {
      std::byte& high = bytes[b + as_size(half) + 1];
      high = static_cast<std::byte>(0x28 + std::to_integer<int>(high) % 16) | (high & std::byte{0x80});
    }
    if (Blocks::dtype == DType::mxfp4) bytes[b] = static_cast<std::byte>(120 + std::to_integer<int>(bytes[b]) % 16);
  }
  return bytes;
}

template <class F, class... Affine>
void for_each_type(F&& use, blocks::TypeList<Affine...>) {
  (use(Affine{}), ...);
}
template <class F>
void for_each_panel_blocks(F&& use) {
  for_each_type(use, blocks::All{});
}

template <class F>
void for_each_row_blocks(F&& use) {
  for (const DTypeInfo& type : dtypes) visit_blocks(type.dtype, use);
}

}  // namespace headgate
