// Grouped-query attention in double, straight from the definition, with every option of its shape.
#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "headgate/attention/gqa_shape.hpp"

struct ReferenceAttention {
  headgate::GqaShape shape;
  double theta;            // of the rotary angles
  headgate::index_t half;  // pairs of a head that turn: channels i and i + half
  std::vector<float> q, k, v, o, q_bias, k_bias, v_bias, o_bias, q_norm, k_norm, sinks;

  ReferenceAttention(const headgate::GqaShape& s, double rope_theta, headgate::index_t rope_half, unsigned seed)
      : shape(s), theta(rope_theta), half(rope_half) {
    using namespace headgate;
    std::mt19937 rng(seed);
    const auto random = [&](bool is_there, float scale, index_t rows, index_t cols = 1) {
      std::normal_distribution<float> normal(0.0f, scale);
      std::vector<float> values(is_there ? as_size(rows) * as_size(cols) : 0);
      for (float& value : values) value = normal(rng);
      return values;
    };
    q = random(true, 0.3f, s.query_size(), s.hidden_size);
    k = random(true, 0.3f, s.kv_size(), s.hidden_size);
    v = random(true, 0.3f, s.kv_size(), s.hidden_size);
    o = random(true, 0.3f, s.hidden_size, s.query_size());
    q_bias = random(s.has_query_bias, 0.5f, s.query_size());
    k_bias = random(s.has_key_bias, 0.5f, s.kv_size());
    v_bias = random(s.has_value_bias, 0.5f, s.kv_size());
    o_bias = random(s.has_output_bias, 0.5f, s.hidden_size);
    const bool full = s.qk_norm == QkNorm::full;
    q_norm = random(s.qk_norm != QkNorm::none, 1.0f, full ? s.query_size() : s.head_dim);
    k_norm = random(s.qk_norm != QkNorm::none, 1.0f, full ? s.kv_size() : s.head_dim);
    sinks = random(s.has_sinks, 2.0f, s.num_heads);
  }

  // The weights, into an attention of this shape.
  template <class A>
  A fill(A attention) const {
    using namespace headgate;
    const auto row = [](const std::vector<float>& m, index_t r, index_t cols) { return m.data() + r * cols; };
    for (index_t r = 0; r < shape.query_size(); ++r) attention.set_query_row(r, row(q, r, shape.hidden_size));
    for (index_t r = 0; r < shape.kv_size(); ++r) attention.set_key_row(r, row(k, r, shape.hidden_size));
    for (index_t r = 0; r < shape.kv_size(); ++r) attention.set_value_row(r, row(v, r, shape.hidden_size));
    for (index_t r = 0; r < shape.hidden_size; ++r) attention.set_output_row(r, row(o, r, shape.query_size()));
    const auto copy = [](const std::vector<float>& from, std::span<float> to) {
      if (from.size() != to.size()) throw std::logic_error("a vector of another size than the attention's");
      std::copy(from.begin(), from.end(), to.begin());
    };
    copy(q_bias, attention.query_bias());
    copy(k_bias, attention.key_bias());
    copy(v_bias, attention.value_bias());
    copy(o_bias, attention.output_bias());
    copy(q_norm, attention.query_norm());
    copy(k_norm, attention.key_norm());
    copy(sinks, attention.sinks());
    return attention;
  }

  // (rows, hidden_size) of one text -> (rows, hidden_size)
  std::vector<double> operator()(const std::vector<float>& text) const {
    using namespace headgate;
    const std::size_t width = as_size(shape.hidden_size);
    const std::size_t d = as_size(shape.head_dim);
    std::vector<std::vector<double>> queries, keys, values;
    std::vector<double> out;
    for (std::size_t t = 0; t < text.size() / width; ++t) {
      const std::vector<double> x(&text[t * width], &text[t * width] + width);
      queries.push_back(prepared(times(q, x, q_bias), q_norm, t));
      keys.push_back(prepared(times(k, x, k_bias), k_norm, t));
      values.push_back(clipped(times(v, x, v_bias)));
      const std::size_t window = as_size(shape.window);
      const std::size_t first = window == 0 || t < window ? 0 : t - window + 1;
      std::vector<double> mixed(queries[t].size(), 0.0);
      for (std::size_t h = 0; h < as_size(shape.num_heads); ++h) {
        const std::size_t kv = h / as_size(shape.group());
        std::vector<double> weights;
        double total = sinks.empty() ? 0.0 : std::exp(double(sinks[h]));
        for (std::size_t s = first; s <= t; ++s) {
          double score = 0.0;
          for (std::size_t i = 0; i < d; ++i) score += queries[t][h * d + i] * keys[s][kv * d + i];
          weights.push_back(std::exp(score * double(shape.scale)));
          total += weights.back();
        }
        for (std::size_t s = first; s <= t; ++s) {
          for (std::size_t i = 0; i < d; ++i) mixed[h * d + i] += weights[s - first] / total * values[s][kv * d + i];
        }
      }
      const std::vector<double> y = times(o, mixed, o_bias);
      out.insert(out.end(), y.begin(), y.end());
    }
    return out;
  }

 private:
  static std::vector<double> times(const std::vector<float>& w, const std::vector<double>& x,
                                   const std::vector<float>& bias) {
    std::vector<double> y(w.size() / x.size());
    for (std::size_t r = 0; r < y.size(); ++r) {
      y[r] = bias.empty() ? 0.0 : double(bias[r]);
      for (std::size_t i = 0; i < x.size(); ++i) y[r] += double(w[r * x.size() + i]) * x[i];
    }
    return y;
  }
  std::vector<double> clipped(std::vector<double> x) const {
    const double most = double(shape.clip);
    for (double& value : x) value = most > 0.0 ? std::min(std::max(value, -most), most) : value;
    return x;
  }
  std::vector<double> prepared(std::vector<double> x, const std::vector<float>& norm, std::size_t position) const {
    using namespace headgate;
    for (std::size_t first = 0; !norm.empty() && first < x.size(); first += norm.size()) {
      double squares = 0.0;
      for (std::size_t i = 0; i < norm.size(); ++i) squares += x[first + i] * x[first + i];
      const double scale = 1.0 / std::sqrt(squares / double(norm.size()) + double(shape.norm_epsilon));
      for (std::size_t i = 0; i < norm.size(); ++i) x[first + i] *= scale * double(norm[i]);
    }
    x = clipped(std::move(x));
    const std::size_t n = as_size(half);
    for (std::size_t first = 0; first < x.size(); first += as_size(shape.head_dim)) {
      for (std::size_t i = 0; i < n; ++i) {
        const double angle = double(position) * std::pow(theta, -double(i) / double(n));
        const double low = x[first + i];
        const double high = x[first + i + n];
        x[first + i] = low * std::cos(angle) - high * std::sin(angle);
        x[first + i + n] = high * std::cos(angle) + low * std::sin(angle);
      }
    }
    return x;
  }
};
