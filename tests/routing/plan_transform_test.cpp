#include "headgate/routing/plan_transform.hpp"

#include <map>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/reference_moe.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"

namespace {

using namespace headgate;
using reference::random_plan;

constexpr auto as_is = WeightsAfterDrop::as_they_are;
constexpr auto same_sum = WeightsAfterDrop::same_sum;
constexpr index_t everyone = std::numeric_limits<index_t>::max();

using Rows_ = std::vector<std::vector<std::pair<ExpertId, float>>>;

RoutingPlan make_plan(index_t num_experts, const Rows_& rows) {
  RoutingPlan plan;
  plan.clear(num_experts);
  for (const auto& row : rows) {
    std::vector<ExpertId> ids;
    std::vector<float> weights;
    for (const auto& [id, weight] : row) {
      ids.push_back(id);
      weights.push_back(weight);
    }
    throw_if_error(plan.append_row(ids, weights));
  }
  return plan;
}
RoutingPlan example() {
  return make_plan(4, {{{2, 0.5f}, {0, 0.25f}, {3, 0.25f}}, {}, {{1, 1.0f}}, {{2, 0.75f}, {1, 0.125f}}});
}
template <class Transform>
RoutingPlan transformed(Transform transform) {
  RoutingPlan out;
  throw_if_error(transform(out));
  return out;
}
RoutingPlan limited(const RoutingPlan& plan, index_t capacity, CapacityOrder order = CapacityOrder::token) {
  return transformed([&](RoutingPlan& out) { return limit_capacity(plan, capacity, order, as_is, out); });
}
std::vector<index_t> loads(const RoutingPlan& plan) {
  std::vector<index_t> load(as_size(plan.num_experts()));
  for (const ExpertId e : plan.experts()) ++load[as_size(e)];
  return load;
}
RoutingPlan big() {
  return random_plan(200, 7, [](index_t t) { return t % 6; }, 8);
}

}  // namespace

TEST_CASE("ablate drops experts, and keeps the sums of rows when asked to") {
  const std::vector<std::uint8_t> mask = {1, 0, 0, 1};
  const RoutingPlan plan = example();
  CHECK(transformed([&](RoutingPlan& out) { return ablate(plan, mask, as_is, out); }) ==
        make_plan(4, {{{0, 0.25f}, {3, 0.25f}}, {}, {}, {}}));
  CHECK(transformed([&](RoutingPlan& out) { return ablate(plan, mask, same_sum, out); }) ==
        make_plan(4, {{{0, 0.5f}, {3, 0.5f}}, {}, {}, {}}));
  const RoutingPlan opposite = make_plan(3, {{{0, 1.0f}, {1, 0.5f}, {2, -0.5f}}});
  const std::vector<std::uint8_t> without_0 = {0, 1, 1};  // what is left adds up to 0 and stays as it is
  CHECK(transformed([&](RoutingPlan& out) { return ablate(opposite, without_0, same_sum, out); }) ==
        make_plan(3, {{{1, 0.5f}, {2, -0.5f}}}));
  const std::vector<std::uint8_t> all(7, 1);
  CHECK(transformed([&](RoutingPlan& out) { return ablate(big(), all, same_sum, out); }) == big());
}

TEST_CASE("drop_below_ratio keeps what is close to the largest weight of its row") {
  const RoutingPlan plan = example();
  const auto dropped = [](const RoutingPlan& from, float ratio, WeightsAfterDrop after) {
    return transformed([&](RoutingPlan& out) { return drop_below_ratio(from, ratio, after, out); });
  };
  CHECK(dropped(plan, 0.5f, as_is) ==
        make_plan(4, {{{2, 0.5f}, {0, 0.25f}, {3, 0.25f}}, {}, {{1, 1.0f}}, {{2, 0.75f}}}));
  CHECK(dropped(plan, 0.6f, same_sum) == make_plan(4, {{{2, 1.0f}}, {}, {{1, 1.0f}}, {{2, 0.875f}}}));
  CHECK(dropped(make_plan(3, {{{0, -1.0f}, {1, 0.75f}, {2, 0.25f}}}), 0.5f, as_is) ==
        make_plan(3, {{{0, -1.0f}, {1, 0.75f}}}));
  CHECK(dropped(big(), 0.0f, as_is) == big());
  // Monotone: a larger ratio never keeps more, and doing it twice changes nothing.
  index_t before = big().entries();
  for (const float ratio : {0.1f, 0.3f, 0.9f, 1.0f}) {
    const RoutingPlan once = dropped(big(), ratio, as_is);
    CHECK(once.entries() <= before);
    CHECK(dropped(once, ratio, as_is) == once);
    before = once.entries();
  }
}

