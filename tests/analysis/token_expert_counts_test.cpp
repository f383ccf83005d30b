#include "headgate/analysis/token_expert_counts.hpp"

#include <random>

#include "headgate/routing/hash_router.hpp"
#include "support/catch.hpp"
#include "support/routing.hpp"

namespace {

using namespace headgate;

// Tokens by a falling law of frequency; plans that are mostly a function of the token.
struct Trace {
  std::vector<std::int32_t> ids;
  RoutingPlan plan;
};
Trace random_trace(index_t vocabulary, index_t experts, index_t k, unsigned seed) {
  std::mt19937 rng(seed);
  Trace trace;
  trace.plan.clear(experts);
  for (int t = 0; t < 400; ++t) {
    const double draw = static_cast<double>(rng() % 1000) / 1000.0;
    const auto id = static_cast<std::int32_t>(draw * draw * draw * vocabulary);
    std::vector<ExpertId> row;
    while (std::ssize(row) < k) {
      const auto own = static_cast<unsigned>(id) * 7 + static_cast<unsigned>(row.size());
      const auto e = static_cast<ExpertId>((rng() % 4 == 0 ? rng() : own) % static_cast<unsigned>(experts));
      if (std::find(row.begin(), row.end(), e) == row.end()) row.push_back(e);
    }
    trace.ids.push_back(id);
    throw_if_error(trace.plan.append_row(row, std::vector<float>(row.size(), 1.0f)));
  }
  return trace;
}
std::int64_t agreement(const Trace& trace, const std::vector<ExpertId>& table, index_t k) {
  std::int64_t same = 0;
  for (index_t t = 0; t < trace.plan.tokens(); ++t) {
    for (index_t i = 0; i < k; ++i) {
      const ExpertId e = table[as_size(std::int64_t{trace.ids[as_size(t)]} * k + i)];
      const auto row = trace.plan.experts(t);
      same += std::find(row.begin(), row.end(), e) != row.end() ? 1 : 0;
    }
  }
  return same;
}

}  // namespace

TEST_CASE("the table of a trace sends each token where it went most often, and unseen ones where most went") {
  TokenExpertCounts counts(4, 3);
  counts.add(std::vector<std::int32_t>{0, 0, 0, 2, 2}, plan_of(3, {{1}, {1, 2}, {2, 1}, {0}, {0, 2}}));
  CHECK(counts.times(0) == 3);
  CHECK(counts.times(1) == 0);
  CHECK(counts.count(0, 1) == 3);
  CHECK(counts.count(0, 2) == 2);
  CHECK(counts.count(0, 0) == 0);
  // Loads are 2, 3, 3.
  CHECK(counts.most_frequent(1) == std::vector<ExpertId>{1, 1, 0, 1});
  CHECK(counts.most_frequent(2) == std::vector<ExpertId>{1, 2, 1, 2, 0, 2, 1, 2});
  // 0 comes first and takes 1; 2 takes of the two empty ones the one that it knows, then nobody weighs anything.
  CHECK(counts.balanced(1) == std::vector<ExpertId>{1, 2, 0, 2});
}

TEST_CASE("no table agrees with its trace as often as that of the most frequent experts") {
  for (const index_t k : {1, 2, 5}) {
    const Trace trace = random_trace(23, 5, k, 1);
    TokenExpertCounts counts(23, 5);
    counts.add(trace.ids, trace.plan);
    const std::int64_t best = agreement(trace, counts.most_frequent(k), k);
    CHECK(best >= agreement(trace, counts.balanced(k), k));
    std::mt19937 rng(2);
    for (int round = 0; round < 20; ++round) {
      std::vector<ExpertId> table;
      for (index_t id = 0; id < 23; ++id) {
        std::vector<ExpertId> row = {0, 1, 2, 3, 4};
        std::shuffle(row.begin(), row.end(), rng);
        table.insert(table.end(), row.begin(), row.begin() + k);
      }
      CHECK(best >= agreement(trace, table, k));
    }
    if (k < 5) CHECK(best > 400 * k / 2);
  }
}

TEST_CASE("loads of a balanced table differ by no more than its most frequent token") {
  for (const index_t experts : {5, 11}) {
    for (const index_t k : {1, 3, 5}) {
      const Trace trace = random_trace(200, experts, k, 3);
      TokenExpertCounts counts(200, experts);
      counts.add(trace.ids, trace.plan);
      const std::vector<ExpertId> table = counts.balanced(k);
      std::vector<std::int64_t> loads(as_size(experts), 0);
      std::int64_t most = 0;
      for (std::int32_t id = 0; id < 200; ++id) {
        most = std::max(most, counts.times(id));
        for (index_t i = 0; i < k; ++i) loads[as_size(table[as_size(id * k + i)])] += counts.times(id);
      }
      const auto [low, high] = std::minmax_element(loads.begin(), loads.end());
      CHECK(*high - *low <= most);
    }
  }
}

TEST_CASE("tables of traces are tables of hash routers, which route as they say") {
  const Trace trace = random_trace(23, 11, 2, 4);
  TokenExpertCounts counts(23, 11);
  for (int half = 0; half < 2; ++half) {  // counted in two parts, as one
    RoutingPlan part;
    throw_if_error(part.copy_rows(trace.plan, half * 200, 200));
    counts.add(std::span(trace.ids).subspan(as_size(half * 200), 200), part);
  }
  TokenExpertCounts whole(23, 11);
  whole.add(trace.ids, trace.plan);
  for (const auto& table : {counts.most_frequent(2), counts.balanced(2)}) {
    const HashRouter router = HashRouter::create(table, 2, 11, 3).value();
    const std::vector<float> x(3, 0.0f);
    for (std::int32_t id = 0; id < 23; ++id) {
      const RoutingPlan plan = routed(router, {x.data(), 1, 3}, std::vector<std::int32_t>{id});
      CHECK(experts_of(plan, 0) == std::vector<ExpertId>(table.begin() + id * 2, table.begin() + id * 2 + 2));
    }
  }
  CHECK(counts.most_frequent(2) == whole.most_frequent(2));
  CHECK(counts.balanced(2) == whole.balanced(2));
}

TEST_CASE("counts refuse what does not fit and count nothing of it") {
  TokenExpertCounts counts(4, 3);
  const RoutingPlan plan = plan_of(3, {{1}, {2}});
  CHECK_THROWS_AS(counts.add(std::vector<std::int32_t>{0}, plan), Error);
  CHECK_THROWS_AS(counts.add(std::vector<std::int32_t>{0, 4}, plan), Error);
  CHECK_THROWS_AS(counts.add(std::vector<std::int32_t>{0, -1}, plan), Error);
  CHECK_THROWS_AS(counts.add(std::vector<std::int32_t>{0, 1}, plan_of(4, {{1}, {2}})), Error);
  CHECK(counts.times(0) == 0);
  CHECK_THROWS_AS(counts.most_frequent(0), Error);
  CHECK_THROWS_AS(counts.balanced(4), Error);
  CHECK_THROWS_AS(TokenExpertCounts(0, 1), Error);
  CHECK(counts.most_frequent(1) == std::vector<ExpertId>{0, 0, 0, 0});
  CHECK(TokenExpertCounts(1, 1).balanced(1) == std::vector<ExpertId>{0});
}
