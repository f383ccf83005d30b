// Scales of quantized weights: of a few weights x, each with an importance w, the scale d (and minimum m) for which
// sum w (x - d q - m)^2 is as small as a search finds, q the nearest codes. The search starts at several scales, which
// choose codes, which choose the scale of least squares, and so on; what a plain rounding of the largest weight gives
// is among the candidates, so the error is never larger than that.
//
// Every product is one of two floats, computed in double and so exact, or one with an explicit fma, and sums have a
// fixed order: no contraction by a compiler changes a bit, and every machine finds the same scales.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace blocks {

// The codes low..high, whole numbers.
template <int low, int high>
struct WholeCodes {
  static constexpr double smallest = low;
  static constexpr double largest = high;
  // The value of the code nearest to v = x / d.
  static double nearest(double v) noexcept {
    constexpr double shift = 0x1.8p52;  // v is an exact product, which a fused addition does not change
    return std::min(std::max((v + shift) - shift, double{low}), double{high});
  }
};
// The values of a table, ascending.
template <auto values>
struct TableCodes {
  static constexpr bool is_table = true;
  static constexpr double smallest = values.front();
  static constexpr double largest = values.back();
  static double nearest(double v) noexcept {
    double found = values.front();
    for (std::size_t i = 1; i < values.size(); ++i) {
      if (2.0 * v > values[i - 1] + values[i]) found = values[i];
    }
    return found;
  }
};

// n weights with their importances.
template <std::size_t n>
struct WeighedRow {
  std::array<float, n> x;
  std::array<float, n> w;

  // importance: of the weights, or null: all the same.
  static WeighedRow of(const float* x, const float* importance) noexcept {
    WeighedRow row;
    std::copy_n(x, n, row.x.begin());
    if (importance != nullptr) {
      std::copy_n(importance, n, row.w.begin());
    } else {
      row.w.fill(1.0f);
    }
    return row;
  }
};

struct ScaleAndMinimum {
  float scale = 0.0f;
  float minimum = 0.0f;
};

// Of 1 / d, for codes; 0 of a scale that is none.
inline double inverse_of(float d) noexcept {
  return d < 0.0f || d > 0.0f ? double{static_cast<float>(1.0 / double{d})} : 0.0;
}

// x - m, rounded, as codes are chosen by.
inline float above(float x, float minimum) noexcept { return static_cast<float>(double{x} - double{minimum}); }

