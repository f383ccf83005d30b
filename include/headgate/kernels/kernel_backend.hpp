// KernelBackend: an empty type with static functions on plain data. noexcept and unchecked: callers check shapes first.
// Scalar (scalar.hpp) defines what each function means; every other backend is tested against it. Functions never read
// or write beyond the counts given, whatever the alignment.
//
// Products: one output is one chain of fused multiply-adds, k ascending, from 0. It does not depend on how many panels
// or rows are computed together, so prefill and decode, any batch and any thread count give the same bits. Activations
// in fewer bits than floats have chains of their own (scalar.hpp), with the same promise.
#pragma once

#include <concepts>

#include "headgate/kernels/activation.hpp"
#include "headgate/kernels/cache_format.hpp"
#include "headgate/kernels/panel16.hpp"

namespace headgate::inline HEADGATE_ABI {

// The backend of the instruction set this translation unit is compiled for (kernels/native.hpp). Routers, experts and
// layers use it unless told otherwise.
struct NativeBackend;

// A backend multiplies a format with its tile.
template <class B, class Format>
concept Multiplies =
    requires(const std::byte* panels, const typename Format::Tile::Element* tile, typename Format::Tile::Element* made,
             const float* const* rows, float* y, index_t n, std::int64_t stride) {
      // y[r * stride + 16 p + lane] = sum over k of W_p[k][lane] * row r of the tile [k], for p < num_panels, r < m, 1
      // <= m
      // <= Tile::max_rows. Arguments: format, panels, k, num_panels, tile, m, y, stride.
      { B::multiply(Format{}, panels, n, n, tile, n, y, stride) } noexcept;
      // Packs rows[r][i], i < k, r < m; in an F32Tile tile[i * m + r] = rows[r][i]. Arguments: tile type, rows, m, k,
      // tile.
      { B::make_tile(typename Format::Tile{}, rows, n, n, made) } noexcept;
    };
template <class B, class... Formats>
consteval bool multiplies_all(FormatList<Formats...>) {
  return (Multiplies<B, Formats> && ...);
}

// What an attention reads of a cache, for m queries, 1 <= m <= F32Tile::max_rows, that share its keys and values.
template <class B, class Format>
concept Attends = requires(const std::byte* cache, const float* x, float* y, index_t n, std::int64_t stride) {
  // y[r * stride + 16 p + lane] = sum over channels k of key_p[k][lane] * row r of the tile [k], fused, k ascending,
  // from 0. Arguments: format, panels, channels, number of panels, tile (F32Tile), m, y, stride.
  { B::score(Format{}, cache, n, n, x, n, y, stride) } noexcept;
  // sums[r][i] += sum over positions j of x[r * stride + j] * value_j[i], fused, j ascending, from what sums hold; sums
  // are (m, whole lines of 16 channels). Arguments: format, values, channels, positions, weights, stride, m, sums.
  { B::weigh(Format{}, cache, n, n, x, stride, n, y) } noexcept;
};

template <class B>
concept KernelBackend =
    multiplies_all<B>(WeightFormats{}) && Attends<B, CacheF32> && Attends<B, CacheF16> && Attends<B, CacheQ8> &&
    requires(const float* x, float* y, const float* const* rows, index_t n, std::int64_t stride, float a,
             index_t* order, Activation activation) {
      { B::name() } noexcept -> std::same_as<const char*>;
      { B::sum(x, n) } noexcept -> std::same_as<float>;
      { B::max(x, n) } noexcept -> std::same_as<float>;  // -inf for n = 0
      { B::dot(x, x, n) } noexcept -> std::same_as<float>;
      { B::all_finite(x, n) } noexcept -> std::same_as<bool>;
      { B::axpy(a, x, n, y) } noexcept;  // y += a x, fused
      // out[r] = dot(rows[r], x), and y += a[r] rows[r], r ascending, of rows that lie anywhere. Arguments: rows, their
      // number, x, n, out; a, rows, their number, n, y.
      { B::gather_dots(rows, n, x, n, y) } noexcept;
      { B::gather_axpy(x, rows, n, n, y) } noexcept;
      { B::exp_sum(y, n, a) } noexcept -> std::same_as<float>;  // y[i] = exp(y[i] - a); the sum of them
      { B::softmax(y, n) } noexcept;                            // in place, max subtracted; -inf gives exactly 0
      { B::sigmoid(y, n) } noexcept;                            // in place
      { B::rms_norm(x, x, a, n, y) } noexcept;  // y = x / sqrt(mean(x^2) + a) * weight: x, weight, a, n, y
      // Rotates the pairs (x[i], x[i + half]) by the angles whose cosine and sine are given. Arguments: x, cos, sin,
      // half.
      { B::rope(y, x, x, n) } noexcept;
      { B::glu(activation, x, x, n, y) } noexcept;    // y = act(gate) * up: activation, gate, up, n, y (may alias)
      { B::activate(activation, x, n, y) } noexcept;  // y = act(x), not for clamped_swiglu; may alias
      // The k largest keys, best first, ties to the lower index; -inf is never chosen. Returns how many were chosen.
      // Arguments: keys (no NaN), n, k, order (k).
      { B::top_k(x, n, n, order) } noexcept -> std::same_as<index_t>;
    };

// Backend::multiply and make_tile for a format, and a kind of tile, that may have been chosen at run time.
template <class Backend, WeightFormat Format>
HEADGATE_INLINE void multiply_any(Format format, const std::byte* panels, index_t k, index_t num_panels,
                                  const typename Format::Tile::Element* tile, index_t m, float* y,
                                  std::int64_t stride) noexcept {
  visit_format(format, [&]<class Known>(Known known) {
    using Element = typename Known::Tile::Element;
    Backend::multiply(known, panels, k, num_panels, reinterpret_cast<const Element*>(tile), m, y, stride);
  });
}
template <class Backend, ActivationTile Tile>
HEADGATE_INLINE void make_any_tile(Tile kind, const float* const* rows, index_t m, index_t k,
                                   typename Tile::Element* tile) noexcept {
  visit_format(kind, [&]<class Known>(Known known) {
    Backend::make_tile(known, rows, m, k, reinterpret_cast<typename Known::Element*>(tile));
  });
}

}  // namespace headgate::inline HEADGATE_ABI
