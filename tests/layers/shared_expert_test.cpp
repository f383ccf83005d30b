#include "headgate/layers/shared_expert.hpp"

#include "headgate/experts/any_experts.hpp"
#include "headgate/experts/glu_experts.hpp"
#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"

using namespace headgate;
using reference::Matrix;

namespace {

const GluShape shape{1, 42, 37, {}, true, false};
using Glu = GluExperts<F32, Scalar>;
Glu bank(unsigned seed) { return Glu(shape, reference::Bank(shape, seed).matrices()); }

}  // namespace

TEST_CASE("a plain shared expert is added with weight one to what y holds") {
  const SharedExpert<Glu> shared(bank(1));
  CHECK(shared.hidden_size() == 42);
  CHECK(shared.bytes() == bank(1).expert_bytes());
  std::mt19937 rng(2);
  const Matrix x = Matrix::random(5, 42, 1.0f, rng);
  Matrix y(5, 42);
  RoutingPlan plan;
  Context ctx;
  REQUIRE(shared.add(x.view(), y.view(), plan, ctx).ok());
  CHECK(reference::worst(reference::Bank(shape, 1).layer(plan, x.view()), y.view()) <= 1.0);
  CHECK(plan.weights()[4] == 1.0f);
  Matrix above(5, 42, 3.0f);
  REQUIRE(shared.add(x.view(), above.view(), plan, ctx).ok());
  for (std::size_t i = 0; i < y.values.size(); ++i)
    CHECK(above.values[i] == Catch::Approx(3.0 + static_cast<double>(y.values[i])));
}

TEST_CASE("a gated shared expert is weighed by the sigmoid of its gate") {
  std::mt19937 rng(3);
  const std::vector<float> gate = Matrix::random(1, 42, 1.0f, rng).values;
  const SharedExpert<AnyExperts> shared(bank(4), gate);
  CHECK(shared.bytes() == bank(4).expert_bytes() + 4 * 42);
  const Matrix x = Matrix::random(6, 42, 1.0f, rng);
  Matrix y(6, 42);
  RoutingPlan plan;
  Context ctx;
  REQUIRE(shared.add(x.view(), y.view(), plan, ctx).ok());
  for (index_t t = 0; t < 6; ++t) {
    double logit = 0.0;
    for (std::size_t i = 0; i < 42; ++i)
      logit += static_cast<double>(gate[i]) * static_cast<double>(x.view().row(t)[i]);
    CHECK(plan.weights(t)[0] == Catch::Approx(1.0 / (1.0 + std::exp(-logit))).epsilon(1e-6));
  }
  CHECK(reference::worst(reference::Bank(shape, 4).layer(plan, x.view()), y.view()) <= 1.0);
}

TEST_CASE("a shared expert of no tokens computes nothing, and a row that is not finite is an error") {
  const SharedExpert<Glu> shared(bank(5), std::vector<float>(42, 1.0f));
  RoutingPlan plan;
  Context ctx;
  Matrix none(0, 42);
  CHECK(shared.add(none.view(), none.view(), plan, ctx).ok());
  Matrix x(2, 42, 1.0f);
  x.view().row_data(1)[3] = NAN;
  Matrix y(2, 42);
  const Status status = shared.add(x.view(), y.view(), plan, ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.token == 1);
  CHECK(shared.add({x.values.data(), 2, 41}, y.view(), plan, ctx).code == ErrorCode::usage);
}

TEST_CASE("a shared expert that cannot exist is refused") {
  const auto two = SharedExpert<Glu>::create(Glu(GluShape{2, 42, 37}));
  REQUIRE(!two);
  CHECK(std::string(two.error().what()) == "experts in the bank of a shared expert (got 2, allowed 1)");
  const auto gate = SharedExpert<Glu>::create(bank(6), std::vector<float>(41));
  REQUIRE(!gate);
  CHECK(std::string(gate.error().what()) == "size of shared_expert_gate against hidden_size (got 41, allowed 42)");
  CHECK_THROWS_AS(SharedExpert<Glu>(bank(6), std::vector<float>(41)), Error);
}

TEST_CASE("a shared expert says what does not fit, and of which token a gate is not finite") {
  CHECK(refused(SharedExpert<Glu>::create(bank(6))) == "made");
  const SharedExpert<Glu> shared(bank(7), std::vector<float>(42, 1.0f));
  Matrix x(3, 42, 1.0f);
  Matrix y(3, 42);
  RoutingPlan plan;
  Context ctx;
  const auto outcome = [&](ConstRows in, Rows out) { return said(shared.add(in, out, plan, ctx)); };
  CHECK(outcome(x.view(), y.view()) == "ok");
  CHECK(outcome({x.values.data(), 3, 41}, y.view()) == "usage: width of x against hidden_size (got 41, allowed 42)");
  CHECK(outcome(x.view(), {y.values.data(), 2, 42}) ==
        "usage: rows of y against tokens of the plan (got 2, allowed 3)");
  CHECK(outcome(x.view(), {y.values.data(), 3, 41}) == "usage: width of y against hidden_size (got 41, allowed 42)");
  x.values.back() = INFINITY;
  CHECK(outcome(x.view(), y.view()).starts_with("numeric: "));
  CHECK(outcome(x.view(), y.view()).find("token 2") != std::string::npos);
}

TEST_CASE("a shared expert refuses rows without data") {
  const SharedExpert<Glu> shared(bank(8));
  Matrix y(2, 42);
  RoutingPlan plan;
  Context ctx;
  CHECK(said(shared.add({nullptr, 2, 42}, y.view(), plan, ctx)) == "usage: rows of a matrix without data");
  const SharedExpert<Glu> gated(bank(8), std::vector<float>(42, 1.0f));
  CHECK(said(gated.add({nullptr, 2, 42}, y.view(), plan, ctx)) == "usage: rows of a matrix without data");
  CHECK(said(gated.add({y.values.data(), -1, 42}, y.view(), plan, ctx)) ==
        "usage: rows of a matrix, at least (got -1, allowed 0)");
}

TEST_CASE("a shared expert refuses more rows than a plan holds before it looks at one") {
  const SharedExpert<Glu> shared(bank(9), std::vector<float>(42, 1.0f));
  Matrix x(1, 42, 1.0f);
  RoutingPlan plan;
  Context ctx;
  const ConstRows endless(x.values.data(), max_index, 42, 0);  // one row, again and again
  CHECK(said(shared.add(endless, {nullptr, 0, 42}, plan, ctx)) ==
        "usage: number of tokens in a plan (got 2147483647, allowed 2147483646)");
}
