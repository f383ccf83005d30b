#include "headgate/routing/region_router.hpp"

#include <algorithm>

#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/status.hpp"

using namespace headgate;

TEST_CASE("regions are chosen by inner product of means, best first, ties to the lower index") {
  const double queries[] = {1.0, 0.0, 0.0, -1.0};
  const double keys[] = {1.0, 3.0, 2.0, -1.0, 2.0, 0.0, 0.5, 5.0};
  RoutingPlan plan;
  Context ctx;
  const MatrixView<const double> q(queries, 2, 2);
  const MatrixView<const double> k(keys, 4, 2);
  throw_if_error(RegionRouter(3).route(q, k, {}, plan, ctx));
  REQUIRE(plan.tokens() == 2);
  CHECK(plan.num_experts() == 4);
  CHECK(std::vector<ExpertId>(plan.experts().begin(), plan.experts().end()) == std::vector<ExpertId>{1, 2, 0, 1, 2, 0});
  for (const float w : plan.weights()) CHECK(w == 1.0f);

  const std::vector<std::uint8_t> allowed = {1, 0, 1, 0};
  throw_if_error(RegionRouter(3).route(q, k, allowed, plan, ctx));
  CHECK(std::vector<ExpertId>(plan.experts(1).begin(), plan.experts(1).end()) == std::vector<ExpertId>{2, 0});
  throw_if_error(RegionRouter(9).route(q, k, {}, plan, ctx));
  CHECK(plan.experts(0).size() == 4);
}

TEST_CASE("a region router names query and key region of an affinity that is not finite, and refuses other widths") {
  std::vector<float> queries = random_floats(6, 1.0f, 1);
  std::vector<float> keys = random_floats(8, 1.0f, 2);
  RoutingPlan plan;
  Context ctx;
  CHECK(RegionRouter(2).route<float>({queries.data(), 2, 3}, {keys.data(), 4, 2}, {}, plan, ctx).allowed == 3);
  const std::vector<std::uint8_t> three(3, 1);
  CHECK(RegionRouter(2).route<float>({queries.data(), 3, 2}, {keys.data(), 4, 2}, three, plan, ctx).allowed == 4);
  keys[5] = std::numeric_limits<float>::infinity();
  const Status status = RegionRouter(2).route<float>({queries.data(), 3, 2}, {keys.data(), 4, 2}, {}, plan, ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.token == 0);
  CHECK(status.expert == 2);
  CHECK(plan.tokens() == 0);
  throw_if_error(RegionRouter(2).route<float>({queries.data(), 0, 2}, {keys.data(), 4, 2}, {}, plan, ctx));
  CHECK(plan.tokens() == 0);
}

TEST_CASE("an error of a later query region leaves no rows of the earlier ones") {
  std::vector<float> queries = {1.0f, 0.0f, std::numeric_limits<float>::infinity(), 1.0f};
  const std::vector<float> keys = {1.0f, 2.0f, 3.0f, 4.0f};
  RoutingPlan plan;
  Context ctx;
  CHECK(said(RegionRouter(1).route<float>({queries.data(), 2, 2}, {keys.data(), 2, 2}, {}, plan, ctx)) ==
        "numeric: region affinity is not finite, token 1, expert 0");
  CHECK(plan.tokens() == 0);
  CHECK(plan.entries() == 0);
  CHECK(plan.num_experts() == 2);
}

TEST_CASE("a key region that is not allowed may hold anything") {
  const std::vector<float> queries = {1.0f, 1.0f};
  const std::vector<float> keys = {1.0f, 2.0f, std::numeric_limits<float>::infinity(), 4.0f};
  const std::vector<std::uint8_t> allowed = {1, 0};
  RoutingPlan plan;
  Context ctx;
  throw_if_error(RegionRouter(2).route<float>({queries.data(), 1, 2}, {keys.data(), 2, 2}, allowed, plan, ctx));
  REQUIRE(plan.entries() == 1);
  CHECK(plan.experts(0)[0] == 0);
  CHECK(said(RegionRouter(2).route<float>({queries.data(), 1, 2}, {keys.data(), 2, 2}, {}, plan, ctx)) ==
        "numeric: region affinity is not finite, token 0, expert 1");
}

TEST_CASE("a region router says what does not fit, and chooses exactly its number of regions, equal ones in order") {
  const std::vector<float> queries(6, 1.0f);
  const std::vector<float> keys(8, 1.0f);
  const std::vector<std::uint8_t> three(3, 1);
  RoutingPlan plan;
  Context ctx;
  CHECK(said(RegionRouter(2).route<float>({queries.data(), 2, 3}, {keys.data(), 4, 2}, {}, plan, ctx)) ==
        "usage: channels of the region keys (got 2, allowed 3)");
  CHECK(said(RegionRouter(2).route<float>({queries.data(), 3, 2}, {keys.data(), 4, 2}, three, plan, ctx)) ==
        "usage: size of allowed against key regions (got 3, allowed 4)");
  for (const index_t regions : {1, 2, 3, 4, 5}) {
    throw_if_error(RegionRouter(regions).route<float>({queries.data(), 3, 2}, {keys.data(), 4, 2}, {}, plan, ctx));
    REQUIRE(plan.experts(2).size() == as_size(std::min<index_t>(regions, 4)));
    for (std::size_t i = 0; i < plan.experts(2).size(); ++i) CHECK(plan.experts(2)[i] == static_cast<ExpertId>(i));
  }
  CHECK(RegionRouter(5).regions() == 5);
}

TEST_CASE("a region router refuses to choose none, and regions without data") {
  const std::vector<float> values(4, 1.0f);
  RoutingPlan plan;
  Context ctx;
  const auto outcome = [&](index_t regions, const float* queries, const float* keys) {
    return said(RegionRouter(regions).route<float>({queries, 2, 2}, {keys, 2, 2}, {}, plan, ctx));
  };
  CHECK(outcome(1, values.data(), values.data()) == "ok");
  CHECK(outcome(0, values.data(), values.data()) == "usage: routed regions, at least (got 0, allowed 1)");
  CHECK(outcome(1, nullptr, values.data()) == "usage: rows of a matrix without data");
  CHECK(outcome(1, values.data(), nullptr) == "usage: rows of a matrix without data");
}
