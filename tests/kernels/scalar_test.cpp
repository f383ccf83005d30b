#include "headgate/kernels/scalar.hpp"

#include <string>
#include <utility>

#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

template <class Format>
void check_product(index_t rows, index_t k, index_t m) {
  const std::vector<float> weights = random_floats(rows * k, 1);
  const std::vector<float> x = random_floats(m * k, 2);  // (k, m): a tile
  const Panel16<Format> panels(ConstRows(weights.data(), rows, k));
  const index_t num_panels = panels.view().num_panels();
  std::vector<float> y(as_size(m * num_panels * panel_rows));
  Scalar::multiply(Format{}, panels.view().data, k, num_panels, x.data(), m, y.data(), num_panels * panel_rows);
  for (index_t r = 0; r < m; ++r) {
    for (index_t row = 0; row < num_panels * panel_rows; ++row) {
      double sum = 0.0;
      double magnitude = 0.0;
      for (index_t i = 0; i < k && row < rows; ++i) {
        const double product = double{panels.view()(row, i)} * x[as_size(i * m + r)];
        sum += product;
        magnitude += std::abs(product);
      }
      const double off = std::abs(y[as_size(r * num_panels * panel_rows + row)] - sum);
      if (!(off <= sum_bound(k, magnitude)))
        FAIL("row " << row << " of " << rows << " x " << k << " is off by " << off);
    }
  }
}

}  // namespace

TEST_CASE("the definition of a product is near double for every format") {
  for (const index_t k : {0, 1, 2, 7, 100, 1023}) {
    for (const index_t m : {1, 5, 12}) {
      check_product<F32>(33, k, m);
      check_product<Bf16>(33, k, m);
    }
  }
  SUCCEED();
}

TEST_CASE("small products by hand") {
  // Rows (1 2 3) and (-1 0.5 4); columns (1 1 1) and (2 0 -1).
  const float weights[] = {1.0f, 2.0f, 3.0f, -1.0f, 0.5f, 4.0f};
  const Panel16<Bf16> panels(ConstRows(weights, 2, 3));
  const float tile[] = {1.0f, 2.0f, 1.0f, 0.0f, 1.0f, -1.0f};
  float y[2 * panel_rows];
  Scalar::multiply(Bf16{}, panels.view().data, 3, 1, tile, 2, y, panel_rows);
  CHECK(y[0] == 6.0f);
  CHECK(y[1] == 3.5f);
  CHECK(y[2] == 0.0f);
  CHECK(y[panel_rows] == -1.0f);
  CHECK(y[panel_rows + 1] == -6.0f);
}

TEST_CASE("a product is a chain of fused multiply-adds in ascending order of k") {
  // Rounded after each multiplication the first square would lose its last bit, which the second one leaves over.
  const float a = 1.0f + 0x1p-12f;
  const float weights[] = {a, -1.0f};
  const float tile[] = {1.0f + 0x1p-11f, 1.0f};
  const Panel16<F32> panels(ConstRows(weights, 1, 2));
  float y[panel_rows];
  Scalar::multiply(F32{}, panels.view().data, 2, 1, tile, 1, y, panel_rows);
  CHECK(y[0] == fused_multiply_add(-1.0f, 1.0f, fused_multiply_add(a, 1.0f + 0x1p-11f, 0.0f)));
}

TEST_CASE("softmax and RMSNorm by hand") {
  float x[] = {0.0f, 0.0f, -std::numeric_limits<float>::infinity()};
  Scalar::softmax(x, 3);
  CHECK(x[0] == 0.5f);
  CHECK(x[1] == 0.5f);
  CHECK(same_bits(x[2], 0.0f));
  const float v[] = {3.0f, 4.0f};
  const float weight[] = {1.0f, 2.0f};
  float y[2];
  Scalar::rms_norm(v, weight, 0.0f, 2, y);
  CHECK(y[0] == Catch::Approx(3.0 / std::sqrt(12.5)));
  CHECK(y[1] == Catch::Approx(8.0 / std::sqrt(12.5)));
}

TEST_CASE("sums, products and weighted sums by hand") {
  const float x[] = {1.0f, -2.0f, 4.0f};
  const float y[] = {3.0f, 5.0f, 0.5f};
  CHECK(std::string(Scalar::name()) == "scalar");
  CHECK(Scalar::sum(x, 3) == 3.0f);
  CHECK(Scalar::sum(x, 0) == 0.0f);
  CHECK(Scalar::max(x, 3) == 4.0f);
  CHECK(Scalar::max(x, 1) == 1.0f);
  CHECK(Scalar::max(x + 1, 1) == -2.0f);
  CHECK(Scalar::max(x, 0) == -std::numeric_limits<float>::infinity());
  CHECK(Scalar::dot(x, y, 3) == -5.0f);
  CHECK(Scalar::dot(x, y, 0) == 0.0f);
  float sum[] = {1.0f, 1.0f, 1.0f, 9.0f};
  Scalar::axpy(2.0f, x, 3, sum);
  CHECK(std::vector<float>(sum, sum + 4) == std::vector<float>{3.0f, -3.0f, 9.0f, 9.0f});
}

