#include "headgate/layers/linear.hpp"

#include "headgate/kernels/native.hpp"
#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;
using reference::Matrix;

namespace {

std::vector<std::vector<reference::Bounded>> expected(const Matrix& weights, std::span<const float> bias,
                                                      const Matrix& x) {
  std::vector<std::vector<reference::Bounded>> y(as_size(x.rows));
  for (index_t t = 0; t < x.rows; ++t) {
    std::vector<reference::Bounded> row;
    for (const float value : x.view().row(t)) row.push_back({static_cast<double>(value), 0.0});
    for (index_t r = 0; r < weights.rows; ++r) {
      y[as_size(t)].push_back(
          reference::product(weights.view().row_data(r), row, bias.empty() ? nullptr : &bias[as_size(r)]));
    }
  }
  return y;
}

}  // namespace

TEMPLATE_TEST_CASE("a linear layer agrees with a product in double, for any threads", "", Scalar, NativeBackend) {
  for (const index_t rows : {1, 16, 37, 149}) {
    for (const index_t tokens : {0, 1, 2, 30}) {
      std::mt19937 rng(1);
      Matrix weights = Matrix::random(rows, 26, 1.0f, rng);
      const std::vector<float> bias = Matrix::random(1, rows, 1.0f, rng).values;
      const Matrix x = Matrix::random(tokens, 26, 1.0f, rng);
      const Linear<F32, TestType> plain(weights.view());
      const Linear<F32, TestType> biased(weights.view(), bias);
      const Linear<AnyFormat, TestType> erased(weights.view(), bias, Bf16{});
      CHECK(plain.rows() == rows);
      CHECK(plain.cols() == 26);
      CHECK(biased.bytes() == plain.bytes() + 4 * rows);
      CHECK(plain.weights()(rows - 1, 25) == weights.view().row_data(rows - 1)[25]);
      CHECK(erased.rows() == rows);
      CHECK(erased.format() == Bf16{});
      CHECK(erased.cols() == 26);
      CHECK(erased.bytes() == plain.bytes() / 2 + 4 * rows);
      Matrix first[3];
      for (const index_t threads : {1, 2, 3, 8}) {
        ThreadExecutor executor(threads);
        Context ctx(executor);
        Matrix y[3] = {Matrix(tokens, rows, 9.0f), Matrix(tokens, rows, 9.0f), Matrix(tokens, rows, 9.0f)};
        REQUIRE(plain.forward(x.view(), y[0].view(), ctx).ok());
        REQUIRE(biased.forward(x.view(), y[1].view(), ctx).ok());
        REQUIRE(erased.forward(x.view(), y[2].view(), ctx).ok());
        if (threads == 1) {
          CHECK(reference::worst(expected(weights, {}, x), y[0].view()) <= 1.0);
          CHECK(reference::worst(expected(weights, bias, x), y[1].view()) <= 1.0);
          Matrix rounded = weights;
          for (float& value : rounded.values) value = static_cast<float>(bf16(value));
          CHECK(reference::worst(expected(rounded, bias, x), y[2].view()) <= 1.0);
        }
        for (int i = 0; i < 3; ++i) {
          if (threads == 1) first[i] = y[i];
          CHECK(y[i] == first[i]);
        }
      }
    }
  }
}

TEST_CASE("a linear layer is filled row by row") {
  std::mt19937 rng(2);
  const Matrix weights = Matrix::random(19, 7, 1.0f, rng);
  Linear<F32, Scalar> linear(19, 7, /*has_bias=*/true);
  for (index_t r = 18; r >= 0; --r) {
    linear.set_row(r, weights.view().row_data(r));
    linear.set_bias(r, static_cast<float>(r));
  }
  const Matrix x(1, 7);
  Matrix y(1, 19);
  Context ctx;
  REQUIRE(linear.forward(x.view(), y.view(), ctx).ok());
  for (std::size_t r = 0; r < 19; ++r) CHECK(y.values[r] == static_cast<float>(r));
}