TEST_CASE("MC-MoE's pruning of second experts: the same weights, important tokens exempt") {
  const auto cases = golden("mc_moe");
  REQUIRE(cases.size() == 3);
  for (const auto& c : cases) {
    INFO("beta " << c["beta"] << ", margin " << c["margin"]);
    const std::vector<float> logits = values(c["logits"]);
    const auto tokens = static_cast<index_t>(logits.size()) / 8;
    const std::vector<float> gate = identity_gate(8);
    const RoutingPlan plan =
        routed(mixtral_router({.gate = {gate.data(), 8, 8}}, 2).value(), {logits.data(), tokens, 8});
    const auto exempt = values<std::uint8_t>(c["exempt"]);
    const RoutingPlan pruned = transformed(
        [&](RoutingPlan& out) { return drop_below_ratio(plan, c["beta"].get<float>(), same_sum, out, exempt); });
    CHECK(pruned.entries() < plan.entries());
    const std::vector<float> weights = values(c["weights"]);
    for (index_t t = 0; t < tokens; ++t) {
      const std::vector<float> row = dense_weights(pruned, t);
      for (std::size_t e = 0; e < row.size(); ++e) {
        CHECK(row[e] == Catch::Approx(weights[as_size(t * 8) + e]).margin(1e-6));
      }
    }
  }
  RoutingPlan out;
  CHECK(said(drop_below_ratio(example(), 0.5f, as_is, out, std::vector<std::uint8_t>(3))) ==
        "usage: size of exempt against tokens (got 3, allowed 4)");
}

TEST_CASE("keep_first cuts each row at a number of its own") {
  const auto kept = [](const RoutingPlan& plan, std::vector<index_t> k, WeightsAfterDrop after) {
    return transformed([&](RoutingPlan& out) { return keep_first(plan, k, after, out); });
  };
  CHECK(kept(example(), {2, 1, 0, 9}, as_is) ==
        make_plan(4, {{{2, 0.5f}, {0, 0.25f}}, {}, {}, {{2, 0.75f}, {1, 0.125f}}}));
  CHECK(kept(example(), {1, 0, 1, 1}, same_sum) == make_plan(4, {{{2, 1.0f}}, {}, {{1, 1.0f}}, {{2, 0.875f}}}));
  CHECK(kept(big(), std::vector<index_t>(200, 7), same_sum) == big());
  RoutingPlan out;
  CHECK(said(keep_first(example(), std::vector<index_t>(3), as_is, out)) ==
        "usage: numbers of choices to keep against tokens (got 3, allowed 4)");
  CHECK(said(keep_first(example(), std::vector<index_t>{1, 1, -1, 1}, as_is, out)) ==
        "usage: choices of a token to keep, at least (got -1, allowed 0), token 2");
}

