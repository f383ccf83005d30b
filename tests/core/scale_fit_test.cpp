#include "headgate/core/scale_fit.hpp"

#include "headgate/core/dtype.hpp"
#include "support/catch.hpp"

namespace {

using namespace headgate;
using Four = blocks::WholeCodes<-8, 7>;
using Upward = blocks::WholeCodes<0, 15>;

float as_half(float x) { return static_cast<float>(f16(x)); }

template <std::size_t n>
blocks::WeighedRow<n> row_of(const std::array<float, n>& x) {
  return blocks::WeighedRow<n>::of(x.data(), nullptr);
}
template <std::size_t n>
std::array<float, n> random_row(std::uint32_t& state) {
  std::array<float, n> row;
  for (float& x : row) {
    double sum = 0.0;
    for (int i = 0; i < 4; ++i) {
      state = state * 1664525u + 1013904223u;
      sum += static_cast<double>(state >> 16) / 65536.0 - 0.5;
    }
    x = static_cast<float>(sum);
  }
  return row;
}

}  // namespace

TEST_CASE("codes are the nearest whole numbers, halves to even, and the ends of their range") {
  CHECK(Four::nearest(2.4) == 2.0);
  CHECK(Four::nearest(2.5) == 2.0);
  CHECK(Four::nearest(3.5) == 4.0);
  CHECK(Four::nearest(-3.6) == -4.0);
  CHECK(Four::nearest(100.0) == 7.0);
  CHECK(Four::nearest(-100.0) == -8.0);
  using Table = blocks::TableCodes<std::to_array({-4, 0, 1, 10})>;
  for (const auto& [v, expected] :
       {std::pair{-9.0, -4.0}, {-2.1, -4.0}, {-1.9, 0.0}, {0.6, 1.0}, {5.4, 1.0}, {5.6, 10.0}}) {
    CHECK(Table::nearest(v) == expected);
  }
}

TEST_CASE("weights that lie on a grid are found on it") {
  std::array<float, 32> x{};
  for (int i = 0; i < 32; ++i) x[as_size(i)] = 0.375f * static_cast<float>(i % 16 - 8);
  CHECK(std::abs(blocks::fit_scale<Four>(row_of(x), as_half)) == 0.375f);
  CHECK(blocks::fit_error<Four>(row_of(x), {0.375f}) == 0.0);
  for (float& v : x) v += 7.0f;
  const auto fit = blocks::fit_scale_and_minimum<Upward, false>(row_of(x), as_half);
  CHECK(fit.scale == 0.375f);
  CHECK(fit.minimum == 4.0f);
}

TEST_CASE("the scale that is found is as good as the best of ten thousand") {
  std::uint32_t state = 5;
  double found = 0.0;
  double best = 0.0;
  for (int trial = 0; trial < 20; ++trial) {
    const std::array<float, 32> x = random_row<32>(state);
    const auto row = row_of(x);
    found += blocks::fit_error<Four>(row, {blocks::fit_scale<Four>(row, [](float d) { return d; })});
    double least = 1e30;
    for (int i = 1; i <= 5000; ++i) {
      for (const float sign : {-1.0f, 1.0f})
        least = std::min(least, blocks::fit_error<Four>(row, {sign * 1e-4f * static_cast<float>(i)}));
    }
    best += least;
  }
  CHECK(found < 1.005 * best);
}

TEST_CASE("errors count by the importance of their weights") {
  std::uint32_t state = 9;
  std::array<float, 32> x = random_row<32>(state);
  std::array<float, 32> importance;
  importance.fill(0.0f);
  for (std::size_t i = 0; i < 5; ++i) importance[i] = 1.0f;
  const auto weighed = blocks::WeighedRow<32>::of(x.data(), importance.data());
  const auto exact = [](float d) { return d; };
  const float all = blocks::fit_scale<Four>(row_of(x), exact);
  const float few = blocks::fit_scale<Four>(weighed, exact);
  CHECK(blocks::fit_error<Four>(weighed, {few}) < blocks::fit_error<Four>(weighed, {all}));
  CHECK(blocks::fit_error<Four>(row_of(x), {all}) < blocks::fit_error<Four>(row_of(x), {few}));
  importance.fill(0.0f);  // nothing matters: still a scale
  CHECK(std::isfinite(blocks::fit_scale<Four>(blocks::WeighedRow<32>::of(x.data(), importance.data()), exact)));
}

TEST_CASE("rows of zeros, of one number and of tiny numbers have a scale") {
  std::array<float, 32> x{};
  CHECK(blocks::fit_scale<Four>(row_of(x), as_half) == 0.0f);
  CHECK(blocks::fit_scale_and_minimum<Upward, true>(row_of(x), as_half).scale == 0.0f);
  x.fill(0.5f);
  CHECK(blocks::fit_error<Four>(row_of(x), {blocks::fit_scale<Four>(row_of(x), as_half)}) < 1e-6);
  for (const auto& fit : {blocks::fit_scale_and_minimum<Upward, false>(row_of(x), as_half),
                          blocks::fit_scale_and_minimum<Upward, true>(row_of(x), as_half)}) {
    CHECK(blocks::fit_error<Upward>(row_of(x), fit) < 1e-6);
  }
  CHECK(blocks::fit_scale_and_minimum<Upward, true>(row_of(x), as_half).minimum <= 0.0f);
  x.fill(1e-42f);
  CHECK(blocks::fit_scale<Four>(row_of(x), as_half) == 0.0f);
}