TEST_CASE("a linear layer refuses shapes that do not fit") {
  using Layer = Linear<F32, Scalar>;
  CHECK(std::string(Layer::create(0, 5).error().what()) == "rows of a linear layer, at least (got 0, allowed 1)");
  CHECK(std::string(Layer::create(5, -1).error().what()) == "columns of a linear layer, at least (got -1, allowed 1)");
  CHECK(Layer::create(static_cast<index_t>(max_index), 1).error().code() == ErrorCode::usage);
  const Matrix weights(3, 5);
  const std::vector<float> bias(2);
  CHECK(std::string(Layer::create(weights.view(), bias).error().what()) ==
        "size of the bias against rows (got 2, allowed 3)");
  CHECK(!Layer::create(ConstRows()));
  CHECK_THROWS_AS(Layer(0, 5), Error);
  CHECK_THROWS_AS(Layer(weights.view(), bias), Error);
  const Layer layer(weights.view());
  Matrix x(2, 5);
  Matrix y(2, 3);
  Context ctx;
  CHECK(layer.forward({x.values.data(), 2, 4}, y.view(), ctx).found == 4);
  CHECK(layer.forward(x.view(), {y.values.data(), 2, 2}, ctx).allowed == 3);
  CHECK(layer.forward(x.view(), {y.values.data(), 1, 3}, ctx).found == 1);
}

TEST_CASE("a linear layer is made at the bounds of its shape, and beyond them says which") {
  using Layer = Linear<F32, Scalar>;
  CHECK(refused(Layer::create(1, 1)) == "made");
  CHECK(refused(Layer::create(0, 1)) == "rows of a linear layer, at least (got 0, allowed 1)");
  CHECK(refused(Layer::create(1, 0)) == "columns of a linear layer, at least (got 0, allowed 1)");
  constexpr auto largest = static_cast<index_t>(max_index);
  CHECK(refused(Layer::create(largest - 1, 1)) ==
        "rows of a linear layer, at most (got 2147483646, allowed 2147483631)");
  CHECK(refused(Layer::create(largest - 15, 1)) ==
        "rows of a linear layer, at most (got 2147483632, allowed 2147483631)");
}

TEST_CASE("a linear layer says which shape of x and y does not fit, and adds its bias on any number of threads") {
  std::vector<float> bias(5);
  for (std::size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<float>(i) + 1.0f;
  const Matrix weights(5, 3);
  const Linear<F32, Scalar> layer(weights.view(), bias);
  Matrix x(7, 3, 1.0f);
  Matrix y(7, 5);
  Context serial;
  const auto outcome = [&](ConstRows in, Rows out) { return said(layer.forward(in, out, serial)); };
  CHECK(outcome({x.values.data(), 7, 2}, y.view()) ==
        "usage: width of x against columns of a linear layer (got 2, allowed 3)");
  CHECK(outcome(x.view(), {y.values.data(), 7, 4}) ==
        "usage: width of y against rows of a linear layer (got 4, allowed 5)");
  CHECK(outcome(x.view(), {y.values.data(), 6, 5}) == "usage: rows of y against rows of x (got 6, allowed 7)");
  for (const index_t threads : {1, 2, 3, 9}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    Matrix out(9, 5, -1.0f);
    REQUIRE(layer.forward(x.view(), out.view().middle_rows(1, 7), ctx).ok());
    for (index_t t = 0; t < 9; ++t) {
      for (std::size_t i = 0; i < 5; ++i) CHECK(out.view().row(t)[i] == (t == 0 || t == 8 ? -1.0f : bias[i]));
    }
  }
  CHECK(layer.bytes() == 16 * 3 * 4 + 5 * 4);
}

TEST_CASE("a linear layer refuses weights and rows without data, and output over its input") {
  using Layer = Linear<F32, Scalar>;
  CHECK(refused(Layer::create(ConstRows(nullptr, 2, 2))) == "rows of a matrix without data");
  const Matrix weights(2, 2, 1.0f);
  const Layer layer(weights.view());
  Matrix x(3, 2, 1.0f);
  Matrix y(3, 2);
  Context ctx;
  CHECK(said(layer.forward({nullptr, 3, 2}, y.view(), ctx)) == "usage: rows of a matrix without data");
  CHECK(said(layer.forward(x.view(), {nullptr, 3, 2}, ctx)) == "usage: rows of a matrix without data");
  CHECK(said(layer.forward(x.view(), x.view(), ctx)) == "usage: output that overlaps its input");
}
