#include "headgate/experts/channel_order.hpp"

#include <numeric>

#include "headgate/experts/glu_experts.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"

using namespace headgate;
using reference::Matrix;

namespace {

constexpr index_t hidden_size = 14;
constexpr index_t channels = 33;

reference::Bank dense_network(bool gated, bool has_bias) {
  return {{.num_experts = 1, .hidden_size = hidden_size, .ffn_size = channels, .gated = gated, .has_bias = has_bias},
          1};
}
std::vector<index_t> shuffled(unsigned seed) {
  std::vector<index_t> order(as_size(channels));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(seed));
  return order;
}

}  // namespace

TEST_CASE("the channels of a network in another order compute the same, cut or whole") {
  for (const bool gated : {true, false}) {
    for (const bool has_bias : {true, false}) {
      const reference::Bank dense = dense_network(gated, has_bias);
      const OrderedFfn ordered = OrderedFfn::create(dense.matrices(0), shuffled(3)).value();
      std::mt19937 rng(4);
      const Matrix x = Matrix::random(3, hidden_size, 1.0f, rng);
      for (const index_t parts : {1, 3, 11}) {
        const SplitFfn split = split_ffn(ordered.matrices(), {.num_parts = parts}).value();
        const GluExperts<F32> bank(split.shape, split.experts);
        RoutingPlan all;
        RoutingPlan one;
        all.clear(parts);
        one.clear(1);
        std::vector<ExpertId> ids(as_size(parts));
        std::iota(ids.begin(), ids.end(), 0);
        const std::vector<float> weights(as_size(parts), 1.0f);
        for (index_t t = 0; t < 3; ++t) {
          throw_if_error(all.append_row(ids, weights));
          throw_if_error(one.append_row(std::span(ids).first(1), std::span(weights).first(1)));
        }
        Context ctx;
        Matrix y(3, hidden_size);
        for (index_t t = 0; t < 3 && has_bias; ++t) {
          std::copy(split.output_bias.begin(), split.output_bias.end(), y.view().row_data(t));
        }
        throw_if_error(bank.apply(all, x.view(), y.view(), ctx));
        CHECK(reference::worst(dense.layer(one, x.view()), y.view()) < 2.0);
      }
    }
  }
}

TEST_CASE("channels stand where an order says") {
  const reference::Bank dense = dense_network(true, true);
  const std::vector<index_t> order = shuffled(5);
  const OrderedFfn ordered = OrderedFfn::create(dense.matrices(0), order).value();
  const GluMatrices m = ordered.matrices();
  for (index_t i = 0; i < channels; ++i) {
    const index_t from = order[as_size(i)];
    CHECK(m.gate.row(i)[13] == dense.gate[0].view().row(from)[13]);
    CHECK(m.up.row(i)[0] == dense.up[0].view().row(from)[0]);
    CHECK(m.down.row(7)[as_size(i)] == dense.down[0].view().row(7)[as_size(from)]);
    CHECK(m.gate_bias[as_size(i)] == dense.gate_bias[0][as_size(from)]);
    CHECK(m.up_bias[as_size(i)] == dense.up_bias[0][as_size(from)]);
  }
}

TEST_CASE("an order that is none is refused") {
  const reference::Bank dense = dense_network(true, false);
  const auto refused_order = [&](const std::vector<index_t>& order) {
    return refused(OrderedFfn::create(dense.matrices(0), order));
  };
  std::vector<index_t> order = shuffled(6);
  order[4] = order[5];
  CHECK(refused_order(order) == "an order has a channel twice");
  order[4] = 33;
  CHECK(refused_order(order) == "channel of an order (got 33, allowed 32)");
  order[4] = -1;
  CHECK(refused_order(order) == "channel of an order (got -1, allowed 32)");
  CHECK(refused_order({}) == "channels of an order (got 0, allowed 33)");
}

TEST_CASE("channels are dealt out to and fro by importance, the most important ones to the shared network") {
  const std::vector<float> importance = {3, 9, 1, 8, 7, 2, 6, 5};  // descending: 1 3 4 6 7 0 5 2
  const auto dealt = [&](const FfnSplit& how) { return deal_channels(importance, how).value(); };
  CHECK(dealt({.num_parts = 2}) == std::vector<index_t>{1, 6, 7, 2, 3, 4, 0, 5});
  CHECK(dealt({.num_parts = 3, .shared_channels = 2}) == std::vector<index_t>{1, 3, 4, 2, 6, 5, 7, 0});
  CHECK(dealt({.num_parts = 8}) == std::vector<index_t>{1, 3, 4, 6, 7, 0, 5, 2});
  CHECK(dealt({.num_parts = 1}) == dealt({.num_parts = 8}));
  CHECK(deal_channels(std::vector<float>(4, 1.0f), {.num_parts = 2}).value() == std::vector<index_t>{0, 3, 1, 2});
}

TEST_CASE("channels that cannot be dealt out are refused") {
  CHECK(refused(deal_channels(std::vector<float>(7, 1.0f), {.num_parts = 2})) ==
        "channels that equal parts leave over (got 1, allowed 0)");
  CHECK_FALSE(deal_channels({}, {.num_parts = 1}));
  CHECK_FALSE(deal_channels(std::vector<float>{1.0f, NAN}, {.num_parts = 1}));
}
