#include "headgate/routing/routing_plan.hpp"

#include <algorithm>

#include "headgate/routing/plan_transform.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"

namespace {

using namespace headgate;

Status append(RoutingPlan& plan, const std::vector<ExpertId>& experts, const std::vector<float>& weights) {
  return plan.append_row(experts, weights);
}

}  // namespace

TEST_CASE("rows keep their order of selection") {
  RoutingPlan plan;
  CHECK(plan.tokens() == 0);
  CHECK(plan.offsets().empty());
  plan.clear(4);
  REQUIRE(append(plan, {3, 0}, {0.75f, -0.25f}).ok());
  REQUIRE(append(plan, {}, {}).ok());
  REQUIRE(append(plan, {2}, {2.0f}).ok());
  CHECK(plan.num_experts() == 4);
  CHECK(plan.tokens() == 3);
  CHECK(plan.entries() == 3);
  CHECK(plan.experts(0)[0] == 3);
  CHECK(plan.weights(0)[1] == -0.25f);
  CHECK(plan.experts(1).empty());
  CHECK(plan.experts(2)[0] == 2);
  CHECK(std::vector<index_t>(plan.offsets().begin(), plan.offsets().end()) == std::vector<index_t>{0, 2, 2, 3});
}

TEST_CASE("plans of no token, of no expert and of empty rows are legal") {
  RoutingPlan plan;
  plan.clear(0);
  CHECK(plan.tokens() == 0);
  REQUIRE(append(plan, {}, {}).ok());
  CHECK(plan.tokens() == 1);
  CHECK(append(plan, {0}, {1.0f}).expert == 0);
  Workspace workspace;
  CHECK(ExpertMajor::of(plan, workspace).size() == 0);
  plan.clear(5);
  CHECK(ExpertMajor::of(plan, workspace).size() == 0);
  for (int t = 0; t < 100; ++t) REQUIRE(append(plan, {}, {}).ok());
  CHECK(plan.tokens() == 100);
  CHECK(plan.entries() == 0);
}

