#include "headgate/analysis/routing_trace.hpp"

#include <cmath>

#include "support/catch.hpp"

using namespace headgate;

namespace {

RoutingPlan plan_of(index_t num_experts, const std::vector<std::vector<ExpertId>>& rows) {
  RoutingPlan plan;
  plan.clear(num_experts);
  for (const std::vector<ExpertId>& row : rows) {
    REQUIRE(plan.append_row(row, std::vector<float>(row.size(), 0.5f)).ok());
  }
  return plan;
}

}  // namespace

TEST_CASE("loads, k, overlap and agreement of a trace are those computed by hand") {
  RoutingTrace trace(1, 5, 4, 2);  // expert 4 computes nothing
  const RoutingPlan plan = plan_of(5, {{0, 1}, {1, 2}, {}, {4}, {4, 2, 0}});
  const RoutingPlan reference = plan_of(5, {{0, 1}, {2, 3}, {}, {0}, {0, 2, 4}});
  trace.add(0, plan, &reference);
  CHECK(trace.tokens() == 5);
  CHECK(trace.num_blocks() == 3);
  CHECK(trace.loads(0) == std::vector<std::int64_t>{2, 2, 2, 0, 2});
  const RoutingMetrics m = trace.metrics();
  CHECK(m.mean_k == Catch::Approx(8.0 / 5));
  CHECK(m.experts_per_token == Catch::Approx(6.0 / 5));
  CHECK(m.dead == 1);
  CHECK(m.overlap == Catch::Approx((0.5 + 0.0 + 1.0 / 3) / 3));  // token 2 has no experts, its neighbour none in common
  CHECK(m.agreement == Catch::Approx((1.0 + 1.0 / 3 + 1.0 + 0.0 + 1.0) / 5));
  // The second block twice, the others not at all.
  const index_t times[] = {0, 2, 0};
  CHECK(trace.loads(0, times) == std::vector<std::int64_t>{0, 0, 0, 0, 2});
  CHECK(trace.metrics(times).mean_k == Catch::Approx(0.5));
}

TEST_CASE("what chance gives stands beside overlap and agreement, computed by hand") {
  RoutingTrace trace(1, 5, 5, 2);
  const RoutingPlan plan = plan_of(5, {{0, 1}, {1, 2, 3}, {}, {4}});
  const RoutingPlan reference = plan_of(5, {{0, 1}, {2}, {1}, {4, 0}});
  trace.add(0, plan, &reference);
  const RoutingMetrics m = trace.metrics();
  // Tokens 1 and 3 have a neighbour and experts: 2 of 5 and none of 5.
  CHECK(m.overlap_by_chance == Catch::Approx((2.0 / 5 + 0.0) / 2));
  // Of the three other tokens, expert 1 is in one, 2, 3 and 4 in none.
  CHECK(m.overlap_by_load == Catch::Approx((1.0 / 3 / 3 + 0.0) / 2));
  CHECK(m.agreement_by_chance == Catch::Approx((agreement_by_chance(2, 2, 5) + agreement_by_chance(3, 1, 5) +
                                                agreement_by_chance(0, 1, 5) + agreement_by_chance(1, 2, 5)) /
                                               4));
  // Against the reference's row two tokens on: {1}, {4, 0}, {0, 1}, {2}.
  CHECK(m.agreement_by_load == Catch::Approx((1.0 / 2 + 0.0 + 0.0 + 0.0) / 4));
  CHECK(m.weight_sum == Catch::Approx((1.0 + 1.5 + 0.0 + 0.5) / 4));  // 0.5 each
  CHECK(m.weight_distance == Catch::Approx((0.0 + 1.0 + 0.5 + 0.5) / 4));
  // Shares: the same; 1/3 of each against 1; nothing against 1; 1 against 1/2 each.
  CHECK(m.weight_total_variation == Catch::Approx((0.0 + 2.0 / 3 + 1.0 + 0.5) / 4));
  // The second block three times: tokens 2 and 3, of which the last has a neighbour.
  const index_t times[] = {0, 3};
  CHECK(trace.metrics(times).overlap_by_load == Catch::Approx((3.0 - 1) / (6 - 1)));
  CHECK(trace.metrics(times).weight_sum == Catch::Approx(0.25));

  RoutingTrace alone(1, 5, 5, 2);
  alone.add(0, plan_of(5, {{0}}));
  CHECK(std::isnan(alone.metrics().overlap_by_load));
  CHECK(std::isnan(alone.metrics().weight_distance));
}

