#include "headgate/experts/any_experts.hpp"

#include "headgate/experts/glu_experts.hpp"
#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"

using namespace headgate;
using reference::Matrix;

TEST_CASE("an erased bank gives the bits of the concrete one and can be moved") {
  const GluShape shape{5, 26, 37, {}, true, true};
  const reference::Bank plain(shape, 1);
  const GluExperts<Bf16, Scalar> concrete(shape, plain.matrices());
  AnyExperts first = GluExperts<Bf16, Scalar>(shape, plain.matrices());
  AnyExperts bank = std::move(first);
  CHECK(bank.num_experts() == 5);
  CHECK(bank.hidden_size() == 26);
  CHECK(bank.expert_bytes() == concrete.expert_bytes());

  std::mt19937 rng(2);
  const Matrix x = Matrix::random(9, 26, 1.0f, rng);
  const RoutingPlan plan = reference::random_plan(9, 5, [](index_t t) { return t % 4; }, 3);
  Context ctx;
  Matrix expected(9, 26);
  Matrix y(9, 26);
  REQUIRE(concrete.apply(plan, x.view(), expected.view(), ctx).ok());
  REQUIRE(bank.apply(plan, x.view(), y.view(), ctx).ok());
  CHECK(y == expected);
  CHECK(bank.apply(plan, x.view(), {y.values.data(), 8, 26}, ctx).code == ErrorCode::usage);

  bank = GluExperts<F32, Scalar>(GluShape{2, 8, 8, {}, true, false});  // another type
  CHECK(bank.num_experts() == 2);
  CHECK(bank.apply(plan, x.view(), y.view(), ctx).code == ErrorCode::usage);
}
