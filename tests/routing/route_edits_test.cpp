// The four meanings of a masked expert, each on the input where it differs from the others.
#include "headgate/routing/route_edits.hpp"

#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/bilevel_expert.hpp"
#include "headgate/routing/block_ffn_router.hpp"
#include "headgate/routing/deepseek.hpp"
#include "headgate/routing/gru_router.hpp"
#include "headgate/routing/relu_router.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

constexpr index_t width = 9;

// The same gate without the masked rows, and where its rows stood.
struct Pruned {
  Pruned(const std::vector<float>& gate, const std::vector<float>& selection_bias,
         const std::vector<std::uint8_t>& mask) {
    for (std::size_t e = 0; e < mask.size(); ++e) {
      if (mask[e] == 0) continue;
      place.push_back(static_cast<ExpertId>(e));
      rows.insert(rows.end(), gate.begin() + std::ptrdiff_t(e * width), gate.begin() + std::ptrdiff_t((e + 1) * width));
      bias.push_back(selection_bias[e]);
    }
  }
  GateWeights weights(bool with_bias) const {
    GateWeights all{.gate = {rows.data(), static_cast<index_t>(place.size()), width}};
    if (with_bias) all.selection_bias = bias;
    return all;
  }
  std::vector<ExpertId> place;
  std::vector<float> rows;
  std::vector<float> bias;
};

// The plan of the whole router under the mask against that of the router without these rows.
void check_same(const RoutingPlan& masked, const RoutingPlan& pruned, const Pruned& parts) {
  REQUIRE(masked.tokens() == pruned.tokens());
  for (index_t t = 0; t < masked.tokens(); ++t) {
    std::vector<ExpertId> expected;
    for (const ExpertId e : pruned.experts(t)) expected.push_back(parts.place[as_size(e)]);
    CHECK(experts_of(masked, t) == expected);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CHECK(masked.weights(t)[i] == Catch::Approx(pruned.weights(t)[i]).epsilon(2e-6));
    }
  }
}

}  // namespace

TEST_CASE("a pruned expert is as if its row of the gate were not there") {
  const std::vector<std::uint8_t> mask = {1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0};  // 7 of 11 stay
  const std::vector<float> gate = random_floats(11 * width, 1.0f, 1);
  const std::vector<float> bias = random_floats(11, 0.3f, 2);
  const std::vector<float> x = random_floats(40 * width, 1.0f, 3);
  const ConstRows rows(x.data(), 40, width);
  const Pruned parts(gate, bias, mask);
  const RouteEdits prune{.expert_mask = mask, .mask_meaning = MaskMeaning::prune};
  const auto check = [&](auto make, bool with_bias) {
    GateWeights whole{.gate = {gate.data(), 11, width}};
    if (with_bias) whole.selection_bias = bias;
    check_same(routed(make(whole), rows, prune), routed(make(parts.weights(with_bias)), rows), parts);
  };
  check([](const GateWeights& w) { return mixtral_router(w, 3).value(); }, false);
  check([](const GateWeights& w) { return olmoe_router(w, 3).value(); }, false);
  check([](const GateWeights& w) { return granite_router(w, 3).value(); }, false);
  check([](const GateWeights& w) { return relu_router(w).value(); }, false);
  check([](const GateWeights& w) { return deepseek_v3_router(w, 3, 2.5f, {1, 1}).value(); }, true);
  check([](const GateWeights& w) { return SoftmaxTopK<Renormalize>(w, {3}, {}); }, true);

  // With weights that are not divided by their sum, leaving out of the selection is another thing.
  const auto olmoe = olmoe_router({.gate = {gate.data(), 11, width}}, 3).value();
  const RoutingPlan selected = routed(olmoe, rows, RouteEdits{.expert_mask = mask});
  const RoutingPlan pruned = routed(olmoe, rows, prune);
  CHECK(std::equal(selected.experts().begin(), selected.experts().end(), pruned.experts().begin()));
  for (std::size_t i = 0; i < selected.weights().size(); ++i) CHECK(selected.weights()[i] < pruned.weights()[i]);
}

