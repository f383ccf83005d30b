#include "headgate/experts/output_bias.hpp"

#include "headgate/experts/any_experts.hpp"
#include "headgate/experts/glu_experts.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"

using namespace headgate;
using reference::Matrix;

namespace {

constexpr GluShape shape{.num_experts = 5, .hidden_size = 14, .ffn_size = 9};
static_assert(Experts<WithOutputBias<AnyExperts>>);

}  // namespace

TEST_CASE("an output bias is added to every token once, to what is there") {
  const reference::Bank weights(shape, 1);
  const AnyExperts plain = GluExperts<F32>(shape, weights.matrices());
  std::mt19937 rng(2);
  const Matrix bias = Matrix::random(1, 14, 1.0f, rng);
  const auto bank = WithOutputBias<AnyExperts>::create(plain, bias.values).value();
  CHECK(bank.num_experts() == 5);
  CHECK(bank.hidden_size() == 14);
  CHECK(bank.expert_bytes() == plain.expert_bytes());
  const Matrix x = Matrix::random(6, 14, 1.0f, rng);
  const RoutingPlan plan = reference::random_plan(6, 5, [](index_t t) { return t; }, 3);  // the first has no expert
  const Matrix there = Matrix::random(6, 14, 1.0f, rng);
  Context ctx;
  Matrix y = there;
  throw_if_error(bank.apply(plan, x.view(), y.view(), ctx));
  Matrix expected = there;
  for (index_t t = 0; t < 6; ++t) {
    for (index_t c = 0; c < 14; ++c) expected.view().row(t)[as_size(c)] += bias.values[as_size(c)];
  }
  throw_if_error(plain.apply(plan, x.view(), expected.view(), ctx));
  CHECK(y == expected);
}

TEST_CASE("no output bias is the bank in bits") {
  const reference::Bank weights(shape, 1);
  const AnyExperts plain = GluExperts<F32>(shape, weights.matrices());
  const auto bank = WithOutputBias<AnyExperts>::create(plain, {}).value();
  std::mt19937 rng(2);
  const Matrix x = Matrix::random(3, 14, 1.0f, rng);
  const RoutingPlan plan = reference::random_plan(3, 5, [](index_t) { return 2; }, 3);
  Context ctx;
  Matrix y(3, 14, -0.0f);
  Matrix expected = y;
  throw_if_error(bank.apply(plan, x.view(), y.view(), ctx));
  throw_if_error(plain.apply(plan, x.view(), expected.view(), ctx));
  CHECK(y == expected);
}

TEST_CASE("an output bias that does not fit its bank, and rows that do not fit either, are refused") {
  const reference::Bank weights(shape, 1);
  const AnyExperts plain = GluExperts<F32>(shape, weights.matrices());
  std::vector<float> bias(13);
  CHECK(refused(WithOutputBias<AnyExperts>::create(plain, bias)) == "size of an output bias (got 13, allowed 14)");
  bias.resize(14);
  bias[3] = INFINITY;
  CHECK_FALSE(WithOutputBias<AnyExperts>::create(plain, bias));
  bias[3] = 1.0f;
  const auto bank = WithOutputBias<AnyExperts>::create(plain, bias).value();
  Context ctx;
  const Matrix x(2, 14);
  Matrix y(3, 14);
  CHECK_FALSE(bank.apply(reference::random_plan(2, 5, [](index_t) { return 1; }, 3), x.view(), y.view(), ctx).ok());
  CHECK(y == Matrix(3, 14));
}
