#include "headgate/routing/hard_top_k.hpp"

#include "support/catch.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

// Logits of the one token are the gate's numbers.
constexpr float gate[] = {-1.0f, 3.0f, 0.5f, -2.0f, 3.0f};

template <class R>
void check(const R& router, const std::vector<ExpertId>& experts, float weight) {
  const float one = 1.0f;
  Context ctx;
  typename R::State state;
  RoutingPlan plan;
  throw_if_error(router.route({.hidden = {&one, 1, 1}}, state, plan, ctx));
  CHECK(std::vector<ExpertId>(plan.experts(0).begin(), plan.experts(0).end()) == experts);
  CHECK(std::vector<float>(plan.weights(0).begin(), plan.weights(0).end()) ==
        std::vector<float>(experts.size(), weight));
}

}  // namespace

TEST_CASE("routers of cut networks weigh all they choose alike") {
  const GateWeights weights{.gate = {gate, 5, 1}};
  check(spt_router(weights, 2).value(), {1, 4}, 1.0f);
  check(spt_router(weights, 5).value(), {1, 4, 2, 0, 3}, 1.0f);
  check(duo_llm_router(weights).value(), {1}, 1.0f);
  check(factor_llm_router(weights, 1).value(), {1}, 5.0f);
  check(factor_llm_router(weights, 2).value(), {1, 4}, 2.0f);  // 5 / 2 in whole numbers, as in the code
  check(factor_llm_router(weights, 5).value(), {1, 4, 2, 0, 3}, 1.0f);
}

TEST_CASE("biases of a hard gate choose") {
  const float bias[] = {0.0f, 0.0f, 9.0f, 0.0f, 0.0f};
  const GateWeights weights{.gate = {gate, 5, 1}, .gate_bias = bias};
  check(spt_router(weights, 1).value(), {2}, 1.0f);
  check(factor_llm_router(weights, 3).value(), {2, 1, 4}, 1.0f);
}

TEST_CASE("hard routers refuse a k that they cannot have") {
  const GateWeights weights{.gate = {gate, 5, 1}};
  for (const index_t k : {-1, 0, 6}) {
    CHECK_FALSE(spt_router(weights, k));
    CHECK_FALSE(factor_llm_router(weights, k));
  }
}