TEST_CASE("a pruned expert of a recurrent router leaves the gate and not the cell") {
  const std::vector<std::uint8_t> mask = {1, 0, 1, 1, 0};
  const std::vector<float> ih = random_floats(3 * 9 * 4, 0.5f, 4);
  const std::vector<float> hh = random_floats(3 * 9 * 9, 0.5f, 5);
  const std::vector<float> b = random_floats(3 * 9, 0.3f, 6);
  const RecurrentCell cell = RecurrentCell::create({RecurrentKind::gru, ih, hh, b, b}, 4, 9).value();
  const std::vector<float> projection = random_floats(4 * width, 0.5f, 7);
  const std::vector<float> gate = random_floats(5 * 9, 2.0f, 8);
  const std::vector<float> x = random_floats(12 * width, 1.0f, 9);
  const Pruned parts(gate, std::vector<float>(5, 0.0f), mask);
  const auto make = [&](ConstRows g) {
    return GruRouter<>::create(cell, {projection.data(), 4, width}, g, TopK{2}, Renormalize{}).value();
  };
  const RouteEdits prune{.expert_mask = mask, .mask_meaning = MaskMeaning::prune};
  check_same(routed(make({gate.data(), 5, 9}), {x.data(), 12, width}, prune),
             routed(make({parts.rows.data(), 3, 9}), {x.data(), 12, width}), parts);
}

TEST_CASE("scores that depend on the number of experts cannot be pruned") {
  const std::vector<float> gate = identity_gate(3);
  const std::vector<float> gain(3, 1.0f);
  const std::vector<std::uint8_t> mask = {1, 1, 0};
  const auto router = block_ffn_router({.gate = {gate.data(), 3, 3}}, gain, 0.0f).value();
  CHECK((router.traits().takes & takes_prune) == 0);
  NoState state;
  RoutingPlan plan;
  Context ctx;
  const RouterInput in{.hidden = {gate.data(), 1, 3},
                       .edits = {.expert_mask = mask, .mask_meaning = MaskMeaning::prune}};
  CHECK(router.route(in, state, plan, ctx).what ==
        std::string("scores of this router depend on all experts, so that none can be pruned"));
}

TEST_CASE("the meanings of a mask differ where a masked expert carries its group") {
  // Sigmoid scores of nine experts in three groups; a group is as good as its two best together, the best one competes.
  const std::vector<float> gate = identity_gate(9);
  const std::vector<float> z = {2.0f, 1.9f, -5.0f, 3.0f, -0.5f, -1.0f, 0.5f, 0.4f, 0.3f};
  const std::vector<float> bias = {0, 0, -1, 0, 0, 0, 0, 0, 0};  // the third expert's key is negative
  const GateWeights weights{.gate = {gate.data(), 9, 9}, .selection_bias = bias};
  const auto router = deepseek_v3_router(weights, 2, 1.0f, {3, 1}).value();
  const auto chosen = [&](const auto& of, const RouteEdits& edits) {
    return experts_of(routed(of, {z.data(), 1, 9}, edits), 0);
  };
  CHECK(chosen(router, {}) == std::vector<ExpertId>{0, 1});
  const std::vector<std::uint8_t> first = {0, 1, 1, 1, 1, 1, 1, 1, 1};
  // Without it the second group is the best.
  CHECK(chosen(router, {.expert_mask = first}) == std::vector<ExpertId>{3, 4});
  CHECK(chosen(router, {.expert_mask = first, .mask_meaning = MaskMeaning::prune}) == std::vector<ExpertId>{3, 4});
  // Its group is chosen with it, where key 0 is second: so it is chosen all the same, with a weight of its own.
  const RouteEdits zero_first{.expert_mask = first, .mask_meaning = MaskMeaning::zero_key};
  CHECK(chosen(router, zero_first) == std::vector<ExpertId>{1, 0});
  const auto sigmoid = [](float v) { return 1.0 / (1.0 + std::exp(-static_cast<double>(v))); };
  CHECK(routed(router, {z.data(), 1, 9}, zero_first).weights(0)[1] ==
        Catch::Approx(sigmoid(2.0f) / (sigmoid(2.0f) + sigmoid(1.9f))));
  // Without groups it is left out as long as k others have positive keys.
  const auto flat = deepseek_v3_router(weights, 2, 1.0f, {1, 1}).value();
  const std::vector<std::uint8_t> best = {1, 1, 1, 0, 1, 1, 1, 1, 1};
  CHECK(chosen(flat, {.expert_mask = best, .mask_meaning = MaskMeaning::zero_key}) == std::vector<ExpertId>{0, 1});
}

