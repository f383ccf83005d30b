// A Mixture-of-Experts layer as six lines in double, with a bound of what float may differ from it, and random
// instances.
//
// The bound: a product of length K is off by at most 4 sqrt(K) 2^-24 sum|products|; an activation carries the error of
// its argument on and adds 2^-20 of its value; a sum of n terms in float adds n 2^-24 of their magnitudes. Errors of a
// step are carried through the next by the magnitudes of its weights.
#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "headgate/experts/glu_layout.hpp"
#include "headgate/routing/routing_plan.hpp"

namespace reference {

using headgate::as_size;
using headgate::index_t;

struct Matrix {
  Matrix() = default;
  Matrix(index_t num_rows, index_t num_cols, float value = 0.0f)
      : rows(num_rows), cols(num_cols), values(as_size(num_rows) * as_size(num_cols), value) {}
  // Uniform in [-scale, scale).
  static Matrix random(index_t rows, index_t cols, float scale, std::mt19937& rng) {
    Matrix matrix(rows, cols);
    for (float& value : matrix.values) value = scale * (static_cast<float>(rng() >> 8) * 0x1p-23f - 1.0f);
    return matrix;
  }
  headgate::ConstRows view() const { return {values.data(), rows, cols}; }
  headgate::Rows view() { return {values.data(), rows, cols}; }
  friend bool operator==(const Matrix&, const Matrix&) = default;

  index_t rows = 0;
  index_t cols = 0;
  std::vector<float> values;
};

struct Bounded {
  double value = 0.0;
  double error = 0.0;  // largest that float arithmetic may be off
};

inline double activate(const headgate::Activation& activation, double x) {
  using headgate::ActivationKind;
  switch (activation.kind) {
    case ActivationKind::silu:
      return x / (1.0 + std::exp(-x));
    case ActivationKind::gelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case ActivationKind::gelu_tanh:
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case ActivationKind::relu:
      return std::fmax(x, 0.0);
    case ActivationKind::relu2:
      return std::fmax(x, 0.0) * std::fmax(x, 0.0);
    case ActivationKind::clamped_swiglu: {
      const double g = std::fmin(x, static_cast<double>(activation.limit));
      return g / (1.0 + std::exp(-static_cast<double>(activation.alpha) * g));
    }
  }
  return x;
}

// sum of weights[i] * x[i] + bias
inline Bounded product(const float* weights, const std::vector<Bounded>& x, const float* bias) {
  Bounded sum;
  double magnitude = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double w = static_cast<double>(weights[i]);
    sum.value += w * x[i].value;
    sum.error += std::fabs(w) * x[i].error;
    magnitude += std::fabs(w * x[i].value);
  }
  sum.error += 4.0 * std::sqrt(static_cast<double>(x.size())) * 0x1p-24 * magnitude;
  if (bias != nullptr) {
    sum.value += static_cast<double>(*bias);
    sum.error += 0x1p-24 * (std::fabs(sum.value) + sum.error);
  }
  return sum;
}

// A random bank as plain matrices, and what its experts compute.
struct Bank {
  Bank(const headgate::GluShape& of_shape, unsigned seed) : shape(of_shape) {
    std::mt19937 rng(seed);
    const float up_scale = 2.0f / std::sqrt(static_cast<float>(shape.hidden_size));
    const float down_scale = 2.0f / std::sqrt(static_cast<float>(shape.ffn_size));
    for (index_t e = 0; e < shape.num_experts; ++e) {
      gate.push_back(shape.gated ? Matrix::random(shape.ffn_size, shape.hidden_size, up_scale, rng) : Matrix());
      up.push_back(Matrix::random(shape.ffn_size, shape.hidden_size, up_scale, rng));
      down.push_back(Matrix::random(shape.hidden_size, shape.ffn_size, down_scale, rng));
      const auto bias = [&](bool wanted, index_t size) {
        return wanted ? Matrix::random(1, size, 0.5f, rng).values : std::vector<float>();
      };
      gate_bias.push_back(bias(shape.has_bias && shape.gated, shape.ffn_size));
      up_bias.push_back(bias(shape.has_bias, shape.ffn_size));
      down_bias.push_back(bias(shape.has_bias, shape.hidden_size));
    }
  }
  // Rounds every matrix to what bfloat16 holds.
  void round_to_bf16() {
    for (auto* matrices : {&gate, &up, &down}) {
      for (Matrix& matrix : *matrices) {
        for (float& value : matrix.values) value = static_cast<float>(headgate::bf16(value));
      }
    }
  }
  headgate::GluMatrices matrices(index_t e) const {
    return {gate[as_size(e)].view(), up[as_size(e)].view(), down[as_size(e)].view(),
            gate_bias[as_size(e)],   up_bias[as_size(e)],   down_bias[as_size(e)]};
  }
  std::vector<headgate::GluMatrices> matrices() const {
    std::vector<headgate::GluMatrices> all;
    for (index_t e = 0; e < shape.num_experts; ++e) all.push_back(matrices(e));
    return all;
  }