TEST_CASE("what attention reads of a cache is its sums of products, by hand") {
  const float keys[] = {1.0f, 2.0f, 3.0f, 5.0f};  // two of two channels
  std::vector<std::byte> panel(as_size(CacheF32::panel_bytes(2)));
  for (index_t lane = 0; lane < 2; ++lane) CacheF32::store_key(keys + 2 * lane, 2, lane, panel.data());
  const float tile[] = {2.0f, 10.0f, -1.0f, 1.0f};  // queries (2, -1) and (10, 1)
  float scores[2 * 17];
  Scalar::score(CacheF32{}, panel.data(), 2, 1, tile, 2, scores, 17);
  CHECK(scores[0] == 0.0f);
  CHECK(scores[1] == 1.0f);
  CHECK(scores[17] == 12.0f);
  CHECK(scores[18] == 35.0f);
  CHECK(scores[2] == 0.0f);

  std::vector<std::byte> values(as_size(2 * CacheF32::row_bytes(2)));
  for (index_t j = 0; j < 2; ++j) CacheF32::store_value(keys + 2 * j, 2, values.data() + j * CacheF32::row_bytes(2));
  const float weights[] = {2.0f, -1.0f, 77.0f, 0.0f, 1.0f};
  std::vector<float> sums(32, 1.0f);
  Scalar::weigh(CacheF32{}, values.data(), 2, 2, weights, 3, 2, sums.data());
  CHECK(std::vector<float>(sums.begin(), sums.begin() + 3) == std::vector<float>{0.0f, 0.0f, 1.0f});
  CHECK(std::vector<float>(sums.begin() + 16, sums.begin() + 19) == std::vector<float>{4.0f, 6.0f, 1.0f});
  Scalar::weigh(CacheF32{}, values.data(), 2, 0, weights, 3, 2, sums.data());
  CHECK(sums[16] == 4.0f);

  float x[] = {0.0f, 1.0f, -std::numeric_limits<float>::infinity()};
  CHECK(Scalar::exp_sum(x, 3, 1.0f) == Catch::Approx(1.0 + std::exp(-1.0)));
  CHECK(x[1] == 1.0f);
  CHECK(x[2] == 0.0f);
}

TEST_CASE("a row is finite where its first and its last number and all between are") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
    float x[] = {1.0f, 2.0f, 3.0f, bad};
    CHECK(Scalar::all_finite(x, 3));
    for (std::size_t place = 0; place < 3; ++place) {
      std::swap(x[place], x[3]);
      CHECK_FALSE(Scalar::all_finite(x, 3));
      std::swap(x[place], x[3]);
    }
    CHECK(Scalar::all_finite(x, 0));
  }
}

TEST_CASE("activations at some places are those of their formulas") {
  const auto near = [](double value) { return Catch::Approx(value).epsilon(1e-6); };
  const auto at = [](ActivationKind kind, float x) {
    float y = 0.0f;
    Scalar::activate({.kind = kind}, &x, 1, &y);
    return y;
  };
  CHECK(at(ActivationKind::silu, 1.0f) == near(0.7310585786300049));
  CHECK(at(ActivationKind::silu, -2.0f) == near(-0.2384058440442351));
  CHECK(at(ActivationKind::gelu, 1.0f) == near(0.8413447460685429));
  CHECK(at(ActivationKind::gelu, -2.0f) == near(-0.04550026389635842));
  CHECK(at(ActivationKind::gelu_tanh, 1.0f) == near(0.8411919906082768));
  CHECK(at(ActivationKind::gelu_tanh, -0.5f) == near(-0.1542859899));
  for (const ActivationKind kind : {ActivationKind::relu, ActivationKind::relu2}) {
    CHECK(same_bits(at(kind, -2.0f), 0.0f));
    CHECK(same_bits(at(kind, -0.0f), 0.0f));
  }
  CHECK(at(ActivationKind::relu, 3.0f) == 3.0f);
  CHECK(at(ActivationKind::relu2, 3.0f) == 9.0f);
  CHECK(at(ActivationKind::relu, 0.5f) == 0.5f);
  CHECK(at(ActivationKind::relu2, 0.5f) == 0.25f);
  const float two[] = {1.0f, 2.0f};
  float written[] = {0.0f, 7.0f};
  Scalar::activate({.kind = ActivationKind::relu}, two, 1, written);
  CHECK(written[0] == 1.0f);
  CHECK(written[1] == 7.0f);
  float third[] = {0.0f, std::log(3.0f), 5.0f};
  Scalar::sigmoid(third, 2);
  CHECK(third[0] == 0.5f);
  CHECK(third[1] == near(0.75));
  CHECK(third[2] == 5.0f);
}

