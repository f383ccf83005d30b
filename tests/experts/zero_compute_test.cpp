#include "headgate/experts/zero_compute.hpp"

#include "headgate/experts/any_experts.hpp"
#include "headgate/experts/glu_experts.hpp"
#include "headgate/kernels/scalar.hpp"
#include "support/applied.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;
using reference::applied;
using reference::Matrix;

namespace {

using Glu = GluExperts<F32, Scalar>;
using Bank = WithZeroComputeExperts<Glu, Scalar>;

constexpr index_t hidden = 26;
constexpr index_t ffn_experts = 3;

Glu glu(unsigned seed) {
  const GluShape shape{ffn_experts, hidden, 37, {}, true, false};
  return Glu(shape, reference::Bank(shape, seed).matrices());
}
ZeroComputeExpert constant(unsigned seed) {
  std::mt19937 rng(seed);
  return {ZeroComputeKind::constant, Matrix::random(1, hidden, 1.0f, rng).values,
          Matrix::random(2, hidden, 1.0f, rng).values};
}
RoutingPlan row(index_t num_experts, std::vector<ExpertId> ids, std::vector<float> weights) {
  RoutingPlan plan;
  plan.clear(num_experts);
  throw_if_error(plan.append_row(ids, weights));
  return plan;
}

}  // namespace

TEST_CASE("zero, identity and constant experts do what their names say") {
  const ZeroComputeExpert fixed = constant(1);
  const Bank bank(glu(2), {{ZeroComputeKind::zero}, {ZeroComputeKind::identity}, fixed});
  STATIC_REQUIRE(ExpertMajorBank<Bank>);
  CHECK(bank.num_experts() == 6);
  CHECK(bank.hidden_size() == hidden);
  CHECK(bank.expert_bytes() == bank.bank().expert_bytes());
  std::mt19937 rng(3);
  const Matrix x = Matrix::random(1, hidden, 1.0f, rng);

  CHECK(applied(bank, row(6, {3}, {0.7f}), x) == Matrix(1, hidden));
  Matrix twice = x;
  for (float& value : twice.values) value *= 2.0f;
  CHECK(applied(bank, row(6, {4}, {2.0f}), x) == twice);

  double logit[2] = {};
  for (std::size_t c = 0; c < as_size(hidden); ++c) {
    logit[0] += static_cast<double>(fixed.gate[c]) * static_cast<double>(x.values[c]);
    logit[1] += static_cast<double>(fixed.gate[as_size(hidden) + c]) * static_cast<double>(x.values[c]);
  }
  const double a = 1.0 / (1.0 + std::exp(logit[1] - logit[0]));
  const Matrix y = applied(bank, row(6, {5}, {0.3f}), x);
  for (std::size_t c = 0; c < as_size(hidden); ++c) {
    const double expected = a * static_cast<double>(x.values[c]) + (1.0 - a) * static_cast<double>(fixed.value[c]);
    CHECK(static_cast<double>(y.values[c]) == Catch::Approx(0.3 * expected).margin(1e-6));
  }
}

TEST_CASE("feed-forward experts come first and cost what they cost alone") {
  const Bank bank(glu(4), {{ZeroComputeKind::identity}, {ZeroComputeKind::zero}});
  std::mt19937 rng(5);
  const Matrix x = Matrix::random(1, hidden, 1.0f, rng);
  const Matrix alone = applied(bank.bank(), row(ffn_experts, {2, 0}, {0.5f, 0.25f}), x);
  const Matrix y = applied(bank, row(5, {4, 2, 3, 0}, {0.9f, 0.5f, 0.125f, 0.25f}), x);
  for (std::size_t c = 0; c < as_size(hidden); ++c)
    CHECK(y.values[c] == fused_multiply_add(0.125f, x.values[c], alone.values[c]));
}

TEST_CASE("the rows that cost a feed-forward network are the entries less the zero-computation ones (P20)") {
  const Bank bank(glu(6), {{ZeroComputeKind::zero}, {ZeroComputeKind::identity}, constant(7)});
  const RoutingPlan plan = reference::random_plan(50, 6, [](index_t t) { return t % 5; }, 8);
  index_t counted = 0;
  for (index_t t = 0; t < plan.tokens(); ++t) {
    for (const ExpertId e : plan.experts(t)) counted += e <= 2 ? 1 : 0;
  }
  CHECK(bank.ffn_rows(plan) == counted);
  CHECK(counted < plan.entries());
  CHECK(bank.ffn_rows(row(6, {3, 4, 5}, {1.0f, 1.0f, 1.0f})) == 0);
}

TEST_CASE("a zero-computation bank gives the same bits for any threads and batch") {
  const Bank bank(glu(9), {{ZeroComputeKind::identity}, constant(10), {ZeroComputeKind::zero}});
  std::mt19937 rng(11);
  const Matrix x = Matrix::random(24, hidden, 1.0f, rng);
  const RoutingPlan plan = reference::random_plan(24, 6, [](index_t t) { return t % 5; }, 12);
  const Matrix expected = applied(bank, plan, x);
  for (const index_t threads : {2, 3, 8}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    Matrix y(24, hidden);
    REQUIRE(bank.apply(plan, x.view(), y.view(), ctx).ok());
    CHECK(y == expected);
  }
  for (index_t t = 0; t < 24; ++t) {
    RoutingPlan one;
    one.clear(6);
    REQUIRE(one.append_row(plan.experts(t), plan.weights(t)).ok());
    Matrix y(1, hidden);
    Context ctx;
    REQUIRE(bank.apply(one, ConstRows(x.view()).middle_rows(t, 1), y.view(), ctx).ok());
    CHECK(std::equal(y.values.begin(), y.values.end(), expected.view().row_data(t)));
  }
}

