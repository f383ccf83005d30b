// Monet by its equations, in double: experts one by one, as a factored plan written out asks for them.
#pragma once

#include <cmath>
#include <vector>

#include "headgate/layers/monet_experts.hpp"
#include "support/random.hpp"

namespace monet {

using headgate::as_size;
using headgate::index_t;

inline double relu2(double x) { return x > 0.0 ? x * x : 0.0; }

// sum_c row[c] x[c]
inline double dot(const float* row, const double* x, index_t n) {
  double sum = 0.0;
  for (index_t c = 0; c < n; ++c) sum += static_cast<double>(row[c]) * x[c];
  return sum;
}

// Random parts of either kind of experts, and what expert (i, j) computes.
struct Parts {
  Parts(bool is_vertical, index_t i, index_t j, index_t of_m, index_t width, unsigned seed)
      : vertical(is_vertical), first(i), second(j), m(of_m), hidden_size(width) {
    const index_t out = vertical ? hidden_size / 2 : hidden_size;
    const auto random = [&](index_t n) { return random_floats(as_size(n), 0.7f, seed++); };
    for (const index_t s : {0, 1}) {
      const index_t side = s == 0 ? first : second;
      u[s] = random(side * m * hidden_size);
      u_bias[s] = random(side * m);
      b[s] = random(side * out);
      for (const index_t of : {0, 1}) v[s][of] = random(out * side * m);
    }
  }
  headgate::HorizontalWeights horizontal() const {
    return {{u[0].data(), first * m, hidden_size},
            u_bias[0],
            {v[1][0].data(), hidden_size, second * m},
            {b[1].data(), second, hidden_size}};
  }
  headgate::VerticalWeights vertical_weights() const {
    const index_t half = hidden_size / 2;
    return {.u = {{u[0].data(), first * m, hidden_size}, {u[1].data(), second * m, hidden_size}},
            .u_bias = {u_bias[0], u_bias[1]},
            .v11 = {v[0][0].data(), half, first * m},
            .v12 = {v[0][1].data(), half, first * m},
            .v21 = {v[1][0].data(), half, second * m},
            .v22 = {v[1][1].data(), half, second * m},
            .b = {{b[0].data(), first, half}, {b[1].data(), second, half}}};
  }
  // a of part p of a side.
  std::vector<double> activated(index_t s, index_t p, const float* x) const {
    const std::vector<double> in(x, x + hidden_size);
    std::vector<double> a;
    for (index_t r = p * m; r < (p + 1) * m; ++r) {
      a.push_back(relu2(dot(u[s].data() + r * hidden_size, in.data(), hidden_size) +
                        static_cast<double>(u_bias[s][as_size(r)])));
    }
    return a;
  }
  std::vector<double> expert(index_t i, index_t j, const float* x) const {
    const std::vector<double> a1 = activated(0, i, x);
    const std::vector<double> a2 = activated(1, j, x);
    // Row c of part p of a matrix of a side.
    const auto product = [&](index_t s, index_t of, index_t p, index_t c, const std::vector<double>& a) {
      const index_t side = s == 0 ? first : second;
      return dot(v[s][of].data() + (c * side + p) * m, a.data(), m);
    };
    std::vector<double> y;
    const index_t out = vertical ? hidden_size / 2 : hidden_size;
    for (index_t c = 0; vertical && c < out; ++c) {
      y.push_back(product(0, 0, i, c, a1) + product(0, 1, i, c, a2) + static_cast<double>(b[0][as_size(i * out + c)]));
    }
    for (index_t c = 0; c < out; ++c) {
      y.push_back(product(1, 0, j, c, a1) + (vertical ? product(1, 1, j, c, a2) : 0.0) +
                  static_cast<double>(b[1][as_size(j * out + c)]));
    }
    return y;
  }
  // All of a written out plan.
  std::vector<double> enumerated(const headgate::RoutingPlan& flat, headgate::ConstRows x) const {
    std::vector<double> y(as_size(x.rows) * as_size(hidden_size));
    for (index_t t = 0; t < x.rows; ++t) {
      for (std::size_t e = 0; e < flat.experts(t).size(); ++e) {
        const index_t id = flat.experts(t)[e];
        const std::vector<double> out = expert(id / second, id % second, x.row_data(t));
        for (std::size_t c = 0; c < out.size(); ++c) {
          y[as_size(t) * as_size(hidden_size) + c] += static_cast<double>(flat.weights(t)[e]) * out[c];
        }
      }
    }
    return y;
  }

  bool vertical;
  index_t first, second, m, hidden_size;
  std::vector<float> u[2], u_bias[2], b[2], v[2][2];  // v[side][0]: for a1, v[side][1]: for a2
};

// Rows of random parts and weights of any sign, empty ones too.
inline headgate::FactoredPlan random_plan(index_t tokens, index_t heads, index_t first, index_t second, unsigned seed) {
  headgate::FactoredPlan plan{.heads = heads};
  std::mt19937 rng(seed);
  for (const index_t s : {0, 1}) {
    const index_t size = s == 0 ? first : second;
    plan.side[s].clear(size);
    for (index_t row = 0; row < tokens * heads; ++row) {
      std::vector<headgate::ExpertId> ids = random_order(size, static_cast<unsigned>(rng()));
      ids.resize(rng() % (ids.size() + 1));
      headgate::throw_if_error(
          plan.side[s].append_row(ids, random_floats(ids.size(), 1.0f, static_cast<unsigned>(rng()))));
    }
  }
  return plan;
}

}  // namespace monet