TEST_CASE("gated activations multiply what goes up, and gpt-oss's clamps both") {
  const float gate[] = {1.0f, -2.0f, 5.0f};
  const float up[] = {4.0f, 0.5f, -1.0f};
  float y[] = {0.0f, 0.0f, 0.0f, 6.0f};
  Scalar::glu({.kind = ActivationKind::relu}, gate, up, 3, y);
  CHECK(std::vector<float>(y, y + 4) == std::vector<float>{4.0f, 0.0f, -5.0f, 6.0f});

  const Activation clamped{.kind = ActivationKind::clamped_swiglu, .alpha = 1.0f, .limit = 2.0f};
  const float large[] = {3.0f, -3.0f, 3.0f};
  const float beyond[] = {9.0f, 1.0f, -9.0f};
  Scalar::glu(clamped, large, beyond, 3, y);
  CHECK(y[0] == Catch::Approx(3.0 * 2.0 * 0.8807970779778823).epsilon(1e-6));    // gate and up at the limit
  CHECK(y[1] == Catch::Approx(2.0 * -3.0 * 0.04742587317756678).epsilon(1e-6));  // a gate has no lower limit
  CHECK(y[2] == Catch::Approx(-1.0 * 2.0 * 0.8807970779778823).epsilon(1e-6));
  const float one = 1.0f;
  Scalar::glu({.kind = ActivationKind::clamped_swiglu}, &one, &one, 1, y);
  CHECK(y[0] == Catch::Approx(2.0 / (1.0 + std::exp(-1.702))).epsilon(1e-6));
}

TEST_CASE("a rotation turns the pair (i, i + half) by its angle") {
  float x[] = {1.0f, 2.0f, 3.0f, 4.0f, 9.0f};
  const float cosine[] = {0.0f, 0.5f};
  const float sine[] = {1.0f, 0.25f};
  Scalar::rope(x, cosine, sine, 2);
  CHECK(std::vector<float>(x, x + 5) == std::vector<float>{-3.0f, 0.0f, 1.0f, 2.5f, 9.0f});
}

TEST_CASE("softmax of different numbers, of nothing, and of rows with nothing allowed") {
  float x[] = {0.0f, std::log(2.0f), std::log(5.0f), 7.0f};
  Scalar::softmax(x, 3);
  CHECK(x[0] == Catch::Approx(0.125));
  CHECK(x[1] == Catch::Approx(0.25));
  CHECK(x[2] == Catch::Approx(0.625));
  CHECK(x[3] == 7.0f);
  float large[] = {1000.0f, 1000.0f};
  Scalar::softmax(large, 2);
  CHECK(large[0] == 0.5f);
  constexpr float none = -std::numeric_limits<float>::infinity();
  float masked[] = {none, none, none};
  Scalar::softmax(masked, 2);
  CHECK(same_bits(masked[0], 0.0f));
  CHECK(same_bits(masked[1], 0.0f));
  CHECK(masked[2] == none);
}

TEST_CASE("the epsilon of RMSNorm is added to the mean of the squares") {
  const float x[] = {1.0f, 1.0f};
  const float weight[] = {1.0f, 3.0f};
  float y[] = {0.0f, 0.0f, 5.0f};
  Scalar::rms_norm(x, weight, 1.0f, 2, y);
  CHECK(y[0] == Catch::Approx(std::sqrt(0.5)));
  CHECK(y[1] == Catch::Approx(3.0 * std::sqrt(0.5)));
  CHECK(y[2] == 5.0f);
}

TEST_CASE("a tile holds column after column, and a product of more panels keeps its stride") {
  const float first[] = {1.0f, 2.0f, 3.0f};
  const float second[] = {4.0f, 5.0f, 6.0f};
  const float* rows[] = {first, second};
  float tile[7] = {0, 0, 0, 0, 0, 0, 8.0f};
  Scalar::make_tile(F32Tile{}, rows, 2, 3, tile);
  CHECK(std::vector<float>(tile, tile + 7) == std::vector<float>{1, 4, 2, 5, 3, 6, 8});

  std::vector<float> weights(20 * 3, 1.0f);
  weights[19 * 3 + 2] = 2.0f;
  const Panel16<F32> panels(ConstRows(weights.data(), 20, 3));
  std::vector<float> y(2 * 40, 7.0f);
  Scalar::multiply(F32{}, panels.view().data, 3, 2, tile, 2, y.data(), 40);
  CHECK(y[0] == 6.0f);
  CHECK(y[18] == 6.0f);
  CHECK(y[19] == 9.0f);
  CHECK(y[20] == 0.0f);
  CHECK(y[32] == 7.0f);
  CHECK(y[40] == 15.0f);
  CHECK(y[59] == 21.0f);
  CHECK(y[72] == 7.0f);
}

TEST_CASE("the k largest of a row come best first, ties by position") {
  const float keys[] = {1.0f, 3.0f, 2.0f, 3.0f, 9.0f};
  index_t order[] = {-1, -1, -1, -1, -1};
  CHECK(Scalar::top_k(keys, 4, 3, order) == 3);
  CHECK(std::vector<index_t>(order, order + 5) == std::vector<index_t>{1, 3, 2, -1, -1});
  CHECK(Scalar::top_k(keys, 2, 3, order) == 2);
  CHECK(Scalar::top_k(keys, 0, 3, order) == 0);
}