TEST_CASE("a text cut into calls is the same trace, and the first token of a text has no neighbour") {
  RoutingTrace whole(2, 3, 3, 4);
  RoutingTrace parts(2, 3, 3, 4);
  const RoutingPlan first = plan_of(3, {{0}, {0}, {1}});
  const RoutingPlan second = plan_of(3, {{1}, {2}});
  const RoutingPlan all = plan_of(3, {{0}, {0}, {1}, {1}, {2}});
  for (index_t l = 0; l < 2; ++l) {
    whole.add(l, all);
    parts.add(l, first);
    parts.add(l, second);
  }
  CHECK(whole.metrics().overlap == parts.metrics().overlap);
  CHECK(whole.metrics().overlap == Catch::Approx(2.0 / 4));
  CHECK(std::isnan(whole.metrics().agreement));
  CHECK(whole.loads(1) == parts.loads(1));
  RoutingTrace two_texts(1, 3, 3, 4);
  two_texts.add(0, first);
  two_texts.begin_text();
  two_texts.add(0, second);
  CHECK(two_texts.metrics().overlap == Catch::Approx(1.0 / 3));
}

TEST_CASE("plans of another bank are refused") {
  RoutingTrace trace(1, 4, 4, 8);
  CHECK_THROWS_AS(trace.add(0, plan_of(5, {{0}})), Error);
  const RoutingPlan shorter = plan_of(4, {{0}});
  CHECK_THROWS_AS(trace.add(0, plan_of(4, {{0}, {1}}), &shorter), Error);
}

TEST_CASE("a text is cut into about 64 blocks, of one token at least") {
  CHECK(RoutingTrace::block_size(0) == 1);
  CHECK(RoutingTrace::block_size(1) == 1);
  CHECK(RoutingTrace::block_size(64) == 1);
  CHECK(RoutingTrace::block_size(65) == 2);
  CHECK(RoutingTrace::block_size(128) == 2);
  CHECK(RoutingTrace::block_size(129) == 3);
  CHECK(RoutingTrace::block_size(std::int64_t{1} << 60) == max_index);
}

TEST_CASE("metrics of nothing are no numbers, dead experts are summed and the rest averaged over layers") {
  RoutingTrace trace(2, 3, 3, 2);
  CHECK(trace.num_layers() == 2);
  CHECK(trace.num_experts() == 3);
  CHECK(trace.num_blocks() == 0);
  CHECK(std::isnan(trace.metrics().mean_k));
  CHECK(std::isnan(trace.metrics().overlap));
  CHECK(std::isnan(trace.metrics().agreement));
  trace.add(0, plan_of(3, {{0}, {0}}));
  trace.add(1, plan_of(3, {{0, 1, 2}, {1}}));
  const RoutingMetrics m = trace.metrics();
  CHECK(m.mean_k == 1.5);
  CHECK(m.experts_per_token == 1.5);
  CHECK(m.dead == 2);
  CHECK(m.max_violation == Catch::Approx((2.0 + 0.5) / 2));
  CHECK(m.overlap == 1.0);
  CHECK(std::isnan(m.agreement));
  CHECK(trace.layer_metrics(1).mean_k == 2.0);
  CHECK(trace.layer_metrics(1).dead == 0);
  const index_t none[] = {0};
  CHECK(std::isnan(trace.metrics(none).mean_k));
  const index_t thrice[] = {3};
  CHECK(trace.loads(1, thrice) == std::vector<std::int64_t>{3, 6, 3});
  CHECK(trace.metrics(thrice).mean_k == 1.5);
}

