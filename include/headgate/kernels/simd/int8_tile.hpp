// Making tiles of whole numbers (formats/int8_tile.hpp): the bytes of Scalar.
#pragma once

#include "headgate/kernels/formats/int8_tile.hpp"
#include "headgate/kernels/simd/dot.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace detail {

template <class Vector, int... i>
HEADGATE_INLINE auto half_of(Vector v, bool upper, std::integer_sequence<int, i...>) noexcept {
  constexpr int n = sizeof...(i);
  return upper ? __builtin_shufflevector(v, v, (i + n)...) : __builtin_shufflevector(v, v, i...);
}

}  // namespace detail

// All lanes of a vector by a function of two vectors.
template <class Vector, class Function>
HEADGATE_INLINE auto reduced(Vector v, Function f) noexcept {
  constexpr int n = sizeof(Vector) / sizeof(v[0]);
  if constexpr (n == 2) {
    const Vector swapped = __builtin_shufflevector(v, v, 1, 0);
    return f(v, swapped)[0];
  } else {
    using Half = std::make_integer_sequence<int, n / 2>;
    return reduced(f(detail::half_of(v, false, Half()), detail::half_of(v, true, Half())), f);
  }
}

// Row r of m of one group: x has 32 columns.
template <class Arch>
HEADGATE_INLINE void make_int8_row(const float* x, index_t m, index_t r, std::byte* tile) noexcept {
  using Word = typename Words<Arch>::type;
  using Int = typename Ints<Arch>::type;
  typedef std::int8_t SignedBytes __attribute__((vector_size(Floats<Arch>::size)));
  constexpr index_t parts = Int8Tile::columns / lanes<Arch>;
  Word largest{};
#pragma GCC unroll 16
  for (index_t i = 0; i < parts; ++i) {
    const Word bits = as_words<Arch>(Floats<Arch>::load_unaligned(x + lanes<Arch> * i)) & 0x7fffffffu;
    const Word is_larger = __builtin_bit_cast(Word, bits > largest);
    largest = (bits & is_larger) | (largest & ~is_larger);
  }
  const Int8Tile::Scaling scaling = Int8Tile::scaling(reduced(largest, [](auto a, auto b) {
    const auto is_larger = __builtin_bit_cast(decltype(a), a > b);
    return (a & is_larger) | (b & ~is_larger);
  }));

  std::int32_t sums[2] = {};
  if (scaling.inverse > 0.0f) {
    const Floats<Arch> inverse(scaling.inverse);
    const Floats<Arch> magic(Int8Tile::magic);
    Int half[2] = {};
#pragma GCC unroll 16
    for (index_t i = 0; i < parts; ++i) {
      const auto rounded = fused<Arch>(Floats<Arch>::load_unaligned(x + lanes<Arch> * i), inverse, magic);
      const Int q = __builtin_bit_cast(Int, as_words<Arch>(rounded) - std::bit_cast<std::uint32_t>(Int8Tile::magic));
      const SignedBytes bytes = __builtin_convertvector(q, SignedBytes);
      std::memcpy(tile + Int8Tile::values_at(m, r) + lanes<Arch> * i, &bytes, sizeof bytes);
      half[2 * i / parts] += q;
    }
    const auto add = [](auto a, auto b) { return a + b; };
    sums[0] = reduced(half[0], add);
    sums[1] = reduced(half[1], add);
  } else {
    std::memset(tile + Int8Tile::values_at(m, r), 0, Int8Tile::columns);
  }
  sums[1] += sums[0];
  const float scaled_sum = scaling.scale * static_cast<float>(sums[1]);
  std::memcpy(tile + Int8Tile::scale_at(m, r), &scaling.scale, 4);
  std::memcpy(tile + Int8Tile::scaled_sum_at(m, r), &scaled_sum, 4);
  std::memcpy(tile + Int8Tile::half_sum_at(m, r), &sums[0], 4);
  std::memcpy(tile + Int8Tile::sum_at(m, r), &sums[1], 4);
}

template <class Arch>
HEADGATE_NOINLINE void make_int8_tile(const float* const* rows, index_t m, index_t k, std::byte* tile) noexcept {
  constexpr index_t columns = Int8Tile::columns;
  for (index_t r = 0; r < m; ++r) {
    std::byte* group = tile;
    index_t first = 0;
    for (; first + columns <= k; first += columns) {
      make_int8_row<Arch>(rows[r] + first, m, r, group);
      group += std::int64_t{Int8Tile::group_bytes} * m;
    }
    if (first < k) {
      float last[columns] = {};
      std::memcpy(last, rows[r] + first, sizeof(float) * as_size(k - first));
      make_int8_row<Arch>(last, m, r, group);
    }
  }
}

}  // namespace headgate::inline HEADGATE_ABI