TEST_CASE("a bank may consist of zero-computation experts alone, and be erased") {
  const AnyExperts bank = Bank(Glu(GluShape{0, hidden, 37, {}, true, false}), {{ZeroComputeKind::identity}});
  std::mt19937 rng(13);
  const Matrix x = Matrix::random(1, hidden, 1.0f, rng);
  CHECK(applied(bank, row(1, {0}, {1.0f}), x) == x);
}

TEST_CASE("a zero-computation bank refuses what does not fit") {
  const auto error = [](ZeroComputeExpert expert) {
    const Expected<Bank> bank = Bank::create(glu(14), {{}, std::move(expert)});
    REQUIRE(!bank);
    CHECK(bank.error().code() == ErrorCode::usage);
    return std::string(bank.error().what());
  };
  CHECK(error({ZeroComputeKind::constant}) ==
        "size of the value of a zero-computation expert (got 0, allowed 26), expert 4");
  CHECK(error({ZeroComputeKind::constant, std::vector<float>(26), std::vector<float>(26)}) ==
        "size of the gate of a zero-computation expert (got 26, allowed 52), expert 4");
  CHECK(error({ZeroComputeKind::identity, std::vector<float>(26)}).find("value") != std::string::npos);
  CHECK_THROWS_AS(Bank(glu(15), {{ZeroComputeKind::constant}}), Error);

  const Bank bank(glu(16), {{ZeroComputeKind::identity}});
  Matrix x(1, hidden, 1.0f);
  Matrix y(1, hidden);
  Context ctx;
  CHECK(bank.apply(row(3, {0}, {1.0f}), x.view(), y.view(), ctx).code == ErrorCode::usage);
  x.values[3] = NAN;
  const Status status = bank.apply(row(4, {3}, {1.0f}), x.view(), y.view(), ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.token == 0);
}

TEST_CASE("the ids of zero-computation experts begin where the bank's end") {
  std::vector<ZeroComputeExpert> experts = {{ZeroComputeKind::identity}, {ZeroComputeKind::zero}, constant(20)};
  const Bank bank(glu(21), experts);
  std::mt19937 rng(22);
  const Matrix x = Matrix::random(3, hidden, 1.0f, rng);
  RoutingPlan plan;
  plan.clear(6);
  const ExpertId ids[] = {3, 2, 4};
  const float weights[] = {0.5f, 0.25f, 8.0f};
  for (std::size_t t = 0; t < 3; ++t)
    throw_if_error(plan.append_row(std::span(ids).first(t + 1), std::span(weights).first(t + 1)));
  CHECK(bank.ffn_rows(plan) == 2);
  const Matrix y = applied(bank, plan, x);
  for (std::size_t c = 0; c < as_size(hidden); ++c) CHECK(y.values[c] == 0.5f * x.values[c]);
  const Matrix alone = applied(
      bank.bank(),
      [] {
        RoutingPlan ffn;
        ffn.clear(ffn_experts);
        throw_if_error(ffn.append_row({}, {}));
        for (int t = 0; t < 2; ++t) {
          const ExpertId id = 2;
          const float weight = 0.25f;
          throw_if_error(ffn.append_row({&id, 1}, {&weight, 1}));
        }
        return ffn;
      }(),
      x);
  for (std::size_t i = as_size(hidden); i < y.values.size(); ++i) {
    CHECK(y.values[i] == fused_multiply_add(0.5f, x.values[i], alone.values[i]));
  }
}

TEST_CASE("a zero-computation bank names what does not fit and what is not finite") {
  CHECK(refused(Bank::create(glu(1), {{ZeroComputeKind::identity, {}, {1.0f}}})) ==
        "size of the gate of a zero-computation expert (got 1, allowed 0), expert 3");
  CHECK(refused(Bank::create(glu(1), {{ZeroComputeKind::zero, {1.0f}, {}}})) ==
        "size of the value of a zero-computation expert (got 1, allowed 0), expert 3");
  CHECK(refused(Bank::create(glu(1), {})) == "made");
  CHECK(ZeroComputeExpert{}.kind == ZeroComputeKind::zero);
  const Bank bank(glu(16), {{ZeroComputeKind::identity}, {ZeroComputeKind::zero}});
  const RoutingPlan plan = reference::random_plan(3, 5, [](index_t) { return 5; }, 1);
  Matrix x(3, hidden, 1.0f);
  Matrix y(3, hidden);
  Context ctx;
  CHECK(said(bank.apply(plan, {x.values.data(), 2, hidden}, y.view(), ctx)) ==
        "usage: rows of x against tokens of the plan (got 2, allowed 3)");
  x.values.back() = NAN;
  CHECK(said(bank.apply(plan, x.view(), y.view(), ctx)) ==
        "numeric: input of an expert is not finite, token 2, expert " + std::to_string(plan.experts(2)[0]));
}

TEST_CASE("an error of the bank inside is the error of the whole") {
  const GluShape shape{ffn_experts, hidden, 37, {}, true, false};
  reference::Bank plain(shape, 23);
  for (float& value : plain.down[1].values) value = 3e38f;
  const Bank bank(Glu(shape, plain.matrices()), {{ZeroComputeKind::identity}});
  std::mt19937 rng(24);
  const Matrix x = Matrix::random(1, hidden, 1.0f, rng);
  Matrix y(1, hidden);
  Context ctx;
  CHECK(said(bank.apply(row(4, {3, 1}, {0.5f, 0.5f}), x.view(), y.view(), ctx)) ==
        "numeric: output of an expert is not finite, token 0, expert 1");
}