TEST_CASE("H13: capacity serves first choices first, in token or in priority order, and counts add up") {
  const RoutingPlan plan =
      make_plan(3, {{{0, 0.5f}, {1, 0.3f}}, {{0, 0.9f}, {2, 0.1f}}, {{1, 0.6f}, {0, 0.4f}}, {{0, 0.9f}, {1, 0.1f}}});
  CHECK(limited(plan, 1) == make_plan(3, {{{0, 0.5f}}, {{2, 0.1f}}, {{1, 0.6f}}, {}}));
  CHECK(limited(plan, 2) == make_plan(3, {{{0, 0.5f}, {1, 0.3f}}, {{0, 0.9f}, {2, 0.1f}}, {{1, 0.6f}}, {}}));
  // Tokens 1, 3, 2, 0 by their largest weight; the tie goes to the earlier one.
  CHECK(limited(plan, 1, CapacityOrder::priority) == make_plan(3, {{}, {{0, 0.9f}, {2, 0.1f}}, {{1, 0.6f}}, {}}));
  CHECK(limited(plan, 2, CapacityOrder::priority) ==
        make_plan(3, {{}, {{0, 0.9f}, {2, 0.1f}}, {{1, 0.6f}}, {{0, 0.9f}, {1, 0.1f}}}));
  CHECK(limited(plan, 0).entries() == 0);
  CHECK(limited(plan, 0).tokens() == 4);
  CHECK(limited(plan, everyone) == plan);

  const RoutingPlan one_expert = random_plan(9, 1, [](index_t) { return 1; }, 4);
  CHECK(limited(one_expert, 4).entries() == 4);
  CHECK(transformed([&](RoutingPlan& out) {
          return limit_capacity(plan, 1, CapacityOrder::token, same_sum, out);
        }).weights(0)[0] == 0.8f);

  for (const CapacityOrder order : {CapacityOrder::token, CapacityOrder::priority}) {
    const std::vector<index_t> before = loads(big());
    for (const index_t capacity : {1, 10, 60, 1000}) {
      const RoutingPlan once = limited(big(), capacity, order);
      CHECK(limited(once, capacity, order) == once);
      const std::vector<index_t> load = loads(once);
      for (std::size_t e = 0; e < load.size(); ++e) CHECK(load[e] == std::min(before[e], capacity));
    }
  }
}

TEST_CASE("capacity serves tokens by priorities of a caller's own, which are one a token and numbers") {
  const RoutingPlan plan = make_plan(3, {{{0, 0.5f}, {1, 0.3f}}, {{0, 0.9f}, {2, 0.1f}}, {{1, 0.6f}, {0, 0.4f}}});
  const auto by = [&](const std::vector<float>& priorities, RoutingPlan& out) {
    return limit_capacity(plan, 1, priorities, as_is, out);
  };
  CHECK(transformed([&](RoutingPlan& out) { return by({3.0f, 2.0f, 1.0f}, out); }) ==
        limited(plan, 1, CapacityOrder::token));
  CHECK(transformed([&](RoutingPlan& out) { return by({0.5f, 0.9f, 0.6f}, out); }) ==
        limited(plan, 1, CapacityOrder::priority));
  CHECK(transformed([&](RoutingPlan& out) { return by({0.0f, 0.0f, 1.0f}, out); }) ==
        make_plan(3, {{{0, 0.5f}}, {{2, 0.1f}}, {{1, 0.6f}}}));
  RoutingPlan out;
  CHECK(said(by({0.0f, 0.0f}, out)) == "usage: priorities against tokens (got 2, allowed 3)");
  CHECK(said(by({0.0f, std::numeric_limits<float>::quiet_NaN(), 0.0f}, out)) ==
        "numeric: priority of a token is not a number, token 1");
}

TEST_CASE("split_by_rank cuts rows, and the parts together are the plan") {
  RoutingPlan first;
  RoutingPlan rest;
  throw_if_error(split_by_rank(example(), 1, first, rest));
  CHECK(first == make_plan(4, {{{2, 0.5f}}, {}, {{1, 1.0f}}, {{2, 0.75f}}}));
  CHECK(rest == make_plan(4, {{{0, 0.25f}, {3, 0.25f}}, {}, {}, {{1, 0.125f}}}));
  throw_if_error(split_by_rank(big(), 0, first, rest));
  CHECK(first.entries() == 0);
  CHECK(rest == big());
  throw_if_error(split_by_rank(big(), 6, first, rest));
  CHECK(first == big());
  CHECK(rest.entries() == 0);
}