  std::vector<Bounded> expert(index_t e, const float* x) const {
    const std::vector<Bounded> in = exact(x, shape.hidden_size);
    const bool clamped = shape.activation.kind == headgate::ActivationKind::clamped_swiglu;
    const double limit = static_cast<double>(shape.activation.limit);
    std::vector<Bounded> h;
    for (index_t f = 0; f < shape.ffn_size; ++f) {
      const auto row = [&](const std::vector<Matrix>& m, const std::vector<std::vector<float>>& b) {
        return product(m[as_size(e)].view().row_data(f), in,
                       b[as_size(e)].empty() ? nullptr : &b[as_size(e)][as_size(f)]);
      };
      Bounded u = row(up, up_bias);
      const Bounded a = activated(shape.gated ? row(gate, gate_bias) : u);
      if (clamped) u.value = std::fmin(std::fmax(u.value, -limit), limit) + 1.0;
      h.push_back(!shape.gated
                      ? a
                      : Bounded{a.value * u.value, std::fabs(a.value) * u.error + std::fabs(u.value) * a.error +
                                                       a.error * u.error + 0x1p-22 * std::fabs(a.value)});
    }
    std::vector<Bounded> out;
    for (index_t c = 0; c < shape.hidden_size; ++c) {
      out.push_back(product(down[as_size(e)].view().row_data(c), h,
                            down_bias[as_size(e)].empty() ? nullptr : &down_bias[as_size(e)][as_size(c)]));
    }
    return out;
  }

  // The layer, row by row.
  std::vector<std::vector<Bounded>> layer(const headgate::RoutingPlan& plan, headgate::ConstRows x) const {
    std::vector<std::vector<Bounded>> y(as_size(x.rows), std::vector<Bounded>(as_size(x.cols)));
    for (index_t t = 0; t < x.rows; ++t) {
      for (std::size_t i = 0; i < plan.experts(t).size(); ++i) {
        const std::vector<Bounded> out = expert(plan.experts(t)[i], x.row_data(t));
        for (std::size_t c = 0; c < out.size(); ++c)
          add(y[as_size(t)][c], plan.weights(t)[i], out[c], plan.experts(t).size());
      }
    }
    return y;
  }

  headgate::GluShape shape;
  std::vector<Matrix> gate, up, down;  // by expert
  std::vector<std::vector<float>> gate_bias, up_bias, down_bias;

 private:
  static std::vector<Bounded> exact(const float* x, index_t n) {
    std::vector<Bounded> out;
    for (index_t i = 0; i < n; ++i) out.push_back({static_cast<double>(x[i]), 0.0});
    return out;
  }
  static void add(Bounded& y, float weight, const Bounded& term, std::size_t terms) {
    const double w = static_cast<double>(weight);
    y.value += w * term.value;
    y.error += std::fabs(w) * term.error + static_cast<double>(terms) * 0x1p-24 * std::fabs(w * term.value);
  }
  Bounded activated(const Bounded& x) const {
    const double value = activate(shape.activation, x.value);
    const double above = activate(shape.activation, x.value + x.error);
    const double below = activate(shape.activation, x.value - x.error);
    return {value, std::fmax(std::fabs(above - value), std::fabs(below - value)) + 0x1p-20 * std::fabs(value)};
  }
};

// Rows of k distinct experts with weights in [-0.5, 1.5); k of row t is k_of(t).
template <class K>
headgate::RoutingPlan random_plan(index_t tokens, index_t num_experts, K k_of, unsigned seed) {
  std::mt19937 rng(seed);
  headgate::RoutingPlan plan;
  plan.clear(num_experts);
  std::vector<headgate::ExpertId> ids(as_size(num_experts));
  for (index_t t = 0; t < tokens; ++t) {
    for (index_t e = 0; e < num_experts; ++e) ids[as_size(e)] = e;
    const std::size_t k = as_size(k_of(t));
    for (std::size_t i = 0; i < k; ++i) std::swap(ids[i], ids[i + rng() % (ids.size() - i)]);
    std::vector<float> weights(k);
    for (float& w : weights) w = static_cast<float>(rng() >> 8) * 0x1p-23f - 0.5f;
    headgate::throw_if_error(plan.append_row(std::span(ids).first(k), weights));
  }
  return plan;
}

// The largest error as a share of its bound, over all of y; NaN counts as infinite.
inline double worst(const std::vector<std::vector<Bounded>>& expected, headgate::ConstRows y) {
  double largest = 0.0;
  for (index_t t = 0; t < y.rows; ++t) {
    for (index_t c = 0; c < y.cols; ++c) {
      const Bounded& want = expected[as_size(t)][as_size(c)];
      const double error = std::fabs(static_cast<double>(y.row(t)[as_size(c)]) - want.value);
      if (error == 0.0) continue;
      const double share = want.error > 0.0 ? error / want.error : INFINITY;
      if (std::isnan(share)) return INFINITY;
      largest = std::fmax(largest, share);
    }
  }
  return largest;
}

}  // namespace reference
