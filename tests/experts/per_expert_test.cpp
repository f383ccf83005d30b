#include "headgate/experts/per_expert.hpp"

#include <stdexcept>

#include "headgate/experts/glu_experts.hpp"
#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;
using reference::Matrix;

namespace {

// One feed-forward expert as a user might write it: a bank of one.
struct OwnExpert {
  GluExperts<F32, Scalar> ffn;
  void forward(ConstRows in, Rows out) const {
    RoutingPlan plan;
    plan.clear(1);
    const ExpertId id = 0;
    const float weight = 1.0f;
    for (index_t t = 0; t < in.rows; ++t) throw_if_error(plan.append_row({&id, 1}, {&weight, 1}));
    for (index_t t = 0; t < in.rows; ++t) std::fill_n(out.row_data(t), out.cols, 0.0f);
    Context ctx;
    throw_if_error(ffn.apply(plan, in, out, ctx));
  }
  std::int64_t bytes() const noexcept { return ffn.bytes(); }
};

struct Scaled {
  float factor;
  void forward(ConstRows in, Rows out) const {
    for (index_t t = 0; t < in.rows; ++t) {
      for (index_t c = 0; c < in.cols; ++c) out.row_data(t)[c] = factor * in.row_data(t)[c];
    }
  }
};

struct Refusal : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Refusing {
  bool refuses;
  void forward(ConstRows in, Rows out) const {
    if (refuses) throw Refusal("not today");
    Scaled{1.0f}.forward(in, out);
  }
};

}  // namespace

TEST_CASE("a bank of a user's experts gives the bits of the bank of feed-forward experts") {
  const GluShape shape{5, 26, 37, {}, true, false};
  const reference::Bank plain(shape, 1);
  std::vector<OwnExpert> experts;
  for (index_t e = 0; e < 5; ++e) {
    const std::vector<GluMatrices> one = {plain.matrices(e)};
    experts.push_back({GluExperts<F32, Scalar>({1, 26, 37, {}, true, false}, one)});
  }
  const PerExpert<OwnExpert, Scalar> bank(26, std::move(experts));
  const GluExperts<F32, Scalar> glu(shape, plain.matrices());
  STATIC_REQUIRE(ExpertMajorBank<PerExpert<OwnExpert, Scalar>>);
  CHECK(bank.num_experts() == 5);
  CHECK(bank.hidden_size() == 26);
  CHECK(bank.expert_bytes() == glu.expert_bytes());

  std::mt19937 rng(2);
  const Matrix x = Matrix::random(40, 26, 1.0f, rng);
  const RoutingPlan plan = reference::random_plan(40, 5, [](index_t t) { return t % 4; }, 3);
  Matrix expected(40, 26);
  Context serial;
  REQUIRE(glu.apply(plan, x.view(), expected.view(), serial).ok());
  for (const index_t threads : {1, 2, 3, 8}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    Matrix y(40, 26);
    REQUIRE(bank.apply(plan, x.view(), y.view(), ctx).ok());
    CHECK(y == expected);
  }
}

TEST_CASE("the exception of a user's expert passes through apply, also from another thread") {
  RoutingPlan plan;
  plan.clear(3);
  const ExpertId ids[] = {0, 1, 2};
  const float weights[] = {1.0f, 1.0f, 1.0f};
  REQUIRE(plan.append_row(ids, weights).ok());
  const Matrix x(1, 4, 1.0f);
  Matrix y(1, 4);
  for (std::size_t who = 0; who < 3; ++who) {
    std::vector<Refusing> experts(3, {false});
    experts[who].refuses = true;
    const PerExpert<Refusing, Scalar> bank(4, experts);
    for (const index_t threads : {1, 3}) {
      ThreadExecutor executor(threads);
      Context ctx(executor);
      CHECK_THROWS_AS(bank.apply(plan, x.view(), y.view(), ctx), Refusal);
    }
  }
  // The context serves again.
  Context ctx;
  const PerExpert<Refusing, Scalar> bank(4, std::vector<Refusing>(3, {false}));
  y = Matrix(1, 4);
  REQUIRE(bank.apply(plan, x.view(), y.view(), ctx).ok());
  CHECK(y == Matrix(1, 4, 3.0f));
}

