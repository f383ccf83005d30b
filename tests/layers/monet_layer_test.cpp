#include "headgate/layers/monet_layer.hpp"

#include <algorithm>

#include "support/catch.hpp"
#include "support/monet.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

constexpr index_t width = 10;
constexpr index_t tokens = 6;
using Layer = MonetLayer<HorizontalExperts<>>;

HorizontalExperts<> bank(unsigned seed) {
  return HorizontalExperts<>::create(monet::Parts(false, 5, 4, 2, width, seed).horizontal(), 5, {ActivationKind::relu2})
      .value();
}
MonetRouter<> router(unsigned seed, index_t first = 5, index_t hidden_size = width) {
  const std::vector<float> gate = random_floats(as_size(2 * std::max(first, 4) * hidden_size), 0.5f, seed);
  const std::vector<float> mean(2), variance(2, 1.0f);
  const auto side = [&](index_t parts) { return MonetSide{{gate.data(), 2 * parts, hidden_size}, mean, variance}; };
  return MonetRouter<>::create(side(first), side(4), {2, 2}).value();
}

}  // namespace

TEST_CASE("layers without a router use the plan of the last one that had one, edits of other layers left out") {
  const std::vector<float> hidden = random_floats(as_size(4 * tokens * width), 1.0f, 1);
  const auto x = [&](index_t layer) { return ConstRows(hidden.data() + layer * tokens * width, tokens, width); };
  const Layer layers[] = {Layer::create(router(2), bank(3)).value(), Layer::create(std::nullopt, bank(4)).value(),
                          Layer::create(std::nullopt, bank(5)).value(), Layer::create(router(6), bank(7)).value()};
  const std::vector<std::uint8_t> without_2{1, 1, 0, 1, 1};
  const std::vector<ExpertId> removed{1, 7};
  const FactoredEdits edits[] = {{}, {.mask = {without_2, {}}, .removed = removed}, {}, {}};
  Context ctx;
  Layer::State state;
  state.reset(tokens);
  FactoredPlan plan;  // as it should be
  for (const index_t l : {0, 1, 2, 3}) {
    const Layer& layer = layers[l];
    std::vector<float> y(as_size(tokens * width), 99.0f), expected(y.size());
    REQUIRE(layer.forward({.hidden = x(l), .layer = 3 * l + 1}, edits[l], state, {y.data(), tokens, width}, ctx).ok());
    if (layer.router()) REQUIRE(layer.router()->route(x(l), l, plan, ctx).ok());
    CHECK(state.plan == plan);
    FactoredPlan edited;
    REQUIRE(edit(plan, edits[l], edited).ok());
    REQUIRE(layer.experts().apply(edited, x(l), {expected.data(), tokens, width}, ctx).ok());
    CHECK(y == expected);
    if (l == 1) {
      CHECK(state.edited == edited);
      for (index_t row = 0; row < 2 * tokens; ++row) {
        for (const ExpertId i : edited.side[0].experts(row)) CHECK(i != 2);
      }
    }
  }
  // The next pass begins anew.
  state.reset(1);
  std::vector<float> y(width);
  const Status status =
      layers[1].forward({.hidden = x(0).middle_rows(0, 1), .layer = 0}, state, {y.data(), 1, width}, ctx);
  CHECK(said(status) == "usage: no layer before this one has a router, layer 0");
}

TEST_CASE("a layer of pairs refuses parts that do not fit, layers out of order and edits that are not its own") {
  CHECK(refused(Layer::create(router(1), bank(2))) == "made");
  CHECK(refused(Layer::create(router(1, 3), bank(2))) ==
        "side of the router against that of the bank (got 3, allowed 5)");
  CHECK(refused(Layer::create(router(1, 5, 8), bank(2))) ==
        "hidden_size of the router against that of the bank (got 8, allowed 10)");
  const Layer layer = Layer::create(router(1), bank(2)).value();
  std::vector<float> x = random_floats(as_size(tokens * width), 1.0f, 3), y(x.size());
  Layer::State state;
  Context ctx;
  const auto forward = [&](RouterInput in, FactoredEdits edits = {}) {
    in.hidden = {x.data(), tokens, width};
    return said(layer.forward(in, edits, state, {y.data(), tokens, width}, ctx));
  };
  CHECK(forward({}) == "usage: rows of hidden against tokens of the layer's state (got 6, allowed 0), layer 0");
  state.reset(tokens);
  CHECK(forward({.layer = 2}) == "ok");
  CHECK(forward({.layer = 2}) ==
        "usage: layer of a state, which ascends within a pass and begins with a reset, at least (got 2, allowed 3), "
        "layer 2");
  CHECK(forward({.layer = 3, .edits = {.k = 1}}) ==
        "usage: edits of a routing plan for a layer whose plan is factored, layer 3");
  CHECK(forward({.layer = 4}, {.removed = std::vector<ExpertId>{20}}) ==
        "usage: removed expert (got 20, allowed 19), layer 4");
  x[7] = std::numeric_limits<float>::quiet_NaN();
  CHECK(forward({.layer = 5}) == "numeric: router logit is not finite, layer 5, token 0, expert 0");
}
