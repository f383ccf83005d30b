#include "headgate/routing/gated_router.hpp"

#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/cosine_gate.hpp"
#include "headgate/routing/linear_gate.hpp"
#include "headgate/routing/stages/top_k.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"

namespace {
using namespace headgate;

using Gated = GatedRouter<LinearGate<>, SoftmaxScore, TopK, Renormalize>;
}  // namespace

TEST_CASE(
    "a gated router whose gate is a matrix is the staged router of that matrix, biases, masks and edits included") {
  const index_t experts = 11, hidden = 26, tokens = 9;
  const std::vector<float> gate = random_floats(experts * hidden, 0.5f, 1);
  const std::vector<float> bias = random_floats(experts, 0.1f, 2);
  const std::vector<float> x = random_floats(tokens * hidden, 1.0f, 3);
  const std::vector<std::uint8_t> mask = {1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1};
  const ConstRows rows{gate.data(), experts, hidden};
  const TopKSoftmax staged({.gate = rows, .selection_bias = bias, .mask = mask}, {3}, {});
  const auto gated = Gated::create(LinearGate<>::create(rows), {3}, {}, {}, bias, mask).value();
  CHECK(gated.num_experts() == experts);
  CHECK(gated.hidden_size() == hidden);
  CHECK(gated.gate().num_experts() == experts);
  CHECK(gated.traits().k_max == 3);
  CHECK(routed(gated, {x.data(), tokens, hidden}) == routed(staged, {x.data(), tokens, hidden}));
  const std::vector<std::uint8_t> other(mask.rbegin(), mask.rend());
  for (const RouteEdits& edits :
       {RouteEdits{.k = 2}, RouteEdits{.expert_mask = other, .mask_meaning = MaskMeaning::prune}}) {
    CHECK(routed(gated, {x.data(), tokens, hidden}, edits) == routed(staged, {x.data(), tokens, hidden}, edits));
  }
}

TEST_CASE("a gated router hands on what its gate or its selection refuses, and names token and layer of a bad row") {
  const std::vector<float> axes = identity_gate(3);
  using Cosine = GatedRouter<CosineGate<>, SoftmaxScore, TopK, Keep>;
  CHECK(std::string(Cosine::create(CosineGate<>::create({}), {1}, {}).error().what()) ==
        "prototypes of a gate (experts), at least (got 0, allowed 1)");
  const CosineGateWeights weights{.prototypes = {axes.data(), 3, 3}};
  CHECK(std::string(Cosine::create(CosineGate<>::create(weights), {4}, {}).error().what()) ==
        "k of top-k against experts (got 4, allowed 3)");
  const auto router = Cosine::create(CosineGate<>::create(weights), {1}, {}).value();
  std::vector<float> x(9, 1.0f);
  Context ctx;
  NoState state;
  RoutingPlan plan;
  CHECK(router.route({.hidden = {x.data(), 4, 2}}, state, plan, ctx).allowed == 3);
  CHECK(router.route({.hidden = {x.data(), 3, 3}, .edits = {.k = 5}}, state, plan, ctx).found == 5);
  x[5] = std::nanf("");
  const Status status = router.route({.hidden = {x.data(), 3, 3}, .layer = 4}, state, plan, ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.layer == 4);
  CHECK(status.token == 1);
  CHECK(status.expert == 0);
  CHECK(plan.tokens() == 0);
}
