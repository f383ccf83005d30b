#include "headgate/layers/norm.hpp"

#include "headgate/kernels/native.hpp"
#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;
using reference::Matrix;

TEMPLATE_TEST_CASE("rows are normed as the formula says, in place too, for any threads", "", Scalar, NativeBackend) {
  std::mt19937 rng(1);
  const std::vector<float> weight = Matrix::random(1, 26, 2.0f, rng).values;
  const RmsNorm<TestType> norm(weight, 1e-5f);
  CHECK(norm.width() == 26);
  CHECK(norm.epsilon() == 1e-5f);
  CHECK(norm.weight().size() == 26);
  const Matrix x = Matrix::random(9, 26, 3.0f, rng);
  Context serial;
  Matrix y(9, 26);
  REQUIRE(norm.forward(x.view(), y.view(), serial).ok());
  for (index_t t = 0; t < 9; ++t) {
    double square = 0.0;
    for (const float value : x.view().row(t)) square += static_cast<double>(value) * static_cast<double>(value);
    for (std::size_t c = 0; c < 26; ++c) {
      const double expected =
          static_cast<double>(x.view().row(t)[c]) / std::sqrt(square / 26.0 + 1e-5) * static_cast<double>(weight[c]);
      CHECK(static_cast<double>(y.view().row(t)[c]) == Catch::Approx(expected).epsilon(1e-6));
    }
  }
  for (const index_t threads : {2, 3, 8}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    Matrix in_place = x;
    REQUIRE(norm.forward(in_place.view(), in_place.view(), ctx).ok());
    CHECK(in_place == y);
  }
  CHECK(norm.forward({x.values.data(), 0, 26}, {y.values.data(), 0, 26}, serial).ok());
}

TEST_CASE("a norm refuses what does not fit") {
  using Norm = RmsNorm<Scalar>;
  CHECK(std::string(Norm::create({}, 1e-5f).error().what()) == "width of a norm, at least (got 0, allowed 1)");
  for (const float epsilon : {NAN, -1e-5f, INFINITY}) CHECK(!Norm::create({1.0f}, epsilon));
  CHECK_THROWS_AS(Norm({}, 0.0f), Error);
  const Norm norm({1.0f, 1.0f}, 0.0f);
  Matrix x(3, 2);
  Matrix y(3, 2);
  Context ctx;
  CHECK(norm.forward({x.values.data(), 3, 1}, y.view(), ctx).found == 1);
  CHECK(norm.forward(x.view(), {y.values.data(), 3, 1}, ctx).found == 1);
  CHECK(norm.forward(x.view(), {y.values.data(), 2, 2}, ctx).found == 2);
}

TEST_CASE("a norm adds its epsilon, and says which shape does not fit") {
  using Norm = RmsNorm<Scalar>;
  const Norm norm({1.0f, 2.0f}, 1.0f);
  const Matrix x(3, 2, 1.0f);
  Matrix y(3, 2);
  Context ctx;
  REQUIRE(norm.forward(x.view(), y.view(), ctx).ok());
  CHECK(y.values[4] == Catch::Approx(std::sqrt(0.5)));
  CHECK(y.values[5] == Catch::Approx(2.0 * std::sqrt(0.5)));
  CHECK(refused(Norm::create({1.0f}, 0.0f)) == "made");
  CHECK(refused(Norm::create({}, 0.0f)) == "width of a norm, at least (got 0, allowed 1)");
  const auto outcome = [&](ConstRows in, Rows out) { return said(norm.forward(in, out, ctx)); };
  CHECK(outcome({x.values.data(), 3, 1}, y.view()) == "usage: width of x against width of a norm (got 1, allowed 2)");
  CHECK(outcome(x.view(), {y.values.data(), 3, 1}) == "usage: width of y against width of a norm (got 1, allowed 2)");
  CHECK(outcome(x.view(), {y.values.data(), 2, 2}) == "usage: rows of y against rows of x (got 2, allowed 3)");
}

TEST_CASE("a norm refuses rows without data, and output over a part of its input") {
  const RmsNorm<Scalar> norm({1.0f, 2.0f}, 1.0f);
  Matrix x(4, 2, 1.0f);
  Matrix y(4, 2);
  Context ctx;
  CHECK(said(norm.forward({nullptr, 4, 2}, y.view(), ctx)) == "usage: rows of a matrix without data");
  CHECK(said(norm.forward(x.view(), {nullptr, 4, 2}, ctx)) == "usage: rows of a matrix without data");
  CHECK(said(norm.forward(x.view(), x.view(), ctx)) == "ok");
  CHECK(said(norm.forward(ConstRows(x.view()).middle_rows(0, 3), x.view().middle_rows(1, 3), ctx)) ==
        "usage: output that overlaps its input");
}
