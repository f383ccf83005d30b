// Scalar: the definition of every kernel, as plain loops. Clear before quick; it judges all others.
#pragma once

#include <cmath>
#include <limits>

#include "headgate/core/best_k.hpp"
#include "headgate/core/exactly_equal.hpp"
#include "headgate/kernels/fused_multiply_add.hpp"
#include "headgate/kernels/kernel_backend.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Scalar {
  static const char* name() noexcept { return "scalar"; }

  template <WeightFormat Format>
  static void multiply(Format, const std::byte* panels, index_t k, index_t num_panels, const float* tile, index_t m,
                       float* y, std::int64_t stride) noexcept {
    constexpr index_t at_once = 64;  // columns that are unpacked together
    float weights[as_size(at_once)];
    for (index_t row = 0; row < num_panels * panel_rows; ++row) {
      const std::byte* const panel = panels + row / panel_rows * Format::panel_bytes(k);
      for (index_t r = 0; r < m; ++r) y[r * stride + row] = 0.0f;
      for (index_t first = 0; first < k; first += at_once) {
        const index_t count = k - first < at_once ? k - first : at_once;
        Format::unpack(panel, k, row % panel_rows, first, count, weights);
        for (index_t r = 0; r < m; ++r) {
          float& sum = y[r * stride + row];
          for (index_t i = 0; i < count; ++i) {
            sum = fused_multiply_add(weights[i], tile[std::int64_t{first + i} * m + r], sum);
          }
        }
      }
    }
  }
  // Of pairs the second column comes before the first. Numbers below 2^-126, given or found, may count as 0.
  static void multiply(Bf16Dots, const std::byte* panels, index_t k, index_t num_panels, const std::uint32_t* tile,
                       index_t m, float* y, std::int64_t stride) noexcept {
    for (index_t row = 0; row < num_panels * panel_rows; ++row) {
      const std::byte* const panel = panels + row / panel_rows * Bf16Dots::panel_bytes(k);
      for (index_t r = 0; r < m; ++r) y[r * stride + row] = 0.0f;
      for (index_t i = 0; i < k; i += 2) {
        float weights[2] = {};
        Bf16Dots::unpack(panel, k, row % panel_rows, i, i + 1 < k ? 2 : 1, weights);
        for (index_t r = 0; r < m; ++r) {
          const std::uint32_t x = tile[std::int64_t{i / 2} * m + r];
          float& sum = y[r * stride + row];
          sum = fused_multiply_add(weights[1], std::bit_cast<float>(x & 0xffff0000u), sum);
          sum = fused_multiply_add(weights[0], std::bit_cast<float>(x << 16), sum);
        }
      }
    }
  }
  // Of whole numbers the sum over the columns of a scale is exact: dot; y is one chain of fused multiply-adds of
  // dot * (scale * scale of x), group by group, and of minimum * (scale of x * sum of x).
  // Of two minima the second is that of all columns, and what the first is more that of the first half.
  template <QuantizedBlocks Blocks>
  static void multiply(PanelBlocks<Blocks>, const std::byte* panels, index_t k, index_t num_panels,
                       const std::byte* tile, index_t m, float* y, std::int64_t stride) noexcept {
    using Format = PanelBlocks<Blocks>;
    const auto read = [](const std::byte* from, auto value) {
      std::memcpy(&value, from, sizeof value);
      return value;
    };
    for (index_t row = 0; row < num_panels * panel_rows; ++row) {
      const std::byte* const panel = panels + row / panel_rows * Format::panel_bytes(k);
      for (index_t r = 0; r < m; ++r) y[r * stride + row] = 0.0f;
      for (index_t g = 0; g < k / Int8Tile::columns; ++g) {
        const auto weights = Format::load_group(panel, row % panel_rows, g);
        const std::byte* const group = tile + std::int64_t{Int8Tile::group_bytes} * m * g;
        for (index_t r = 0; r < m; ++r) {
          const float x_scale = read(group + Int8Tile::scale_at(m, r), 0.0f);
          float& sum = y[r * stride + row];
          for (std::size_t s = 0; s < weights.scale.size(); ++s) {
            std::int32_t dot = 0;
            constexpr std::size_t each = 32 / weights.scale.size();
            for (std::size_t i = s * each; i < (s + 1) * each; ++i) {
              const auto x = read(group + Int8Tile::values_at(m, r) + i, std::int8_t{});
              dot += Blocks::value(weights.q[i]) * x;
            }
            sum = fused_multiply_add(static_cast<float>(dot), weights.scale[s] * x_scale, sum);
          }
          if (blocks::has_minimum<Blocks>) {
            sum = fused_multiply_add(weights.minimum.back(), read(group + Int8Tile::scaled_sum_at(m, r), 0.0f), sum);
            if constexpr (weights.minimum.size() == 2) {
              const auto half_sum = static_cast<float>(read(group + Int8Tile::half_sum_at(m, r), std::int32_t{}));
              sum = fused_multiply_add(weights.minimum[0] - weights.minimum[1], half_sum * x_scale, sum);
            }
          }
        }
      }
    }
  }
  // With one scale for a row: the chain of dot * scale of x, group by group, times that scale.
  static void multiply(Int8Rows, const std::byte* panels, index_t k, index_t num_panels, const std::byte* tile,
                       index_t m, float* y, std::int64_t stride) noexcept {
    for (index_t row = 0; row < num_panels * panel_rows; ++row) {
      const std::byte* const panel = panels + row / panel_rows * Int8Rows::panel_bytes(k);
      for (index_t r = 0; r < m; ++r) {
        float sum = 0.0f;
        for (index_t first = 0; first < k; first += Int8Tile::columns) {
          const std::byte* const group = tile + std::int64_t{Int8Tile::group_bytes} * m * (first / Int8Tile::columns);
          std::int32_t dot = 0;
          for (index_t i = 0; i < Int8Tile::columns && first + i < k; ++i) {
            dot += Int8Rows::q(panel, row % panel_rows, first + i) *
                   static_cast<std::int8_t>(group[Int8Tile::values_at(m, r) + i]);
          }
          float x_scale;
          std::memcpy(&x_scale, group + Int8Tile::scale_at(m, r), sizeof x_scale);
          sum = fused_multiply_add(static_cast<float>(dot), x_scale, sum);
        }
        y[r * stride + row] = sum * Int8Rows::scale(panel, row % panel_rows);
      }
    }
  }
  static void make_tile(F32Tile, const float* const* rows, index_t m, index_t k, float* tile) noexcept {
    for (index_t i = 0; i < k; ++i) {
      for (index_t r = 0; r < m; ++r) tile[std::int64_t{i} * m + r] = rows[r][i];
    }
  }

  static void make_tile(Bf16Tile, const float* const* rows, index_t m, index_t k, std::uint32_t* tile) noexcept {
    for (index_t i = 0; i < k; i += 2) {
      for (index_t r = 0; r < m; ++r) {
        tile[std::int64_t{i / 2} * m + r] = Bf16Tile::word(rows[r][i], i + 1 < k ? rows[r][i + 1] : 0.0f);
      }
    }
  }
  static void make_tile(Int8Tile, const float* const* rows, index_t m, index_t k, std::byte* tile) noexcept {
    for (index_t first = 0; first < k; first += Int8Tile::columns) {
      const index_t count = k - first < Int8Tile::columns ? k - first : Int8Tile::columns;
      for (index_t r = 0; r < m; ++r) {
        const float* const x = rows[r] + first;
        std::uint32_t largest = 0;
        for (index_t i = 0; i < count; ++i) {
          const std::uint32_t bits = std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu;
          largest = bits > largest ? bits : largest;
        }
        const Int8Tile::Scaling scaling = Int8Tile::scaling(largest);
        std::int8_t q[Int8Tile::columns] = {};
        std::int32_t sums[2] = {};  // of the first 16, of all
        for (index_t i = 0; i < count && scaling.inverse > 0.0f; ++i) {
          q[i] = static_cast<std::int8_t>(
              std::bit_cast<std::int32_t>(fused_multiply_add(x[i], scaling.inverse, Int8Tile::magic)) -
              std::bit_cast<std::int32_t>(Int8Tile::magic));
          if (i < Int8Tile::columns / 2) sums[0] += q[i];
          sums[1] += q[i];
        }
        const float scaled_sum = scaling.scale * static_cast<float>(sums[1]);
        std::memcpy(tile + Int8Tile::scale_at(m, r), &scaling.scale, 4);
        std::memcpy(tile + Int8Tile::scaled_sum_at(m, r), &scaled_sum, 4);
        std::memcpy(tile + Int8Tile::half_sum_at(m, r), &sums[0], 4);
        std::memcpy(tile + Int8Tile::sum_at(m, r), &sums[1], 4);
        std::memcpy(tile + Int8Tile::values_at(m, r), q, sizeof q);
      }
      tile += std::int64_t{Int8Tile::group_bytes} * m;
    }
  }

  static float sum(const float* x, index_t n) noexcept {
    float total = 0.0f;
    for (index_t i = 0; i < n; ++i) total += x[i];
    return total;
  }
  static float max(const float* x, index_t n) noexcept {
    float largest = -std::numeric_limits<float>::infinity();
    for (index_t i = 0; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
    return largest;
  }
  static float dot(const float* x, const float* y, index_t n) noexcept {
    float total = 0.0f;
    for (index_t i = 0; i < n; ++i) total = fused_multiply_add(x[i], y[i], total);
    return total;
  }
  static bool all_finite(const float* x, index_t n) noexcept {
    for (index_t i = 0; i < n; ++i) {
      if (!std::isfinite(x[i])) return false;
    }
    return true;
  }
  static void axpy(float a, const float* x, index_t n, float* y) noexcept {
    for (index_t i = 0; i < n; ++i) y[i] = fused_multiply_add(a, x[i], y[i]);
  }
  static void gather_dots(const float* const* rows, index_t count, const float* x, index_t n, float* out) noexcept {
    for (index_t r = 0; r < count; ++r) out[r] = dot(rows[r], x, n);
  }
  static void gather_axpy(const float* a, const float* const* rows, index_t count, index_t n, float* y) noexcept {
    for (index_t r = 0; r < count; ++r) axpy(a[r], rows[r], n, y);
  }
  template <class Format>
  static void score(Format, const std::byte* panels, index_t channels, index_t num_panels, const float* tile, index_t m,
                    float* scores, std::int64_t stride) noexcept {
    for (index_t row = 0; row < num_panels * panel_rows; ++row) {
      const std::byte* const panel = panels + row / panel_rows * Format::panel_bytes(channels);
      for (index_t r = 0; r < m; ++r) scores[r * stride + row] = 0.0f;
      for (index_t i = 0; i < channels; ++i) {
        const float key = Format::key(panel, i, row % panel_rows);
        for (index_t r = 0; r < m; ++r) {
          float& sum = scores[r * stride + row];
          sum = fused_multiply_add(key, tile[std::int64_t{i} * m + r], sum);
        }
      }
    }
  }
  template <class Format>
  static void weigh(Format, const std::byte* values, index_t channels, index_t count, const float* weights,
                    std::int64_t stride, index_t m, float* sums) noexcept {
    const index_t width = divide_up(channels, Format::line_numbers) * Format::line_numbers;
    for (index_t j = 0; j < count; ++j) {
      const std::byte* const row = values + j * Format::row_bytes(channels);
      for (index_t i = 0; i < width; ++i) {
        const float value = Format::value(row, channels, i);
        for (index_t r = 0; r < m; ++r) {
          float& sum = sums[std::int64_t{r} * width + i];
          sum = fused_multiply_add(weights[r * stride + j], value, sum);
        }
      }
    }
  }

  static float exp_sum(float* x, index_t n, float largest) noexcept {
    float total = 0.0f;
    for (index_t i = 0; i < n; ++i) {
      x[i] = std::exp(x[i] - largest);
      total += x[i];
    }
    return total;
  }
  static void softmax(float* x, index_t n) noexcept {
    const float largest = max(x, n);
    if (exactly_equal(largest, -std::numeric_limits<float>::infinity())) {  // nothing allowed: nothing weighs
      for (index_t i = 0; i < n; ++i) x[i] = 0.0f;
      return;
    }
    const float total = exp_sum(x, n, largest);
    for (index_t i = 0; i < n; ++i) x[i] /= total;
  }
  static float sigmoid(float x) noexcept { return 1.0f / (1.0f + std::exp(-x)); }
  static void sigmoid(float* x, index_t n) noexcept {
    for (index_t i = 0; i < n; ++i) x[i] = sigmoid(x[i]);
  }
  static void rms_norm(const float* x, const float* weight, float epsilon, index_t n, float* y) noexcept {
    const float scale = 1.0f / std::sqrt(dot(x, x, n) / static_cast<float>(n) + epsilon);
    for (index_t i = 0; i < n; ++i) y[i] = x[i] * scale * weight[i];
  }
  static void rope(float* x, const float* cosine, const float* sine, index_t half) noexcept {
    for (index_t i = 0; i < half; ++i) {
      const float low = x[i];
      const float high = x[i + half];
      x[i] = low * cosine[i] - high * sine[i];
      x[i + half] = high * cosine[i] + low * sine[i];
    }
  }

  static float activate(ActivationKind kind, float x) noexcept {
    switch (kind) {
      case ActivationKind::silu:
        return x * sigmoid(x);
      case ActivationKind::gelu:
        return 0.5f * x * (1.0f + std::erf(x * 0.70710678f));
      case ActivationKind::gelu_tanh:
        return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
      case ActivationKind::relu:
        return x > 0.0f ? x : 0.0f;
      case ActivationKind::relu2:
        return x > 0.0f ? x * x : 0.0f;
      case ActivationKind::clamped_swiglu:
        break;  // gated only
    }
    return x;
  }
  static void activate(Activation activation, const float* x, index_t n, float* y) noexcept {
    for (index_t i = 0; i < n; ++i) y[i] = activate(activation.kind, x[i]);
  }
  static void glu(Activation activation, const float* gate, const float* up, index_t n, float* y) noexcept {
    for (index_t i = 0; i < n; ++i) {
      if (activation.kind == ActivationKind::clamped_swiglu) {
        const float g = std::fmin(gate[i], activation.limit);
        const float u = std::fmin(std::fmax(up[i], -activation.limit), activation.limit);
        y[i] = (u + 1.0f) * g * sigmoid(activation.alpha * g);
      } else {
        y[i] = activate(activation.kind, gate[i]) * up[i];
      }
    }
  }

  static index_t top_k(const float* keys, index_t n, index_t k, index_t* order) noexcept {
    BestK<float> best(keys, k, order);
    for (index_t i = 0; i < n; ++i) best.offer(i);
    return best.size();
  }
};
static_assert(KernelBackend<Scalar>);

}  // namespace headgate::inline HEADGATE_ABI
