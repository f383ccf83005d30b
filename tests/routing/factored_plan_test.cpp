#include "headgate/routing/factored_plan.hpp"

#include "support/catch.hpp"
#include "support/monet.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

// Weight of every expert of a token, heads added up.
std::vector<double> dense(const FactoredPlan& plan, index_t t) {
  std::vector<double> all(as_size(plan.num_experts()));
  for (index_t row = t * plan.heads; row < (t + 1) * plan.heads; ++row) {
    for (std::size_t a = 0; a < plan.side[0].experts(row).size(); ++a) {
      for (std::size_t b = 0; b < plan.side[1].experts(row).size(); ++b) {
        const index_t id = plan.side[0].experts(row)[a] * plan.side[1].num_experts() + plan.side[1].experts(row)[b];
        all[as_size(id)] += static_cast<double>(plan.side[0].weights(row)[a] * plan.side[1].weights(row)[b]);
      }
    }
  }
  for (const ExpertId e : plan.removed) all[as_size(e)] = 0.0;
  return all;
}

}  // namespace

TEST_CASE("a factored plan written out has every pair once, with the sum of its products over heads") {
  for (const auto& [first, second] : {std::pair{1, 1}, {3, 5}, {16, 16}}) {
    FactoredPlan plan = monet::random_plan(7, 3, first, second, 1);
    plan.removed = first == 3 ? std::vector<ExpertId>{0, 7, 14} : std::vector<ExpertId>{};
    RoutingPlan flat;
    REQUIRE(flatten(plan, flat).ok());
    REQUIRE(flat.tokens() == 7);
    REQUIRE(flat.num_experts() == first * second);
    for (index_t t = 0; t < 7; ++t) {
      const std::vector<double> expected = dense(plan, t);
      const std::vector<float> found = dense_weights(flat, t);
      for (std::size_t e = 0; e < found.size(); ++e) {
        CHECK(static_cast<double>(found[e]) == Catch::Approx(expected[e]).epsilon(1e-6).margin(1e-6));
      }
      for (const ExpertId e : plan.removed) {
        CHECK(std::count(flat.experts(t).begin(), flat.experts(t).end(), e) == 0);
      }
    }
  }
  RoutingPlan none;
  REQUIRE(flatten(monet::random_plan(0, 2, 3, 5, 1), none).ok());
  CHECK(none.tokens() == 0);
}

TEST_CASE("edits take sides and single experts out of a factored plan and leave the weights of the others") {
  const FactoredPlan plan = monet::random_plan(5, 2, 4, 3, 2);
  const std::vector<std::uint8_t> without_1{1, 0, 1, 1};
  const std::vector<ExpertId> removed{2, 9};
  FactoredPlan out;
  REQUIRE(edit(plan, {.mask = {without_1, {}}, .removed = removed}, out).ok());
  CHECK(out.removed == removed);
  CHECK(out.side[1] == plan.side[1]);
  RoutingPlan flat;
  REQUIRE(flatten(out, flat).ok());
  for (index_t t = 0; t < 5; ++t) {
    std::vector<double> expected = dense(plan, t);
    for (const ExpertId e : {2, 3, 4, 5, 9}) expected[as_size(e)] = 0.0;
    const std::vector<float> found = dense_weights(flat, t);
    for (std::size_t e = 0; e < found.size(); ++e) {
      CHECK(static_cast<double>(found[e]) == Catch::Approx(expected[e]).epsilon(1e-6).margin(1e-6));
    }
  }
  FactoredPlan again;
  REQUIRE(edit(out, {.removed = std::vector<ExpertId>{5, 9}}, again).ok());
  CHECK(again.removed == std::vector<ExpertId>{2, 5, 9});
  CHECK(FactoredEdits{}.empty());
  CHECK_FALSE(FactoredEdits{.removed = removed}.empty());
}

TEST_CASE("factored plans that contradict themselves are refused") {
  FactoredPlan plan = monet::random_plan(3, 2, 4, 3, 3);
  RoutingPlan flat;
  const auto refuses = [&](auto change) {
    FactoredPlan bad = plan;
    change(bad);
    return said(flatten(bad, flat));
  };
  CHECK(refuses([](FactoredPlan&) {}) == "ok");
  CHECK(refuses([](FactoredPlan& p) { p.heads = 0; }) ==
        "usage: heads of a factored plan, at least (got 0, allowed 1)");
  CHECK(refuses([](FactoredPlan& p) { p.heads = 4; }) ==
        "usage: rows of a factored plan, which are a multiple of the heads, (got 6, allowed 4)");
  CHECK(refuses([](FactoredPlan& p) { p.side[1].clear(3); }) ==
        "usage: rows of the second side of a factored plan (got 0, allowed 6)");
  CHECK(refuses([](FactoredPlan& p) { p.removed = {12}; }) == "usage: removed expert (got 12, allowed 11)");
  CHECK(refuses([](FactoredPlan& p) { p.removed = {-1}; }) == "usage: removed expert (got -1, allowed 11)");
  CHECK(refuses([](FactoredPlan& p) { p.removed = {3, 3}; }) == "usage: removed experts do not ascend");
  CHECK(refuses([](FactoredPlan& p) {
          for (RoutingPlan& side : p.side) side.clear(1 << 20);
        }) == "usage: number of experts (got 1099511627776, allowed 2147483647)");
  CHECK(said(flatten(plan, plan.side[0])) == "usage: output of flatten is its input");
  CHECK(said(edit(plan, {}, plan)) == "usage: output of a plan transform is its input");
  FactoredPlan out;
  const std::vector<std::uint8_t> mask(3, 1);
  CHECK(said(edit(plan, {.mask = {mask, {}}}, out)) ==
        "usage: size of an ablation mask against experts (got 3, allowed 4)");
  CHECK(said(edit(plan, {.removed = std::vector<ExpertId>{12}}, out)) == "usage: removed expert (got 12, allowed 11)");
}
