#include "headgate/experts/scaled_input.hpp"

#include "headgate/experts/glu_experts.hpp"
#include "headgate/experts/zero_compute.hpp"
#include "headgate/kernels/native.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/reference_moe.hpp"

using namespace headgate;

TEST_CASE("experts behind a scaled input see factor times x; factor 1 changes no bit") {
  const GluShape shape{.num_experts = 2, .hidden_size = 7, .ffn_size = 5};
  const reference::Bank matrices(shape, 1);
  using Bank = WithZeroComputeExperts<GluExperts<>>;
  const auto bank = [&] {
    return Bank(GluExperts<>(shape, matrices.matrices()), {ZeroComputeExpert{ZeroComputeKind::identity}});
  };
  const std::vector<float> x = random_floats(21, 1.0f, 2);
  std::vector<float> twice = x;
  for (float& v : twice) v *= 2.0f;
  RoutingPlan plan;
  plan.clear(3);
  const ExpertId experts[] = {2, 0, 1};
  const float weights[] = {0.5f, 0.25f, -1.0f};
  throw_if_error(plan.append_row(std::span(experts).first(2), std::span(weights).first(2)));
  throw_if_error(plan.append_row({}, {}));
  throw_if_error(plan.append_row(experts, weights));
  Context ctx;
  const auto apply = [&](const auto& to, const std::vector<float>& in) {
    std::vector<float> y(21, 0.0f);
    throw_if_error(to.apply(plan, ConstRows(in.data(), 3, 7), Rows(y.data(), 3, 7), ctx));
    return y;
  };
  const auto scaled = ScaledInput<Bank>::create(bank(), 2.0f).value();
  CHECK(scaled.num_experts() == 3);
  CHECK(scaled.hidden_size() == 7);
  CHECK(scaled.expert_bytes() == bank().expert_bytes());
  CHECK(apply(scaled, x) == apply(bank(), twice));
  CHECK(apply(ScaledInput<Bank>::create(bank(), 1.0f).value(), x) == apply(bank(), x));
  CHECK_FALSE(ScaledInput<Bank>::create(bank(), std::nanf("")).has_value());
  std::vector<float> y(21);
  CHECK(scaled.apply(plan, ConstRows(x.data(), 2, 7), Rows(y.data(), 3, 7), ctx).allowed == 3);
}
