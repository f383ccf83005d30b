#include "headgate/routing/plan_writer.hpp"

#include "support/catch.hpp"
#include "support/random.hpp"

namespace {

using namespace headgate;

void fill(PlanWriter& writer, index_t token, const std::vector<ExpertId>& ids, const std::vector<float>& weights) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    writer.experts(token)[i] = ids[i];
    writer.weights(token)[i] = weights[i];
  }
}

}  // namespace

TEST_CASE("rows written in any order are the plan of the same rows appended") {
  for (const index_t max_row : {3, 50}) {  // with and without scratch
    RoutingPlan expected;
    expected.clear(60);
    std::vector<std::vector<ExpertId>> ids;
    std::vector<std::vector<float>> weights;
    for (index_t t = 0; t < 20; ++t) {
      ids.push_back(random_order(60, static_cast<unsigned>(t)));
      ids.back().resize(as_size((7 * t) % (max_row + 1)));
      weights.push_back(random_floats(ids.back().size(), 1.0f, static_cast<unsigned>(t)));
      throw_if_error(expected.append_row(ids.back(), weights.back()));
    }
    RoutingPlan plan;
    PlanWriter writer(plan);
    REQUIRE(writer.open(60, 20, max_row).ok());
    std::vector<index_t> scratch(as_size(writer.scratch_size()));
    CHECK(scratch.empty() == (max_row == 3));
    for (const std::int32_t t : random_order(20, 99)) {
      fill(writer, t, ids[as_size(t)], weights[as_size(t)]);
      REQUIRE(writer.close_row(t, static_cast<index_t>(ids[as_size(t)].size()), scratch).ok());
    }
    writer.finish();
    CHECK(plan == expected);
  }
}

TEST_CASE("a row at fault is named, and a plan that was not finished has no rows") {
  RoutingPlan plan;
  {
    PlanWriter writer(plan);
    REQUIRE(writer.open(5, 3, 2).ok());
    fill(writer, 1, {4, 5}, {1.0f, 1.0f});
    const Status outside = writer.close_row(1, 2, {});
    CHECK(outside.token == 1);
    CHECK(outside.expert == 5);
    fill(writer, 2, {4, 4}, {1.0f, 1.0f});
    CHECK(writer.close_row(2, 2, {}).found == 2);
    CHECK(writer.close_row(2, 1, {}).ok());
  }
  CHECK(plan.num_experts() == 5);
  CHECK(plan.tokens() == 0);
  CHECK(plan.entries() == 0);
}

TEST_CASE("more entries than a 32-bit index counts are refused before they are allocated") {
  RoutingPlan plan;
  PlanWriter writer(plan);
  const Status status = writer.open(1 << 20, 1 << 20, 1 << 12);
  CHECK(status.found == std::int64_t{1} << 32);
  CHECK(status.allowed == max_index);
}

TEST_CASE("scratch to close rows follows from their length, not from the number of experts") {
  RoutingPlan plan;
  PlanWriter writer(plan);
  REQUIRE(writer.open(1 << 20, 2, 128).ok());
  CHECK(writer.scratch_size() == 256);
  std::vector<index_t> scratch(256);
  for (index_t i = 0; i < 128; ++i) {
    writer.experts(0)[as_size(i)] = i << 13;
    writer.experts(1)[as_size(i)] = i << 13;
    writer.weights(0)[as_size(i)] = writer.weights(1)[as_size(i)] = 1.0f;
  }
  writer.experts(1)[127] = 5 << 13;
  CHECK(writer.close_row(0, 128, scratch).ok());
  const Status again = writer.close_row(1, 128, scratch);
  CHECK(again.found == 2);
  CHECK(again.expert == 5 << 13);
  CHECK(scratch == std::vector<index_t>(256));
}