TEST_CASE("a plan of another bank, or a reference of other tokens, is no part of a trace") {
  RoutingTrace trace(1, 3, 3, 2);
  const RoutingPlan plan = plan_of(3, {{0}});
  const RoutingPlan longer = plan_of(3, {{0}, {1}});
  CHECK_THROWS_WITH(trace.add(0, plan_of(4, {{0}})),
                    "experts of the plan against experts of the trace (got 4, allowed 3)");
  CHECK_THROWS_WITH(trace.add(0, plan, &longer), "tokens of the reference (got 2, allowed 1)");
}

TEST_CASE("a trace has layers, experts and blocks, and takes plans of its layers alone") {
  CHECK_THROWS_WITH(RoutingTrace(0, 3, 3, 2), "layers, experts or tokens of a block, at least (got 0, allowed 1)");
  CHECK_THROWS_WITH(RoutingTrace(-2, 3, 3, 2), "layers, experts or tokens of a block, at least (got -2, allowed 1)");
  CHECK_THROWS_WITH(RoutingTrace(1, 0, 0, 2), "layers, experts or tokens of a block, at least (got 0, allowed 1)");
  CHECK_THROWS_WITH(RoutingTrace(1, 3, 3, 0), "layers, experts or tokens of a block, at least (got 0, allowed 1)");
  RoutingTrace trace(2, 3, 3, 2);
  const RoutingPlan plan = plan_of(3, {{0}});
  CHECK_THROWS_WITH(trace.add(-1, plan), "layer (got -1, allowed 1)");
  CHECK_THROWS_WITH(trace.add(2, plan), "layer (got 2, allowed 1)");
  trace.add(1, plan);
  CHECK(trace.loads(1) == std::vector<std::int64_t>{1, 0, 0});
  CHECK(trace.tokens() == 0);
}

TEST_CASE("every metric of a trace is the mean of its layers', the dead their sum") {
  RoutingTrace trace(2, 4, 3, 8);
  const RoutingPlan first = plan_of(4, {{0, 1}, {1, 2}, {0}});
  const RoutingPlan second = plan_of(4, {{3}, {3, 0}, {3}});
  trace.add(0, first, &second);
  trace.add(1, second, &first);
  const RoutingMetrics a = trace.layer_metrics(0);
  const RoutingMetrics b = trace.layer_metrics(1);
  const RoutingMetrics all = trace.metrics();
  const LoadStats of_a = LoadStats::of(trace.loads(0));
  CHECK(trace.loads(0) == std::vector<std::int64_t>{2, 2, 1, 0});
  CHECK(a.max_violation == of_a.max_violation);
  CHECK(a.variation == of_a.variation);
  CHECK(a.gini == of_a.gini);
  CHECK(a.jain == of_a.jain);
  CHECK(a.entropy_ratio == of_a.entropy_ratio);
  CHECK(a.dead == 1.0);
  CHECK(b.experts_per_token == Catch::Approx(1.0 / 3));
  CHECK(all.dead == 3.0);
  using M = RoutingMetrics;
  for (const auto member :
       {&M::mean_k, &M::experts_per_token, &M::max_violation, &M::variation, &M::gini, &M::jain, &M::entropy_ratio,
        &M::overlap, &M::overlap_by_chance, &M::overlap_by_load, &M::agreement, &M::agreement_by_chance,
        &M::agreement_by_load, &M::weight_total_variation, &M::weight_distance, &M::weight_sum}) {
    CHECK(std::isfinite(all.*member));
    CHECK(all.*member == Catch::Approx((a.*member + b.*member) / 2));
  }
}
