#include "headgate/analysis/expert_cache.hpp"

#include <algorithm>
#include <bit>

#include "headgate/models/load.hpp"
#include "headgate/models/session.hpp"
#include "headgate/tokenizer/tokenizer.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"

using namespace headgate;

namespace {

// Rows of random experts, as many as up to `most`; every fourth token likes the same ones.
RoutingPlan random_trace(index_t num_experts, index_t tokens, index_t most, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<std::vector<ExpertId>> rows;
  for (index_t t = 0; t < tokens; ++t) {
    rows.push_back(random_order(num_experts, t % 4 == 0 ? seed : static_cast<unsigned>(rng())));
    rows.back().resize(1 + rng() % as_size(most));
  }
  return plan_of(num_experts, rows);
}

// Hits of one cache of c experts that keeps those used last, looked up token by token.
std::int64_t lru_hits(const RoutingPlan& used, std::size_t c) {
  std::vector<ExpertId> cache;  // the one used last comes first
  std::int64_t hits = 0;
  for (index_t t = 0; t < used.tokens(); ++t) {
    for (const ExpertId e : used.experts(t)) hits += std::count(cache.begin(), cache.end(), e);
    for (const ExpertId e : used.experts(t)) {
      cache.erase(std::remove(cache.begin(), cache.end(), e), cache.end());
      cache.insert(cache.begin(), e);
      if (cache.size() > c) cache.pop_back();
    }
  }
  return hits;
}

// The most hits of a cache of c experts that holds whatever it likes of what it held and the token used, but must hold
// the token's last expert: every choice is tried.
std::int64_t most_hits(const RoutingPlan& used, std::size_t c, index_t t = 0, unsigned held = 0) {
  if (t == used.tokens()) return 0;
  std::int64_t hits = 0;
  unsigned all = held;
  for (const ExpertId e : used.experts(t)) {
    hits += (held >> e) & 1u;
    all |= 1u << e;
  }
  const unsigned last = 1u << used.experts(t).back();
  std::int64_t best = 0;
  for (unsigned kept = 0; kept <= all; ++kept) {
    if ((kept & ~all) != 0 || (kept & last) == 0 || static_cast<std::size_t>(std::popcount(kept)) > c) continue;
    best = std::max(best, most_hits(used, c, t + 1, kept));
  }
  return hits + best;
}

}  // namespace

TEST_CASE("cache curves of a small trace are those of moe-lrc") {
  const RoutingPlan used = plan_of(4, {{0, 1}, {0, 2}, {0, 1}, {3, 1}, {3, 2}, {0, 1}, {0, 1}, {2, 3}});
  const auto rates = [&](Eviction eviction) {
    const CacheCurve curve = cache_curve(used, eviction, FirstUse::hits_while_room);
    CHECK(curve.uses == 16);
    CHECK(curve.rate(0) == 0.0);
    return std::vector<double>{curve.rate(1), curve.rate(2), curve.rate(3), curve.rate(4)};
  };
  CHECK(rates(Eviction::lru) == std::vector<double>{0.1875, 0.5, 0.75, 1.0});
  CHECK(rates(Eviction::belady) == std::vector<double>{0.1875, 0.5625, 0.8125, 1.0});
}

TEST_CASE("the curve of LRU is that of caches one by one, and Belady's of the best there can be for uses one by one") {
  for (unsigned seed = 0; seed < 40; ++seed) {
    const auto experts = static_cast<index_t>(2 + seed % 4);
    const index_t most = seed % 2 == 0 ? 1 : 2;
    const RoutingPlan used = random_trace(experts, 7, most, seed);
    const CacheCurve lru = cache_curve(used, Eviction::lru, FirstUse::misses);
    const CacheCurve belady = cache_curve(used, Eviction::belady, FirstUse::misses);
    for (index_t c = 1; c <= experts; ++c) {
      CHECK(lru.hits[as_size(c)] == lru_hits(used, as_size(c)));
      CHECK(belady.hits[as_size(c)] <= most_hits(used, as_size(c)));
      if (most == 1) CHECK(belady.hits[as_size(c)] == most_hits(used, as_size(c)));
    }
  }
}

