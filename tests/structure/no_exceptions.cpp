// Compiled by check_no_exceptions.py after every header of core and routing, with -fno-exceptions.
#include <array>

#include "headgate/kernels/scalar.hpp"

int main() {
  using namespace headgate;
  static_assert(!has_exceptions);
  const std::array<float, 6> gate{1, 0, 0, 1, -1, 0};  // (3 experts, hidden size 2)
  using Router = SoftmaxTopK<Renormalize, Scalar>;
  const Expected<Router> router = Router::create({.gate = {gate.data(), 3, 2}}, TopK{2}, {});
  if (!router.has_value()) return 1;
  const std::array<float, 2> hidden{0.5f, 2.0f};
  RoutingPlan plan;
  NoState state;
  Context ctx;
  if (!router.value().route({.hidden = {hidden.data(), 1, 2}}, state, plan, ctx).ok()) return 2;
  if (plan.experts(0)[0] != 1 || plan.experts(0)[1] != 0) return 3;

  const Expected<Router> refused = Router::create({.gate = {gate.data(), 3, 2}}, TopK{4}, {});
  return !refused.has_value() && refused.error().code() == ErrorCode::usage ? 0 : 4;
}