TEST_CASE("edits fit the experts and tokens of a call, or are refused with what is allowed") {
  const std::vector<std::uint8_t> mask(4, 1);
  RoutingPlan plan;
  plan.clear(5);
  for (int t = 0; t < 3; ++t) throw_if_error(plan.append_row({}, {}));
  CHECK(RouteEdits{}.empty());
  CHECK(RouteEdits{}.check(5, 3).ok());
  CHECK(RouteEdits{.expert_mask = mask}.check(5, 3).found == 4);
  CHECK(RouteEdits{.mask_meaning = static_cast<MaskMeaning>(4)}.check(5, 3).code == ErrorCode::usage);
  CHECK(RouteEdits{.k = -2}.check(5, 3).found == -2);
  CHECK(RouteEdits{.forced_plan = &plan}.check(5, 3).ok());
  CHECK(RouteEdits{.forced_plan = &plan}.check(6, 3).found == 5);
  CHECK(RouteEdits{.forced_plan = &plan}.check(5, 2).found == 3);
  CHECK_FALSE(RouteEdits{.expert_mask = mask}.empty());
  CHECK_FALSE(RouteEdits{.k = 1}.empty());
  CHECK_FALSE(RouteEdits{.forced_plan = &plan}.empty());
}

TEST_CASE("edits are taken at their bounds, and what does not fit is said") {
  CHECK(RouteEdits{}.empty());
  CHECK(RouteEdits{}.mask_meaning == MaskMeaning::select);
  CHECK(RouteEdits{}.k == 0);
  const std::vector<std::uint8_t> mask(4, 1);
  RoutingPlan plan;
  plan.clear(4);
  throw_if_error(plan.append_row({}, {}));
  const auto outcome = [&](auto change) {
    RouteEdits edits;
    change(edits);
    return said(edits.check(4, 1));
  };
  CHECK(outcome([](RouteEdits&) {}) == "ok");
  CHECK(outcome([&](RouteEdits& e) {
          e.expert_mask = mask;
          e.mask_meaning = MaskMeaning::zero_output;
          e.k = 1;
          e.forced_plan = &plan;
        }) == "ok");
  CHECK(outcome([&](RouteEdits& e) { e.expert_mask = std::span(mask).first(3); }) ==
        "usage: size of expert_mask against experts (got 3, allowed 4)");
  CHECK(outcome([](RouteEdits& e) { e.k = -1; }) == "usage: k of the call, at least (got -1, allowed 0)");
  CHECK(outcome([](RouteEdits& e) { e.mask_meaning = static_cast<MaskMeaning>(200); }) ==
        "usage: meaning of a mask is none that is known");
  plan.clear(5);
  CHECK(outcome([&](RouteEdits& e) { e.forced_plan = &plan; }) ==
        "usage: experts of a forced plan against experts of the layer (got 5, allowed 4)");
  plan.clear(4);
  CHECK(outcome([&](RouteEdits& e) { e.forced_plan = &plan; }) ==
        "usage: rows of a forced plan against tokens (got 0, allowed 1)");
  for (const auto& change : {+[](RouteEdits& e) { e.k = 1; },
                             +[](RouteEdits& e) {
                               static const std::vector<std::uint8_t> one(1, 0);
                               e.expert_mask = one;
                             }}) {
    RouteEdits edits;
    change(edits);
    CHECK_FALSE(edits.empty());
  }
}