// sum w (x - d q - m)^2 of the nearest codes.
template <class Codes, std::size_t n>
double fit_error(const WeighedRow<n>& row, const ScaleAndMinimum& fit) noexcept {
  const double inverse = inverse_of(fit.scale);
  std::array<double, 4> sums{};
  for (std::size_t i = 0; i < n; ++i) {
    const float x = above(row.x[i], fit.minimum);
    const double q = Codes::nearest(double{x} * inverse);
    const auto e = static_cast<float>(double{x} - double{fit.scale} * q);
    const auto we = static_cast<float>(double{row.w[i]} * double{e});
    sums[i % 4] += double{we} * double{e};
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

namespace detail {

struct FitSums {
  double w = 0.0, x = 0.0, q = 0.0, xq = 0.0, qq = 0.0;  // weighed: sum w, w x, w q, w x q, w q q
};
template <class Codes, std::size_t n>
FitSums fit_sums(const WeighedRow<n>& row, float minimum, double inverse) noexcept {
  std::array<FitSums, 4> sums;
  for (std::size_t i = 0; i < n; ++i) {
    FitSums& s = sums[i % 4];
    const double w = row.w[i];
    const double q = Codes::nearest(double{above(row.x[i], minimum)} * inverse);
    const double wx = static_cast<float>(w * double{row.x[i]});
    const double wq = w * q;
    s.w += w;
    s.x += wx;
    s.q += wq;
    s.xq += wx * q;
    s.qq += wq * q;
  }
  const auto total = [&](double FitSums::* of) { return (sums[0].*of + sums[1].*of) + (sums[2].*of + sums[3].*of); };
  return {total(&FitSums::w), total(&FitSums::x), total(&FitSums::q), total(&FitSums::xq), total(&FitSums::qq)};
}
// a b - c d
inline double difference(double a, double b, double c, double d) noexcept { return std::fma(a, b, -(c * d)); }

// The best fit so far.
template <class Codes, std::size_t n>
struct BestFit {
  const WeighedRow<n>& row;
  ScaleAndMinimum fit;
  double error;

  BestFit(const WeighedRow<n>& of, const ScaleAndMinimum& first) noexcept
      : row(of), fit(first), error(fit_error<Codes>(of, first)) {}
  bool try_fit(const ScaleAndMinimum& other) noexcept {
    const double found = fit_error<Codes>(row, other);
    if (!(found < error)) return false;
    fit = other;
    error = found;
    return true;
  }
};

}  // namespace detail

inline constexpr float least_weight = 0x1p-40f;  // a row of smaller ones is as good as zero in every type

// x = d q. round: a scale as the type can hold it.
template <class Codes, std::size_t n, class Round>
float fit_scale(const WeighedRow<n>& row, Round round) noexcept {
  float largest = 0.0f;  // by magnitude, with its sign
  for (const float x : row.x) {
    if (std::abs(x) > std::abs(largest)) largest = x;
  }
  if (std::abs(largest) < least_weight) return 0.0f;
  const auto start = [&](double code) { return double{static_cast<float>(code / double{largest})}; };
  constexpr double end = std::max(-Codes::smallest, Codes::largest);
  detail::BestFit<Codes, n> best(row, {round(static_cast<float>(double{largest} / Codes::smallest))});
  best.try_fit({round(static_cast<float>(double{largest} / Codes::largest))});
  detail::FitSums chosen;
  constexpr int steps = end > 64 ? 3 : 12;  // fine codes hardly care
  for (const double side : {-1.0, 1.0}) {
    for (int i = 0; i < steps; ++i) {
      const double code = side * end * (1.0625 - 0.03125 * i);
      const detail::FitSums sums = detail::fit_sums<Codes>(row, 0.0f, start(code));
      // The error that such codes leave falls with xq^2 / qq.
      if (sums.xq * sums.xq * chosen.qq > chosen.xq * chosen.xq * sums.qq || chosen.qq <= 0.0) chosen = sums;
    }
  }
  for (int i = 0; i < 4 && chosen.qq > 0.0; ++i) {
    if (!best.try_fit({round(static_cast<float>(chosen.xq / chosen.qq))})) break;
    chosen = detail::fit_sums<Codes>(row, 0.0f, inverse_of(best.fit.scale));
  }
  return best.fit.scale;
}

// x = d q + m, d > 0, q from 0 on. is_below: m <= 0. round: both as the type can hold them.
template <class Codes, bool is_below, std::size_t n, class Round>
ScaleAndMinimum fit_scale_and_minimum(const WeighedRow<n>& row, Round round) noexcept {
  const auto [low, high] = std::minmax_element(row.x.begin(), row.x.end());
  const float minimum = is_below ? std::min(*low, 0.0f) : *low;
  const float range = above(*high, minimum);
  if (range < least_weight) return {0.0f, round(minimum)};
  detail::BestFit<Codes, n> best(row, {round(static_cast<float>(double{range} / Codes::largest)), round(minimum)});
  // Where codes are those of this scale and minimum.
  const auto improve = [&](float from, double inverse) {
    const detail::FitSums s = detail::fit_sums<Codes>(row, from, inverse);
    const double determinant = detail::difference(s.w, s.qq, s.q, s.q);
    if (!(determinant > 0.0)) return false;
    double scale = detail::difference(s.w, s.xq, s.x, s.q) / determinant;
    double shift = detail::difference(s.qq, s.x, s.q, s.xq) / determinant;
    if (is_below && shift > 0.0) {
      shift = 0.0;
      scale = s.xq / s.qq;
    }
    if (!(scale > 0.0)) return false;
    return best.try_fit({round(static_cast<float>(scale)), round(static_cast<float>(shift))});
  };
  constexpr int steps = 12;
  for (int i = 0; i < steps; ++i) {
    const double code = Codes::largest + 1.0 - 0.25 * i;
    improve(minimum, double{static_cast<float>(code / double{range})});
  }
  for (int i = 0; i < 4; ++i) {
    if (!improve(best.fit.minimum, inverse_of(best.fit.scale))) break;
  }
  return best.fit;
}

}  // namespace blocks

}  // namespace headgate::inline HEADGATE_ABI