TEST_CASE("remap renames and merges experts; two tables in turn are the composed table") {
  const auto remapped = [](const RoutingPlan& plan, const std::vector<ExpertId>& table, index_t num_experts) {
    return transformed([&](RoutingPlan& out) { return remap(plan, table, num_experts, out); });
  };
  CHECK(remapped(example(), {5, 1, 1, 5}, 6) == make_plan(6, {{{1, 0.5f}, {5, 0.5f}}, {}, {{1, 1.0f}}, {{1, 0.875f}}}));
  const std::vector<ExpertId> first = {3, 0, 3, 1, 2, 0, 4};
  const std::vector<ExpertId> second = {1, 1, 0, 2, 2};
  std::vector<ExpertId> identity(7);
  std::vector<ExpertId> composed(7);
  for (std::size_t e = 0; e < 7; ++e) {
    identity[e] = static_cast<ExpertId>(e);
    composed[e] = second[as_size(first[e])];
  }
  CHECK(remapped(big(), identity, 7) == big());
  const RoutingPlan twice = remapped(remapped(big(), first, 5), second, 3);
  const RoutingPlan once = remapped(big(), composed, 3);
  REQUIRE(twice.entries() == once.entries());
  for (index_t i = 0; i < once.entries(); ++i) {
    CHECK(twice.experts()[as_size(i)] == once.experts()[as_size(i)]);
    CHECK(twice.weights()[as_size(i)] == Catch::Approx(once.weights()[as_size(i)]).margin(1e-6));
  }
}

TEST_CASE("a remap table may stand in the plan that is written") {
  RoutingPlan out = make_plan(6, {{{5, 1.0f}, {1, 1.0f}, {0, 1.0f}, {3, 1.0f}}});
  const std::vector<ExpertId> table(out.experts().begin(), out.experts().end());
  const RoutingPlan expected = transformed([&](RoutingPlan& own) { return remap(example(), table, 6, own); });
  throw_if_error(remap(example(), out.experts(), 6, out));
  CHECK(out == expected);
}

TEST_CASE("P19: equal ids of a row are merged by adding their weights, at the place of the first") {
  RoutingPlan plan;
  plan.clear(5);
  MergingAppender merging(plan);
  const std::vector<ExpertId> ids = {3, 1, 3, 4, 1, 3};
  const std::vector<float> weights = {0.5f, 0.25f, 0.125f, 1.0f, -0.25f, 0.125f};
  REQUIRE(merging.append_row(ids, weights).ok());
  REQUIRE(merging.append_row(std::span(ids).first(2), std::span(weights).first(2)).ok());
  CHECK(plan == make_plan(5, {{{3, 0.75f}, {1, 0.0f}, {4, 1.0f}}, {{3, 0.5f}, {1, 0.25f}}}));
  const std::vector<ExpertId> outside = {3, 7, 7};
  const Status status = merging.append_row(outside, std::span(weights).first(3));
  CHECK(status.expert == 7);
  CHECK(status.token == 2);
  CHECK_FALSE(merging.append_row(ids, std::span(weights).first(2)).ok());
  REQUIRE(merging.append_row(ids, weights).ok());  // nothing is left of refused rows
  CHECK(plan.tokens() == 3);
}

TEST_CASE("transforms of plans without tokens or experts are such plans") {
  RoutingPlan out;
  RoutingPlan rest;
  for (const RoutingPlan& plan : {make_plan(0, {}), make_plan(0, {{}, {}}), make_plan(3, {})}) {
    const std::vector<std::uint8_t> mask(as_size(plan.num_experts()), 0);
    const std::vector<ExpertId> table(as_size(plan.num_experts()), 0);
    CHECK(limited(plan, 1, CapacityOrder::priority) == plan);
    throw_if_error(ablate(plan, mask, same_sum, out));
    CHECK(out == plan);
    throw_if_error(drop_below_ratio(plan, 0.5f, as_is, out));
    CHECK(out == plan);
    throw_if_error(split_by_rank(plan, 1, out, rest));
    CHECK(out == plan);
    throw_if_error(remap(plan, table, 1, out));
    CHECK(out.tokens() == plan.tokens());
  }
}