TEST_CASE("Belady's cache hits at least as often as LRU's, and that as often as none, with and without a prefetch") {
  for (unsigned seed = 0; seed < 300; ++seed) {
    const auto experts = static_cast<index_t>(1 + seed % 11);
    const RoutingPlan used = random_trace(experts, 30, std::min<index_t>(experts, 4), seed);
    const RoutingPlan predicted = random_trace(experts, 30, experts, seed + 1000);
    for (const FirstUse first_use : {FirstUse::misses, FirstUse::hits_while_room}) {
      std::int64_t without = 0;
      for (const index_t count : {0, 1, 3}) {
        const Prefetch prefetch{&predicted, count};
        const CacheCurve lru = cache_curve(used, Eviction::lru, first_use, prefetch);
        const CacheCurve belady = cache_curve(used, Eviction::belady, first_use, prefetch);
        CHECK(lru.hits[0] == belady.hits[0]);
        CHECK(lru.hits[0] >= without);  // more is prefetched
        without = lru.hits[0];
        for (std::size_t c = 1; c < lru.hits.size(); ++c) {
          CHECK(belady.hits[c] >= lru.hits[c]);
          CHECK(lru.hits[c] >= lru.hits[c - 1]);
          CHECK(belady.hits[c] >= belady.hits[c - 1]);
        }
        CHECK(lru.hits.back() <= lru.uses);
        if (first_use == FirstUse::hits_while_room) CHECK(lru.hits.back() == lru.uses);
      }
    }
  }
}

TEST_CASE("a prefetch of what will be used misses nothing, and one of nothing hits nothing") {
  const RoutingPlan used = random_trace(9, 20, 3, 5);
  const CacheCurve all = cache_curve(used, Eviction::lru, FirstUse::misses, {&used, 3});
  CHECK(all.rate(0) == 1.0);
  CHECK(all.rate(9) == 1.0);
  CHECK(cache_curve(used, Eviction::belady, FirstUse::misses, {&used, 0}).hits[0] == 0);
  CHECK(cache_curve(used, Eviction::belady, FirstUse::misses, {nullptr, 3}).hits[0] == 0);
  // The first of two predicted.
  const RoutingPlan two = plan_of(3, {{0, 1}, {2}});
  CHECK(cache_curve(two, Eviction::lru, FirstUse::misses, {&two, 1}).hits == std::vector<std::int64_t>{2, 2, 2, 2});
  CacheCurve sum = cache_curve(two, Eviction::lru, FirstUse::misses, {&two, 1});
  sum += cache_curve(plan_of(1, {{0}, {0}}), Eviction::lru, FirstUse::misses);
  CHECK(sum.hits == std::vector<std::int64_t>{2, 3, 3, 3});
  CHECK(sum.uses == 5);
  CHECK(std::isnan(cache_curve(plan_of(3, {}), Eviction::lru, FirstUse::misses).rate(1)));
  const auto refused_with = [&](const Prefetch& prefetch) {
    try {
      cache_curve(used, Eviction::lru, FirstUse::misses, prefetch);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("made");
  };
  CHECK(refused_with({&two, 1}) == "tokens of the prediction (got 2, allowed 20)");
  const RoutingPlan others = random_trace(8, 20, 3, 5);
  CHECK(refused_with({&others, 1}) == "experts of the prediction (got 8, allowed 9)");
  CHECK(refused_with({&others, -1}) == "experts to prefetch, at least (got -1, allowed 0)");
}

TEST_CASE("on what a model routes, caches are ordered too, and the token before predicts better than chance") {
  const std::string folder = HEADGATE_SOURCE_DIR "/examples/models/tales";
  const auto model = load_model(folder);
  const std::vector<std::int32_t> tokens = Tokenizer::from_file(folder + "/tokenizer.json")
                                               .encode(
                                                   "Once upon a time there was a king who had three sons and a "
                                                   "golden horse. The youngest son went into the dark forest.");
  Context ctx;
  Session session(model, {.context_size = 64});
  std::vector<RoutingPlan> plans(as_size(model->num_layers()));
  session.on_route = [&](index_t layer, index_t, const RoutingPlan& plan) { plans[as_size(layer)] = plan; };
  throw_if_error(session.forward(tokens, ctx));
  CacheCurve lru, belady, prefetched;
  for (const RoutingPlan& plan : plans) {
    REQUIRE(plan.tokens() == std::ssize(tokens));
    lru += cache_curve(plan, Eviction::lru, FirstUse::misses);
    belady += cache_curve(plan, Eviction::belady, FirstUse::misses);
    RoutingPlan before;
    before.clear(plan.num_experts());
    REQUIRE(before.append_row({}, {}).ok());
    for (index_t t = 0; t + 1 < plan.tokens(); ++t) REQUIRE(before.append_row(plan.experts(t), plan.weights(t)).ok());
    prefetched += cache_curve(plan, Eviction::lru, FirstUse::misses, {&before, model->routing(0).experts_per_token});
  }
  const index_t experts = plans[0].num_experts();
  for (index_t c = 1; c <= experts; ++c) {
    CHECK(belady.rate(c) >= lru.rate(c));
    CHECK(lru.rate(c) >= lru.rate(c - 1));
    CHECK(prefetched.rate(c) >= prefetched.rate(0));
  }
  CHECK(belady.rate(experts / 2) > lru.rate(experts / 2));
  CHECK(prefetched.rate(0) > static_cast<double>(model->routing(0).experts_per_token) / experts);
}