TEST_CASE("a row of 10,000 experts is legal, and a repeated id in it is found") {
  std::vector<ExpertId> ids = random_order(12'000, 1);
  ids.resize(10'000);
  const std::vector<float> weights(10'000, 0.5f);
  RoutingPlan plan;
  plan.clear(12'000);
  REQUIRE(append(plan, ids, weights).ok());
  REQUIRE(append(plan, ids, weights).ok());
  std::vector<ExpertId> repeated = ids;
  repeated[9'999] = repeated[17];
  const Status status = append(plan, repeated, weights);
  CHECK(status.code == ErrorCode::usage);
  CHECK(status.token == 2);
  CHECK(status.expert == ids[17]);
  REQUIRE(append(plan, ids, weights).ok());  // nothing is left of the refused row
  CHECK(plan.tokens() == 3);
  CHECK(plan.entries() == 30'000);
  std::vector<ExpertId> high = ids;
  high[5'000] = 12'000;
  CHECK(append(plan, high, weights).expert == 12'000);
  REQUIRE(append(plan, ids, weights).ok());
}

TEST_CASE("faults of a hand-made plan name token and expert and change nothing") {
  RoutingPlan plan;
  plan.clear(4);
  REQUIRE(append(plan, {1, 2}, {0.5f, 0.5f}).ok());
  const RoutingPlan before = plan;
  const auto text = [&](const std::vector<ExpertId>& ids, const std::vector<float>& weights) {
    const Status status = append(plan, ids, weights);
    CHECK(plan == before);
    return status.ok() ? "" : Error::describe(status);
  };
  constexpr float inf = std::numeric_limits<float>::infinity();
  CHECK(text({0, 4}, {1.0f, 1.0f}) == "expert id (got 4, allowed 3), token 1, expert 4");
  CHECK(text({-1}, {1.0f}) == "expert id (got -1, allowed 3), token 1");
  CHECK(text({2, 0, 2}, {1.0f, 1.0f, 1.0f}) ==
        "times an expert stands in one row (got 2, allowed 1), token 1, expert 2");
  CHECK(text({2, 3}, {1.0f, inf}) == "combine weight is not finite, token 1, expert 3");
  CHECK(text({2}, {std::numeric_limits<float>::quiet_NaN()}) == "combine weight is not finite, token 1, expert 2");
  CHECK(text({2}, {}) == "number of weights in a row (got 0, allowed 1)");
}

TEST_CASE("sizes beyond a 32-bit index are refused before anything is allocated") {
  RoutingPlan plan;
  plan.clear(4);
  CHECK(plan.reserve(1, std::int64_t{max_index} + 1).found == std::int64_t{max_index} + 1);
  CHECK(plan.reserve(max_index, 0).allowed == max_index - 1);
  CHECK(plan.reserve(std::int64_t{1} << 40, std::int64_t{1} << 60).code == ErrorCode::usage);
  CHECK_FALSE(plan.reserve(-1, 0).ok());
  CHECK_FALSE(plan.reserve(0, -1).ok());
  // A row longer than the entries left; the spans are never read.
  const float one = 1.0f;
  const ExpertId id = 0;
  const std::size_t huge = as_size(max_index) + 1;
  CHECK(plan.append_row({&id, huge}, {&one, huge}).allowed == max_index);
}

TEST_CASE("P12: by expert and back is the same plan, and the rows of an expert ascend") {
  for (const index_t experts : {1, 5, 7, 64}) {
    const RoutingPlan plan = reference::random_plan(50, experts, [&](index_t t) { return (t * t) % (experts + 1); }, 3);
    Workspace workspace;
    const ExpertMajor major = ExpertMajor::of(plan, workspace);
    std::vector<ExpertId> ids(as_size(plan.entries()), -1);
    std::vector<float> weights(as_size(plan.entries()));
    index_t count = 0;
    for (index_t i = 0; i < major.size(); ++i) {
      CHECK((i == 0 || major.experts[as_size(i)] > major.experts[as_size(i) - 1]));
      CHECK(std::is_sorted(major.tokens_of(i).begin(), major.tokens_of(i).end()));
      CHECK_FALSE(major.tokens_of(i).empty());
      for (std::size_t j = 0; j < major.tokens_of(i).size(); ++j, ++count) {
        const std::size_t entry = as_size(major.entries[as_size(major.offsets[as_size(i)]) + j]);
        ids[entry] = major.experts[as_size(i)];
        weights[entry] = major.weights_of(i)[j];
        CHECK(as_size(plan.offsets()[as_size(major.tokens_of(i)[j])]) <= entry);
        CHECK(entry < as_size(plan.offsets()[as_size(major.tokens_of(i)[j]) + 1]));
      }
    }
    CHECK(count == plan.entries());
    CHECK(std::equal(ids.begin(), ids.end(), plan.experts().begin()));
    CHECK(std::equal(weights.begin(), weights.end(), plan.weights().begin()));
  }
}

TEST_CASE("a repeated id is found in rows of either way of looking, at the first and the last place") {
  for (const index_t n : {2, 3, 31, 32, 33, 34}) {
    std::vector<ExpertId> ids = random_order(40, static_cast<unsigned>(n));
    ids.resize(as_size(n));
    const std::vector<float> weights(ids.size(), 1.0f);
    RoutingPlan plan;
    plan.clear(40);
    REQUIRE(append(plan, ids, weights).ok());
    std::vector<ExpertId> repeated = ids;
    repeated.back() = ids.front();
    const Status status = append(plan, repeated, weights);
    CHECK(said(status) == "usage: times an expert stands in one row (got 2, allowed 1), token 1, expert " +
                              std::to_string(ids.front()));
    std::vector<ExpertId> second = ids;
    second[1] = ids[0];
    CHECK_FALSE(append(plan, second, weights).ok());
    REQUIRE(append(plan, ids, weights).ok());
    CHECK(plan.tokens() == 2);
  }
}

TEST_CASE("a plan's sizes are taken up to their bounds, and a refusal says which bound") {
  RoutingPlan plan;
  plan.clear(1);
  CHECK(said(plan.reserve(0, 0)) == "ok");
  CHECK(said(plan.reserve(-1, 0)) == "usage: number of tokens in a plan (got -1, allowed 2147483646)");
  CHECK(said(plan.reserve(max_index, 0)) == "usage: number of tokens in a plan (got 2147483647, allowed 2147483646)");
  CHECK(said(plan.reserve(0, -1)) == "usage: number of entries in a plan (got -1, allowed 2147483647)");
  CHECK(said(plan.reserve(0, std::int64_t{max_index} + 1)) ==
        "usage: number of entries in a plan (got 2147483648, allowed 2147483647)");
  REQUIRE(append(plan, {0}, {0.0f}).ok());
  CHECK(said(append(plan, {1}, {1.0f})) == "usage: expert id (got 1, allowed 0), token 1, expert 1");
  CHECK(said(append(plan, {0, 0}, {1.0f})) == "usage: number of weights in a row (got 1, allowed 2)");
}

TEST_CASE("plans are equal if experts, weights, rows and bank are, whatever was refused before") {
  RoutingPlan a;
  RoutingPlan b;
  a.clear(50);
  b.clear(50);
  std::vector<ExpertId> many = random_order(40, 1);
  CHECK(append(a, many, std::vector<float>(40, 1.0f)).ok());  // makes scratch memory
  a.clear(50);
  CHECK(a == b);
  REQUIRE(append(a, {1}, {1.0f}).ok());
  CHECK_FALSE(a == b);
  REQUIRE(append(b, {1}, {0.5f}).ok());
  CHECK_FALSE(a == b);
  b.clear(50);
  REQUIRE(append(b, {1}, {1.0f}).ok());
  CHECK(a == b);
  RoutingPlan other_bank;
  other_bank.clear(51);
  REQUIRE(append(other_bank, {1}, {1.0f}).ok());
  CHECK_FALSE(a == other_bank);
}

TEST_CASE("by expert: first and last expert, empty ones between, and tokens, weights and places of each") {
  RoutingPlan plan;
  plan.clear(6);
  REQUIRE(append(plan, {5, 0}, {0.5f, 0.25f}).ok());
  REQUIRE(append(plan, {}, {}).ok());
  REQUIRE(append(plan, {0, 3}, {2.0f, 4.0f}).ok());
  Workspace workspace;
  const ExpertMajor major = ExpertMajor::of(plan, workspace);
  const auto vector = [](auto span) { return std::vector(span.begin(), span.end()); };
  CHECK(vector(major.experts) == std::vector<ExpertId>{0, 3, 5});
  CHECK(vector(major.offsets) == std::vector<index_t>{0, 2, 3, 4});
  CHECK(vector(major.tokens) == std::vector<index_t>{0, 2, 2, 0});
  CHECK(vector(major.weights) == std::vector<float>{0.25f, 2.0f, 4.0f, 0.5f});
  CHECK(vector(major.entries) == std::vector<index_t>{1, 2, 3, 0});
  CHECK(vector(major.tokens_of(0)) == std::vector<index_t>{0, 2});
  CHECK(vector(major.weights_of(2)) == std::vector<float>{0.5f});
}

TEST_CASE("rows of a plan are copied to another, which they replace") {
  RoutingPlan plan;
  plan.clear(4);
  throw_if_error(plan.append_row(std::vector<ExpertId>{3, 0}, std::vector<float>{0.5f, 0.25f}));
  throw_if_error(plan.append_row({}, {}));
  throw_if_error(plan.append_row(std::vector<ExpertId>{2}, std::vector<float>{-1.0f}));
  RoutingPlan copy;
  copy.clear(9);
  throw_if_error(copy.append_row(std::vector<ExpertId>{8}, std::vector<float>{1.0f}));
  REQUIRE(copy.copy_rows(plan, 1, 2).ok());
  CHECK(copy.num_experts() == 4);
  CHECK(copy.tokens() == 2);
  CHECK(copy.experts(0).empty());
  CHECK(copy.experts(1)[0] == 2);
  CHECK(copy.weights(1)[0] == -1.0f);
  REQUIRE(copy.copy_rows(plan, 0, 3).ok());
  CHECK(copy == plan);
  REQUIRE(copy.copy_rows(plan, 3, 0).ok());
  CHECK(copy.tokens() == 0);
  CHECK(copy.copy_rows(plan, 2, 2).allowed == 3);
  CHECK(copy.copy_rows(plan, -1, 2).found == -1);
  CHECK(copy.copy_rows(plan, 0, -1).found == -1);
  CHECK(plan.copy_rows(plan, 0, 1).code == ErrorCode::usage);
  CHECK(copy.copy_rows(RoutingPlan(), 0, 0).ok());
  CHECK(copy.copy_rows(RoutingPlan(), 0, 1).code == ErrorCode::usage);
}

TEST_CASE("rows of a plan are copied up to its ends, and a refusal says what there is") {
  RoutingPlan plan;
  plan.clear(4);
  REQUIRE(append(plan, {3, 1}, {1.0f, 2.0f}).ok());
  REQUIRE(append(plan, {}, {}).ok());
  REQUIRE(append(plan, {0}, {3.0f}).ok());
  RoutingPlan part;
  REQUIRE(part.copy_rows(plan, 0, 3).ok());
  CHECK(part == plan);
  REQUIRE(part.copy_rows(plan, 1, 2).ok());
  CHECK(part.tokens() == 2);
  CHECK(part.experts(0).empty());
  CHECK(part.experts(1)[0] == 0);
  CHECK(part.weights(1)[0] == 3.0f);
  CHECK(part.num_experts() == 4);
  REQUIRE(part.copy_rows(plan, 3, 0).ok());
  CHECK(part.tokens() == 0);
  REQUIRE(part.copy_rows(plan, 0, 0).ok());
  CHECK(said(part.copy_rows(plan, -1, 1)) == "usage: rows to copy from a plan, at least (got -1, allowed 0)");
  CHECK(said(part.copy_rows(plan, 0, -2)) == "usage: rows to copy from a plan, at least (got -2, allowed 0)");
  CHECK(said(part.copy_rows(plan, 1, 3)) == "usage: rows to copy from a plan (got 4, allowed 3)");
  CHECK(said(plan.copy_rows(plan, 0, 1)) == "usage: rows copied from a plan to itself");
}