TEST_CASE("transforms refuse what does not fit and their own input") {
  RoutingPlan plan = example();
  RoutingPlan out;
  const std::vector<std::uint8_t> three(3, 1);
  const std::vector<std::uint8_t> four(4, 1);
  const std::vector<ExpertId> short_table = {0, 1};
  const std::vector<ExpertId> table = {0, 1, 2, 3};
  const std::vector<ExpertId> negative = {0, 1, -2, 3};
  CHECK(ablate(plan, three, as_is, out).found == 3);
  CHECK_FALSE(ablate(plan, four, as_is, plan).ok());
  for (const float ratio : {-0.1f, 1.1f, std::numeric_limits<float>::quiet_NaN()}) {
    CHECK_FALSE(drop_below_ratio(plan, ratio, as_is, out).ok());
  }
  CHECK_FALSE(drop_below_ratio(plan, 0.5f, as_is, plan).ok());
  CHECK(limit_capacity(plan, -1, CapacityOrder::token, as_is, out).found == -1);
  CHECK_FALSE(limit_capacity(plan, 1, CapacityOrder::token, as_is, plan).ok());
  CHECK(split_by_rank(plan, -1, out, out).found == -1);
  CHECK_FALSE(split_by_rank(plan, 1, out, out).ok());
  CHECK_FALSE(split_by_rank(plan, 1, plan, out).ok());
  CHECK(remap(plan, short_table, 4, out).found == 2);
  CHECK(remap(plan, table, 3, out).expert == 3);
  CHECK(remap(plan, negative, 4, out).found == -2);
  CHECK(remap(plan, table, -1, out).found == -1);
  CHECK_FALSE(remap(plan, table, 4, plan).ok());
  // Weights that overflow when they are added or stretched are named.
  const RoutingPlan huge = make_plan(3, {{{0, 3e38f}, {1, 3e38f}, {2, 1.0f}}});
  CHECK(remap(huge, std::vector<ExpertId>{0, 0, 0}, 1, out).code == ErrorCode::numeric);
  CHECK(ablate(huge, std::vector<std::uint8_t>{0, 1, 1}, same_sum, out).code == ErrorCode::numeric);
  CHECK(plan == example());
}

TEST_CASE("drop_below_ratio compares magnitudes with the largest magnitude, and keeps an entry at the bound") {
  const auto dropped = [](const RoutingPlan& from, float ratio) {
    return transformed([&](RoutingPlan& out) { return drop_below_ratio(from, ratio, as_is, out); });
  };
  CHECK(dropped(make_plan(3, {{{0, -1.0f}, {1, 0.4f}, {2, 0.25f}}}), 0.5f) == make_plan(3, {{{0, -1.0f}}}));
  CHECK(dropped(make_plan(3, {{{0, 0.4f}, {1, -1.0f}, {2, -0.5f}}}), 0.5f) == make_plan(3, {{{1, -1.0f}, {2, -0.5f}}}));
  // The largest is of the row, not of the plan.
  CHECK(dropped(make_plan(2, {{{0, 8.0f}}, {{0, 1.0f}, {1, 0.75f}}, {{1, 0.5f}}}), 0.75f) ==
        make_plan(2, {{{0, 8.0f}}, {{0, 1.0f}, {1, 0.75f}}, {{1, 0.5f}}}));
  CHECK(dropped(make_plan(2, {{{0, 1.0f}, {1, 0.0f}}}), 0.0f) == make_plan(2, {{{0, 1.0f}, {1, 0.0f}}}));
  CHECK(dropped(make_plan(2, {{{0, 1.0f}, {1, 1.0f}}}), 1.0f) == make_plan(2, {{{0, 1.0f}, {1, 1.0f}}}));
}

