// Products of rows of quantized blocks (formats/row_blocks.hpp): a few columns of a few panels are decoded to floats,
// turned into panels of F32, which stay in the L1 cache, and multiplied as those are, where the sums of the columns
// before stand. So the chain of multiply-adds, and every bit, is that of the definition.
#pragma once

#include "headgate/kernels/formats/row_blocks.hpp"
#include "headgate/kernels/simd/multiply.hpp"

namespace headgate::inline HEADGATE_ABI {

// Of 16 rows the columns [first, first + count), count <= 32: row after row, 32 floats each.
template <class Arch, class Blocks>
HEADGATE_NOINLINE void decode_rows(const std::byte* rows, std::int64_t row_bytes, index_t first, index_t count,
                                   float* out) noexcept {
  for (index_t lane = 0; lane < panel_rows; ++lane) {
    decode_blocks<Blocks>(rows + lane * row_bytes, first, count, out + lane * blocks::group);
  }
}

namespace detail {

template <index_t LANES>
struct FloatVector {
  typedef float type __attribute__((vector_size(4 * LANES)));
};

// Of each 16 bytes the lower, or the upper, halves of a and b in turn.
template <index_t LANES, bool UPPER, int... i>
HEADGATE_INLINE typename FloatVector<LANES>::type interleaved(typename FloatVector<LANES>::type a,
                                                              typename FloatVector<LANES>::type b,
                                                              std::integer_sequence<int, i...>) noexcept {
  return __builtin_shufflevector(a, b, (i / 4 * 4 + i % 4 / 2 + (UPPER ? 2 : 0) + i % 2 * LANES)...);
}
template <index_t LANES, bool UPPER>
HEADGATE_INLINE typename FloatVector<LANES>::type interleaved(typename FloatVector<LANES>::type a,
                                                              typename FloatVector<LANES>::type b) noexcept {
  return interleaved<LANES, UPPER>(a, b, std::make_integer_sequence<int, LANES>());
}
template <index_t LANES, int... i>
HEADGATE_INLINE typename FloatVector<LANES>::type joined(typename FloatVector<LANES / 2>::type a,
                                                         typename FloatVector<LANES / 2>::type b,
                                                         std::integer_sequence<int, i...>) noexcept {
  return __builtin_shufflevector(a, b, i...);
}
// Four floats of each `step`-th row, as many as a register holds.
template <index_t LANES>
HEADGATE_INLINE typename FloatVector<LANES>::type load_quads(const float* from, std::int64_t step) noexcept {
  if constexpr (LANES == 4) {
    typename FloatVector<4>::type quad;
    std::memcpy(&quad, from, sizeof quad);
    return quad;
  } else {
    constexpr index_t half = LANES / 2;
    return joined<LANES>(load_quads<half>(from, step), load_quads<half>(from + half / 4 * step, step),
                         std::make_integer_sequence<int, LANES>());
  }
}

}  // namespace detail

// Columns of such rows, 16 floats each: the first count of them, and those up to the next multiple of 4.
template <class Arch>
HEADGATE_NOINLINE void turn_rows(const float* rows, index_t count, float* panel) noexcept {
  constexpr index_t width = lanes<Arch>;
  using Vector = typename detail::FloatVector<width>::type;
  constexpr index_t parts = panel_rows / lanes<Arch>;
  for (index_t i = 0; i < count; i += 4) {
#pragma GCC unroll 4
    for (index_t part = 0; part < parts; ++part) {
      // Squares of 4 x 4 side by side are turned: rows r, r + 4, ... of this part lie in one register.
      const float* const first = rows + part * lanes<Arch> * blocks::group + i;
      Vector row[4];
#pragma GCC unroll 4
      for (index_t r = 0; r < 4; ++r) row[r] = detail::load_quads<width>(first + r * blocks::group, 4 * blocks::group);
      const Vector low02 = detail::interleaved<width, false>(row[0], row[2]);
      const Vector low13 = detail::interleaved<width, false>(row[1], row[3]);
      const Vector high02 = detail::interleaved<width, true>(row[0], row[2]);
      const Vector high13 = detail::interleaved<width, true>(row[1], row[3]);
      const Vector column[4] = {
          detail::interleaved<width, false>(low02, low13), detail::interleaved<width, true>(low02, low13),
          detail::interleaved<width, false>(high02, high13), detail::interleaved<width, true>(high02, high13)};
#pragma GCC unroll 4
      for (index_t j = 0; j < 4; ++j) {
        std::memcpy(panel + (i + j) * panel_rows + part * lanes<Arch>, &column[j], sizeof(Vector));
      }
    }
  }
}

// decode: decode_rows of some blocks. One function for all of them.
template <class Arch>
HEADGATE_NOINLINE void multiply_decoded(void (*decode)(const std::byte*, std::int64_t, index_t, index_t,
                                                       float*) noexcept,
                                        std::int64_t row_bytes, const std::byte* panels, index_t k, index_t num_panels,
                                        const float* tile, index_t m, float* y, std::int64_t stride) noexcept {
  constexpr index_t panels_at_once = 4;
  constexpr index_t columns_at_once = 64;
  alignas(64) float rows[as_size(panel_rows * blocks::group)] = {};
  alignas(64) float chunk[as_size(panels_at_once * columns_at_once * panel_rows)];
  for (index_t p = 0; p < num_panels; p += panels_at_once) {
    const index_t n = num_panels - p < panels_at_once ? num_panels - p : panels_at_once;
    float* const out = y + panel_rows * p;
    for (index_t r = 0; r < m; ++r) {
      for (index_t i = 0; i < n * panel_rows; ++i) out[r * stride + i] = 0.0f;
    }
    for (index_t first = 0; first < k; first += columns_at_once) {
      const index_t count = k - first < columns_at_once ? k - first : columns_at_once;
      for (index_t q = 0; q < n; ++q) {
        for (index_t c = 0; c < count; c += blocks::group) {
          const index_t width = count - c < blocks::group ? count - c : blocks::group;
          decode(panels + (p + q) * panel_rows * row_bytes, row_bytes, first + c, width, rows);
          turn_rows<Arch>(rows, width, chunk + (q * count + c) * panel_rows);
        }
      }
      multiply<Arch, F32, /*ADDS=*/true>(reinterpret_cast<const std::byte*>(chunk), count, n,
                                         tile + std::int64_t{first} * m, m, out, stride);
    }
  }
}

template <class Format>
inline constexpr bool is_row_blocks = false;
template <class Blocks>
inline constexpr bool is_row_blocks<RowBlocks<Blocks>> = true;

// KernelBackend's multiply.
template <class Arch, class Format>
  requires is_row_blocks<Format>
void multiply(const std::byte* panels, index_t k, index_t num_panels, const float* tile, index_t m, float* y,
              std::int64_t stride) noexcept {
  multiply_decoded<Arch>(decode_rows<Arch, typename Format::Blocks>, Format::row_bytes(k), panels, k, num_panels, tile,
                         m, y, stride);
}

}  // namespace headgate::inline HEADGATE_ABI