TEST_CASE("what a user's experts return is checked, and what they are given") {
  const PerExpert<Scaled, Scalar> bank(4, {{1.0f}, {NAN}});
  CHECK(bank.expert_bytes() == 0);
  RoutingPlan plan;
  plan.clear(2);
  const ExpertId ids[] = {0, 1};
  const float weights[] = {1.0f, 1.0f};
  REQUIRE(plan.append_row(std::span(ids).first(1), std::span(weights).first(1)).ok());
  REQUIRE(plan.append_row(ids, weights).ok());
  Matrix x(2, 4, 1.0f);
  Matrix y(2, 4);
  Context ctx;
  const Status output = bank.apply(plan, x.view(), y.view(), ctx);
  CHECK(output.code == ErrorCode::numeric);
  CHECK(output.token == 1);
  CHECK(output.expert == 1);
  x.values[0] = INFINITY;
  const Status input = bank.apply(plan, x.view(), y.view(), ctx);
  CHECK(input.code == ErrorCode::numeric);
  CHECK(input.token == 0);
  CHECK(bank.apply(plan, {x.values.data(), 2, 3}, y.view(), ctx).code == ErrorCode::usage);
  CHECK_THROWS_AS((PerExpert<Scaled, Scalar>(0, {{1.0f}})), Error);
}

namespace {

struct WritesZero {
  void forward(ConstRows, Rows out) const {
    for (index_t t = 0; t < out.rows; ++t) std::fill_n(out.row_data(t), out.cols, 0.0f);
  }
};
struct Sized {
  std::int64_t size;
  void forward(ConstRows in, Rows out) const { Scaled{1.0f}.forward(in, out); }
  std::int64_t bytes() const noexcept { return size; }
};

}  // namespace

TEST_CASE("a user's expert that hides what is not finite does not see it") {
  const PerExpert<WritesZero, Scalar> bank(2, {{}, {}});
  RoutingPlan plan;
  plan.clear(2);
  const ExpertId ids[] = {1, 0};
  const float weights[] = {1.0f, 1.0f};
  for (int t = 0; t < 3; ++t) REQUIRE(plan.append_row(ids, weights).ok());
  Context ctx;
  Matrix y(3, 2);
  for (const index_t token : {0, 2}) {
    Matrix x(3, 2, 1.0f);
    x.view().row_data(token)[1] = INFINITY;
    CHECK(said(bank.apply(plan, x.view(), y.view(), ctx)) ==
          "numeric: input of an expert is not finite, token " + std::to_string(token) + ", expert 1");
  }
}

TEST_CASE("a bank of a user's experts says how large its largest is, and which sizes it takes") {
  CHECK(PerExpert<Sized, Scalar>(1, {{3}, {7}, {5}}).expert_bytes() == 7);
  CHECK(PerExpert<Sized, Scalar>(1, {}).expert_bytes() == 0);
  CHECK(PerExpert<Sized, Scalar>(1, {}).num_experts() == 0);
  CHECK(refused(PerExpert<Scaled, Scalar>::create(0, {})) == "hidden_size, at least (got 0, allowed 1)");
  const PerExpert<Scaled, Scalar> bank(4, {{1.0f}, {2.0f}});
  const RoutingPlan plan = reference::random_plan(3, 2, [](index_t t) { return t % 3; }, 1);
  const RoutingPlan others = reference::random_plan(3, 3, [](index_t) { return 1; }, 1);
  Matrix x(3, 4, 1.0f);
  Matrix y(3, 4);
  Context ctx;
  const auto outcome = [&](const RoutingPlan& p, ConstRows in, Rows out) { return said(bank.apply(p, in, out, ctx)); };
  CHECK(outcome(plan, x.view(), y.view()) == "ok");
  CHECK(outcome(others, x.view(), y.view()) ==
        "usage: experts of the plan against experts of the bank (got 3, allowed 2)");
  CHECK(outcome(plan, {x.values.data(), 2, 4}, y.view()) ==
        "usage: rows of x against tokens of the plan (got 2, allowed 3)");
  CHECK(outcome(plan, x.view(), {y.values.data(), 2, 4}) ==
        "usage: rows of y against tokens of the plan (got 2, allowed 3)");
  CHECK(outcome(plan, {x.values.data(), 3, 3}, y.view()) == "usage: width of x against hidden_size (got 3, allowed 4)");
  CHECK(outcome(plan, x.view(), {y.values.data(), 3, 3}) == "usage: width of y against hidden_size (got 3, allowed 4)");
}

TEST_CASE("what a user's experts return is named by token and expert, on any number of threads") {
  const PerExpert<Scaled, Scalar> bank(1, {{1.0f}, {3e38f}, {1.0f}});
  RoutingPlan plan;
  plan.clear(3);
  const float weights[] = {1.0f, 1.0f};
  for (int t = 0; t < 6; ++t) {
    const ExpertId ids[] = {t == 5 ? 1 : 2, 0};
    REQUIRE(plan.append_row(ids, weights).ok());
  }
  const Matrix x(6, 1, 2.0f);
  for (const index_t threads : {1, 2, 5}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    Matrix y(6, 1);
    CHECK(said(bank.apply(plan, x.view(), y.view(), ctx)) ==
          "numeric: output of an expert is not finite, token 5, expert 1");
  }
}