TEST_CASE("what transforms refuse is said with what is allowed") {
  RoutingPlan plan = example();
  RoutingPlan out;
  RoutingPlan rest;
  const std::vector<std::uint8_t> three(3, 1);
  const std::vector<ExpertId> table = {0, 1, 2, 3};
  const std::vector<ExpertId> negative = {0, 1, -2, 3};
  CHECK(said(ablate(plan, three, as_is, out)) == "usage: size of an ablation mask against experts (got 3, allowed 4)");
  CHECK(said(ablate(plan, std::vector<std::uint8_t>(4, 1), as_is, plan)) ==
        "usage: output of a plan transform is its input");
  CHECK(said(drop_below_ratio(plan, -0.1f, as_is, out)) == "usage: ratio of drop_below_ratio is not in [0, 1]");
  CHECK(said(limit_capacity(plan, -1, CapacityOrder::token, as_is, out)) ==
        "usage: capacity of an expert, at least (got -1, allowed 0)");
  CHECK(said(split_by_rank(plan, -1, out, rest)) == "usage: rank to split a plan at, at least (got -1, allowed 0)");
  CHECK(said(split_by_rank(plan, 1, out, out)) == "usage: both outputs of split_by_rank are one plan");
  CHECK(said(split_by_rank(plan, 1, out, plan)) == "usage: output of a plan transform is its input");
  CHECK(said(remap(plan, std::span(table).first(2), 4, out)) ==
        "usage: size of a remap table against experts (got 2, allowed 4)");
  CHECK(said(remap(plan, table, -1, out)) == "usage: experts after remap, at least (got -1, allowed 0)");
  CHECK(said(remap(plan, table, 3, out)) == "usage: id in a remap table (got 3, allowed 2), expert 3");
  CHECK(said(remap(plan, negative, 4, out)) == "usage: id in a remap table (got -2, allowed 3), expert 2");
  CHECK(said(remap(plan, table, 4, plan)) == "usage: output of a plan transform is its input");
}

TEST_CASE("weights that keep their sum are stretched only in rows that lost an entry") {
  // 0.1 + 0.2 + 0.7 divided by itself and multiplied again would not be 0.1, 0.2, 0.7 in bits.
  const RoutingPlan plan = make_plan(4, {{{0, 0.1f}, {1, 0.2f}, {2, 0.7f}}, {{0, 0.25f}, {3, 0.75f}}});
  const std::vector<std::uint8_t> mask = {1, 1, 1, 0};
  CHECK(transformed([&](RoutingPlan& out) { return ablate(plan, mask, same_sum, out); }) ==
        make_plan(4, {{{0, 0.1f}, {1, 0.2f}, {2, 0.7f}}, {{0, 1.0f}}}));
}

TEST_CASE("merging takes the first and the last expert of a bank, and forgets each row") {
  RoutingPlan plan;
  plan.clear(3);
  MergingAppender merging(plan);
  const std::vector<ExpertId> ends = {0, 2, 0, 2};
  const std::vector<float> weights = {1.0f, 2.0f, 4.0f, 8.0f};
  REQUIRE(merging.append_row(ends, weights).ok());
  REQUIRE(merging.append_row(std::span(ends).first(1), std::span(weights).first(1)).ok());
  CHECK(plan == make_plan(3, {{{0, 5.0f}, {2, 10.0f}}, {{0, 1.0f}}}));
  const std::vector<ExpertId> low = {-1};
  CHECK(merging.append_row(low, std::span(weights).first(1)).expert == -1);
  CHECK(plan.tokens() == 2);
}

TEST_CASE("a row that loses nothing is not stretched, even where its sum overflows") {
  const RoutingPlan huge = make_plan(2, {{{0, 3e38f}, {1, 3e38f}}});
  const std::vector<std::uint8_t> all = {1, 1};
  CHECK(transformed([&](RoutingPlan& out) { return ablate(huge, all, same_sum, out); }) == huge);
}

TEST_CASE("a plan of no expert is mapped to no expert") {
  RoutingPlan out;
  throw_if_error(remap(make_plan(0, {{}, {}}), {}, 0, out));
  CHECK(out == make_plan(0, {{}, {}}));
}

TEST_CASE("the first token, the first expert and the first id beyond the bank are no exceptions") {
  const RoutingPlan plan = make_plan(2, {{{0, 0.9f}}, {{0, 0.5f}}, {{0, 0.7f}}});
  CHECK(limited(plan, 1, CapacityOrder::priority) == make_plan(2, {{{0, 0.9f}}, {}, {}}));
  RoutingPlan out;
  CHECK(said(remap(plan, std::vector<ExpertId>{5, 0}, 2, out)) ==
        "usage: id in a remap table (got 5, allowed 1), expert 0");
  RoutingPlan merged;
  merged.clear(2);
  MergingAppender merging(merged);
  const std::vector<ExpertId> beyond = {2};
  const std::vector<float> weight = {1.0f};
  CHECK(merging.append_row(beyond, weight).expert == 2);
  CHECK(merged.tokens() == 0);
}
