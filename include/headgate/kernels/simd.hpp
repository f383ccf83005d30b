// Simd<Arch>: every kernel for one instruction set. Products, axpy and what attention reads of a cache give the bits of
// Scalar, everything else its values within the tolerances of tests/kernels.
#pragma once

#include "headgate/kernels/scalar.hpp"
#include "headgate/kernels/simd/activation.hpp"
#include "headgate/kernels/simd/attention.hpp"
#include "headgate/kernels/simd/gather.hpp"
#include "headgate/kernels/simd/int8_rows.hpp"
#include "headgate/kernels/simd/int8_tile.hpp"
#include "headgate/kernels/simd/multiply.hpp"
#include "headgate/kernels/simd/norm.hpp"
#include "headgate/kernels/simd/panel_blocks.hpp"
#include "headgate/kernels/simd/rope.hpp"
#include "headgate/kernels/simd/row_blocks.hpp"
#include "headgate/kernels/simd/softmax.hpp"
#include "headgate/kernels/simd/tile.hpp"
#include "headgate/kernels/simd/top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Arch>
struct Simd {
  static const char* name() noexcept { return Arch::name(); }

  template <WeightFormat Format>
  static void multiply(Format, const std::byte* panels, index_t k, index_t num_panels, const float* tile, index_t m,
                       float* y, std::int64_t stride) noexcept {
    headgate::multiply<Arch, Format>(panels, k, num_panels, tile, m, y, stride);
  }
  static void multiply(Bf16Dots, const std::byte* panels, index_t k, index_t num_panels, const std::uint32_t* tile,
                       index_t m, float* y, std::int64_t stride) noexcept {
    headgate::multiply<Arch, Bf16Dots>(panels, k, num_panels, tile, m, y, stride);
  }
  template <QuantizedBlocks Blocks>
  static void multiply(PanelBlocks<Blocks> format, const std::byte* panels, index_t k, index_t num_panels,
                       const std::byte* tile, index_t m, float* y, std::int64_t stride) noexcept {
    if constexpr (has_dot<Arch>) {
      headgate::multiply<Arch, PanelBlocks<Blocks>>(panels, k, num_panels, tile, m, y, stride);
    } else {
      Scalar::multiply(format, panels, k, num_panels, tile, m, y, stride);
    }
  }
  static void multiply(Int8Rows format, const std::byte* panels, index_t k, index_t num_panels, const std::byte* tile,
                       index_t m, float* y, std::int64_t stride) noexcept {
    if constexpr (has_dot<Arch>) {
      headgate::multiply<Arch, Int8Rows>(panels, k, num_panels, tile, m, y, stride);
    } else {
      Scalar::multiply(format, panels, k, num_panels, tile, m, y, stride);
    }
  }
  static void make_tile(Int8Tile, const float* const* rows, index_t m, index_t k, std::byte* tile) noexcept {
    headgate::make_int8_tile<Arch>(rows, m, k, tile);
  }
  static void make_tile(Bf16Tile, const float* const* rows, index_t m, index_t k, std::uint32_t* tile) noexcept {
    headgate::make_tile<Arch, Bf16Tile>(rows, m, k, tile);
  }
  static void make_tile(F32Tile, const float* const* rows, index_t m, index_t k, float* tile) noexcept {
    headgate::make_tile<Arch, F32Tile>(rows, m, k, tile);
  }

  static float sum(const float* x, index_t n) noexcept { return headgate::sum<Arch>(x, n); }
  static float max(const float* x, index_t n) noexcept { return headgate::max<Arch>(x, n); }
  static float dot(const float* x, const float* y, index_t n) noexcept { return headgate::dot<Arch>(x, y, n); }
  static bool all_finite(const float* x, index_t n) noexcept { return headgate::all_finite<Arch>(x, n); }
  static void axpy(float a, const float* x, index_t n, float* y) noexcept { headgate::axpy<Arch>(a, x, n, y); }
  static void gather_dots(const float* const* rows, index_t count, const float* x, index_t n, float* out) noexcept {
    headgate::gather_dots<Arch>(rows, count, x, n, out);
  }
  static void gather_axpy(const float* a, const float* const* rows, index_t count, index_t n, float* y) noexcept {
    headgate::gather_axpy<Arch>(a, rows, count, n, y);
  }
  template <class Format>
  static void score(Format, const std::byte* panels, index_t channels, index_t num_panels, const float* tile, index_t m,
                    float* scores, std::int64_t stride) noexcept {
    headgate::score<Arch, Format>(panels, channels, num_panels, tile, m, scores, stride);
  }
  template <class Format>
  static void weigh(Format, const std::byte* values, index_t channels, index_t count, const float* weights,
                    std::int64_t stride, index_t m, float* sums) noexcept {
    headgate::weigh<Arch, Format>(values, channels, count, weights, stride, m, sums);
  }

  static float exp_sum(float* x, index_t n, float largest) noexcept { return headgate::exp_sum<Arch>(x, n, largest); }
  static void softmax(float* x, index_t n) noexcept { headgate::softmax<Arch>(x, n); }
  static void sigmoid(float* x, index_t n) noexcept { headgate::sigmoid<Arch>(x, n); }
  static void rms_norm(const float* x, const float* weight, float epsilon, index_t n, float* y) noexcept {
    headgate::rms_norm<Arch>(x, weight, epsilon, n, y);
  }
  static void rope(float* x, const float* cosine, const float* sine, index_t half) noexcept {
    headgate::rope<Arch>(x, cosine, sine, half);
  }
  static void activate(Activation activation, const float* x, index_t n, float* y) noexcept {
    headgate::activate<Arch>(activation, x, n, y);
  }
  static void glu(Activation activation, const float* gate, const float* up, index_t n, float* y) noexcept {
    headgate::glu<Arch>(activation, gate, up, n, y);
  }
  static index_t top_k(const float* keys, index_t n, index_t k, index_t* order) noexcept {
    return headgate::top_k<Arch>(keys, n, k, order);
  }
};
static_assert(KernelBackend<Simd<NativeArch>>);

}  // namespace headgate::inline HEADGATE_ABI
