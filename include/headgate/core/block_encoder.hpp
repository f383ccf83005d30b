// encode_block: weights as a quantized block of an affine type (quantized_blocks.hpp), with scales of least error
// (scale_fit.hpp), the same bytes on every machine.
#pragma once

#include "headgate/core/block_bytes.hpp"
#include "headgate/core/scale_fit.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace blocks {

// Weights may be this large at most: scales and minima are halves.
inline constexpr float largest_weight = 65504.0f;

namespace detail {

template <class Blocks>
struct CodesOf {
  using type = WholeCodes<Blocks::value(0), Blocks::value((1 << Blocks::bits) - 1)>;
};
template <>
struct CodesOf<IQ4_NL> {
  using type = TableCodes<std::to_array(nonlinear)>;
};
template <>
struct CodesOf<IQ4_XS> : CodesOf<IQ4_NL> {};
template <>
struct CodesOf<MXFP4> {
  using type = TableCodes<std::to_array({-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12})>;
};
template <class Blocks>
using ValuesOf = typename CodesOf<Blocks>::type;

// The code of a value of these.
template <class Blocks>
std::uint8_t code_of(double value) noexcept {
  const auto whole = static_cast<int>(value);
  if constexpr (requires { ValuesOf<Blocks>::is_table; }) {
    int q = 0;
    while (Blocks::value(q) != whole) ++q;
    return static_cast<std::uint8_t>(q);
  }
  return static_cast<std::uint8_t>(whole - Blocks::value(0));
}

// The nearest codes of n weights, for a scale and minimum as they will be decoded.
template <class Blocks, std::size_t n>
void choose_codes(const WeighedRow<n>& row, const ScaleAndMinimum& fit, std::uint8_t* q) noexcept {
  const double inverse = inverse_of(fit.scale);
  for (std::size_t i = 0; i < n; ++i) {
    q[i] = code_of<Blocks>(ValuesOf<Blocks>::nearest(double{above(row.x[i], fit.minimum)} * inverse));
  }
}

inline float as_half(float value) noexcept { return static_cast<float>(f16(value)); }
inline float as_float(float value) noexcept { return value; }

// Scales that are multiples of a half: the whole number for `scale`, from low to high.
inline int multiple_of(float scale, float unit, int low, int high) noexcept {
  const double inverse = inverse_of(unit);
  return static_cast<int>(std::clamp(std::nearbyint(double{scale} * inverse), double(low), double(high)));
}

// Of 32 weights.
template <class Blocks>
void encode_group(const WeighedRow<32>& row, std::byte* block) noexcept {
  ScaleAndMinimum fit;
  if constexpr (has_minimum<Blocks>) {
    fit = fit_scale_and_minimum<ValuesOf<Blocks>, false>(row, as_half);
  } else {
    fit.scale = fit_scale<ValuesOf<Blocks>>(row, as_half);
  }
  store_halves<Blocks>(block, f16(fit.scale), f16(fit.minimum));
  Codes q;
  choose_codes<Blocks>(row, fit, q.data());
  store_q<Blocks>(block, 0, q);
}

// Powers of two: the one with which nothing is cut off, and the two below it; none whose inverse is no float.
inline void encode_powers(const WeighedRow<32>& row, std::byte* block) noexcept {
  float largest = 0.0f;
  for (const float x : row.x) largest = std::max(largest, std::abs(x));
  int exponent = 2;  // largest <= 12 * 2^(exponent - 128)
  while (exponent < 254 && double{largest} > 12.0 * std::ldexp(1.0, exponent - 128)) ++exponent;
  int best = exponent;
  double least = 0.0;
  for (int e = exponent; e >= std::max(exponent - 2, 2); --e) {
    const double error = fit_error<ValuesOf<MXFP4>>(row, {MXFP4::scale(static_cast<std::uint32_t>(e))});
    if (e < exponent && !(error < least)) continue;
    least = error;
    best = e;
  }
  *block = static_cast<std::byte>(best);
  Codes q;
  choose_codes<MXFP4>(row, {MXFP4::scale(static_cast<std::uint32_t>(best))}, q.data());
  store_q<MXFP4>(block, 0, q);
}

// Groups, or halves of them, whose scales and minima are multiples, of six or four bits, of two halves.
template <class Blocks>
void encode_multiples(const float* x, const float* importance, std::byte* block) noexcept {
  using Values = ValuesOf<Blocks>;
  constexpr std::size_t each = Blocks::dtype == DType::q2_k ? 2 : 1;  // of a group
  constexpr std::size_t n = 32 / each;
  constexpr int most = each == 2 ? 15 : 63;
  std::array<WeighedRow<n>, 8 * each> rows;
  std::array<ScaleAndMinimum, 8 * each> fits;
  float largest = 0.0f;
  float lowest = 0.0f;
  for (std::size_t s = 0; s < 8 * each; ++s) {
    rows[s] = WeighedRow<n>::of(x + n * s, importance == nullptr ? nullptr : importance + n * s);
    fits[s] = fit_scale_and_minimum<Values, true>(rows[s], as_float);
    largest = std::max(largest, fits[s].scale);
    lowest = std::min(lowest, fits[s].minimum);
  }
  const float d = as_half(largest / static_cast<float>(most));
  const float dmin = as_half(-lowest / static_cast<float>(most));
  store_halves<Blocks>(block, f16(d), f16(dmin));
  const auto decoded = [&](int scale, int minimum) {
    return ScaleAndMinimum{d * static_cast<float>(scale), -(dmin * static_cast<float>(minimum))};
  };
  for (std::size_t g = 0; g < 8; ++g) {
    GroupScales<Blocks> multiples;
    Codes q;
    for (std::size_t part = 0; part < each; ++part) {
      const WeighedRow<n>& row = rows[each * g + part];
      const int scale = multiple_of(fits[each * g + part].scale, d, 0, most);
      const int minimum = multiple_of(-fits[each * g + part].minimum, dmin, 0, most);
      std::array<int, 2> best = {scale, minimum};
      double least = fit_error<Values>(row, decoded(scale, minimum));
      for (int s = std::max(scale - 1, 0); s <= std::min(scale + 1, most); ++s) {
        for (int m = std::max(minimum - 1, 0); m <= std::min(minimum + 1, most); ++m) {
          const double error = fit_error<Values>(row, decoded(s, m));
          if (!(error < least)) continue;
          least = error;
          best = {s, m};
        }
      }
      choose_codes<Blocks>(row, decoded(best[0], best[1]), &q[n * part]);
      if constexpr (each == 2) {
        multiples[part] = static_cast<std::uint8_t>(best[0] | best[1] << 4);
      } else {
        multiples = {static_cast<std::uint8_t>(best[0]), static_cast<std::uint8_t>(best[1])};
      }
    }
    store_scales<Blocks>(block, static_cast<index_t>(g), multiples);
    store_q<Blocks>(block, static_cast<index_t>(g), q);
  }
}

// Groups, or halves of them, whose scales are multiples, of eight or six bits with a sign, of a half.
template <class Blocks>
void encode_signed_multiples(const float* x, const float* importance, std::byte* block) noexcept {
  using Values = ValuesOf<Blocks>;
  constexpr std::size_t each = std::tuple_size_v<GroupScales<Blocks>>;
  constexpr std::size_t n = 32 / each;
  constexpr int lowest = Blocks::dtype == DType::q6_k ? -128 : -32;
  std::array<WeighedRow<n>, 8 * each> rows;
  std::array<float, 8 * each> scales;
  float largest = 0.0f;  // by magnitude, with its sign
  for (std::size_t s = 0; s < 8 * each; ++s) {
    rows[s] = WeighedRow<n>::of(x + n * s, importance == nullptr ? nullptr : importance + n * s);
    scales[s] = fit_scale<Values>(rows[s], as_float);
    if (std::abs(scales[s]) > std::abs(largest)) largest = scales[s];
  }
  const float d = as_half(largest / static_cast<float>(lowest));
  store_halves<Blocks>(block, f16(d));
  for (std::size_t g = 0; g < 8; ++g) {
    GroupScales<Blocks> multiples;
    Codes q;
    for (std::size_t s = 0; s < each; ++s) {
      const WeighedRow<n>& row = rows[each * g + s];
      const int first = multiple_of(scales[each * g + s], d, lowest, -lowest - 1);
      int best = first;
      double least = fit_error<Values>(row, {d * static_cast<float>(first)});
      for (const int other : {std::max(first - 1, lowest), std::min(first + 1, -lowest - 1)}) {
        const double error = fit_error<Values>(row, {d * static_cast<float>(other)});
        if (!(error < least)) continue;
        least = error;
        best = other;
      }
      multiples[s] = static_cast<std::int8_t>(best);
      choose_codes<Blocks>(row, {d * static_cast<float>(best)}, &q[n * s]);
    }
    store_scales<Blocks>(block, static_cast<index_t>(g), multiples);
    store_q<Blocks>(block, static_cast<index_t>(g), q);
  }
}

}  // namespace detail

}  // namespace blocks

// x: Blocks::size weights, finite and of magnitude largest_weight at most. importance: of each, finite and not negative
// with some above zero, what errors are weighed by; null: all the same. All of block is written.
template <QuantizedBlocks Blocks>
void encode_block(const float* x, const float* importance, std::byte* block) noexcept {
  if constexpr (Blocks::dtype == DType::mxfp4) {
    blocks::detail::encode_powers(blocks::WeighedRow<32>::of(x, importance), block);
  } else if constexpr (Blocks::size == 32) {
    blocks::detail::encode_group<Blocks>(blocks::WeighedRow<32>::of(x, importance), block);
  } else if constexpr (blocks::has_minimum<Blocks>) {
    blocks::detail::encode_multiples<Blocks>(x, importance, block);
  } else {
    blocks::detail::encode_signed_multiples<Blocks>(x, importance, block);
  }
}

}  // namespace headgate::inline HEADGATE_ABI
