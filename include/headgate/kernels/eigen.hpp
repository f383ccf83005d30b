// EigenBackend: the linear algebra of kernels by way of Eigen, for those who hold Eigen matrices and as a second oracle
// in tests. Its sums run in an order of Eigen's choice: values within tolerance, no promise about bits. What is no
// linear algebra is Scalar's. Never used by the decoder.
#pragma once

#include <Eigen/Core>

#include "headgate/kernels/scalar.hpp"

namespace headgate::inline HEADGATE_ABI {

struct EigenBackend : Scalar {
  static const char* name() noexcept { return "eigen"; }

  using Scalar::make_tile;
  using Scalar::multiply;
  template <WeightFormat Format>
  static void multiply(Format, const std::byte* panels, index_t k, index_t num_panels, const float* tile, index_t m,
                       float* y, std::int64_t stride) noexcept {
    // Weights are unpacked to at most this many columns at a time, so that nothing is allocated.
    constexpr index_t block = 64;
    Eigen::Matrix<float, panel_rows, block> weights;
    for (index_t p = 0; p < num_panels; ++p) {
      const std::byte* const panel = panels + p * Format::panel_bytes(k);
      Eigen::Map<Eigen::Matrix<float, panel_rows, Eigen::Dynamic>, 0, Eigen::OuterStride<>> out(
          y + panel_rows * p, panel_rows, m, Eigen::OuterStride<>(stride));
      out.setZero();
      for (index_t first = 0; first < k; first += block) {
        const index_t count = k - first < block ? k - first : block;
        for (index_t lane = 0; lane < panel_rows; ++lane) {
          float row[block];
          Format::unpack(panel, k, lane, first, count, row);
          for (index_t i = 0; i < count; ++i) weights(lane, i) = row[i];
        }
        const Eigen::Map<const Eigen::MatrixXf> part(tile + std::int64_t{first} * m, m, count);
        out += weights.leftCols(count).lazyProduct(part.transpose());
      }
    }
  }
  static void make_tile(F32Tile, const float* const* rows, index_t m, index_t k, float* tile) noexcept {
    Eigen::Map<Eigen::MatrixXf> out(tile, m, k);
    for (index_t r = 0; r < m; ++r) out.row(r) = vector(rows[r], k).transpose();
  }
  static float dot(const float* x, const float* y, index_t n) noexcept { return vector(x, n).dot(vector(y, n)); }
  static void axpy(float a, const float* x, index_t n, float* y) noexcept { vector(y, n) += a * vector(x, n); }
  static void gather_dots(const float* const* rows, index_t count, const float* x, index_t n, float* out) noexcept {
    for (index_t r = 0; r < count; ++r) out[r] = dot(rows[r], x, n);
  }
  static void gather_axpy(const float* a, const float* const* rows, index_t count, index_t n, float* y) noexcept {
    for (index_t r = 0; r < count; ++r) axpy(a[r], rows[r], n, y);
  }
  static void rms_norm(const float* x, const float* weight, float epsilon, index_t n, float* y) noexcept {
    const float scale = 1.0f / std::sqrt(vector(x, n).squaredNorm() / static_cast<float>(n) + epsilon);
    vector(y, n) = (scale * vector(x, n)).cwiseProduct(vector(weight, n));
  }
  static void rope(float* x, const float* cosine, const float* sine, index_t half) noexcept {
    auto low = vector(x, half);
    auto high = vector(x + half, half);
    for (index_t i = 0; i < half; ++i) {
      const Eigen::Matrix2f turn{{cosine[i], -sine[i]}, {sine[i], cosine[i]}};
      const Eigen::Vector2f turned = turn * Eigen::Vector2f(low[i], high[i]);
      low[i] = turned[0];
      high[i] = turned[1];
    }
  }

 private:
  static Eigen::Map<const Eigen::VectorXf> vector(const float* x, index_t n) noexcept { return {x, n}; }
  static Eigen::Map<Eigen::VectorXf> vector(float* x, index_t n) noexcept { return {x, n}; }
};
static_assert(KernelBackend<EigenBackend>);

}  // namespace headgate::inline HEADGATE_ABI
