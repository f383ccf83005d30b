#include "headgate/routing/hash_router.hpp"

#include "headgate/routing/any_router.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"

namespace {
using namespace headgate;
const std::vector<ExpertId> table = {2, 0, 1, 4, 3, 0};  // three tokens, two hashes
}  // namespace

TEST_CASE("paper_hash: experts are the table's, whatever the hidden state") {
  const HashRouter router = HashRouter::create(table, 2, 5, 3).value();
  const std::vector<std::int32_t> ids = {1, 0, 1, 2};
  for (unsigned seed = 0; seed < 3; ++seed) {
    std::vector<float> x = random_floats(12, 1.0f, seed);
    if (seed == 2) x[4] = std::numeric_limits<float>::quiet_NaN();
    const RoutingPlan plan = routed(router, {x.data(), 4, 3}, ids);
    CHECK(experts_of(plan, 0) == std::vector<ExpertId>{1, 4});
    CHECK(experts_of(plan, 1) == std::vector<ExpertId>{2, 0});
    CHECK(experts_of(plan, 2) == std::vector<ExpertId>{1, 4});
    CHECK(experts_of(plan, 3) == std::vector<ExpertId>{3, 0});
    CHECK(weights_of(plan, 3) == std::vector<float>{0.5f, 0.5f});
  }
  CHECK(router.vocabulary() == 3);
  CHECK(router.traits().needs == needs_token_ids);
  const HashRouter one = HashRouter::create({1, 0}, 1, 2, 3).value();
  const std::vector<float> x(3, 0.0f);
  CHECK(weights_of(routed(one, {x.data(), 1, 3}, std::vector<std::int32_t>{0}), 0) == std::vector<float>{1.0f});
}

TEST_CASE("a hash router takes a call's mask and k") {
  const HashRouter router = HashRouter::create(table, 2, 5, 3).value();
  const std::vector<float> x(6, 0.0f);
  const std::vector<std::int32_t> ids = {0, 1};
  const std::vector<std::uint8_t> mask = {0, 1, 1, 1, 1};
  Context ctx;
  const RoutingPlan plan = routed(router, {x.data(), 2, 3}, ctx, ids, {.expert_mask = mask});
  CHECK(experts_of(plan, 0) == std::vector<ExpertId>{2});
  CHECK(weights_of(plan, 0) == std::vector<float>{0.5f});
  CHECK(experts_of(plan, 1) == std::vector<ExpertId>{1, 4});
  CHECK(experts_of(routed(router, {x.data(), 2, 3}, ctx, ids, {.k = 1}), 1) == std::vector<ExpertId>{1});
  NoState state;
  RoutingPlan none;
  const auto refused = [&](const RouteEdits& edits) {
    return router.route({.hidden = {x.data(), 2, 3}, .token_ids = ids, .edits = edits}, state, none, ctx);
  };
  CHECK(refused({.k = 3}).allowed == 2);
  // It has no scores that pruning could change, and no keys.
  CHECK(refused({.expert_mask = mask, .mask_meaning = MaskMeaning::prune}).code == ErrorCode::usage);
  CHECK(refused({.expert_mask = mask, .mask_meaning = MaskMeaning::zero_key}).code == ErrorCode::usage);
  CHECK(router.traits().takes == (takes_k | takes_mask));
}

TEST_CASE("a hash router refuses missing and unknown token ids and names the token") {
  const AnyRouter router = HashRouter::create(table, 2, 5, 3).value();
  const std::vector<float> x(6, 0.0f);
  Context ctx;
  AnyRouter::State state;
  RoutingPlan plan;
  CHECK(router.route({.hidden = {x.data(), 2, 3}}, state, plan, ctx).what ==
        std::string("token ids of a router that needs them against tokens"));
  for (const std::int32_t bad : {-1, 3}) {
    const std::vector<std::int32_t> ids = {0, bad};
    const Status status = router.route({.hidden = {x.data(), 2, 3}, .token_ids = ids, .layer = 6}, state, plan, ctx);
    CHECK(status.found == bad);
    CHECK(status.allowed == 2);
    CHECK(status.token == 1);
    CHECK(status.layer == 6);
    CHECK(plan.tokens() == 0);
  }
}

TEST_CASE("a hash table is checked") {
  const auto error_of = [](std::vector<ExpertId> entries, index_t k, index_t experts) {
    return std::string(HashRouter::create(std::move(entries), k, experts, 3).error().what());
  };
  CHECK(error_of({0, 1, 2}, 2, 5) == "size of a hash table, which is a multiple of k, (got 3, allowed 2)");
  CHECK(error_of({}, 1, 5).starts_with("size of a hash table"));
  CHECK(error_of({0}, 0, 5) == "k of a hash router, at least (got 0, allowed 1)");
  CHECK(error_of({0, 1}, 2, 1) == "k of a hash router against experts (got 2, allowed 1)");
  CHECK(error_of({0, 5}, 1, 5).find("id in a hash table") != std::string::npos);
  CHECK(error_of({0, -1}, 1, 5).find("token 1") != std::string::npos);
  CHECK(error_of({0, 1, 3, 3}, 2, 5).find("times an expert stands in one row of a hash table") != std::string::npos);
  CHECK(error_of({0}, 1, 0) == "experts of a router, at least (got 0, allowed 1)");
  CHECK_FALSE(HashRouter::create({0}, 1, 1, 0).has_value());
}

TEST_CASE("a hash router says of a call's width, ids, mask and k what is allowed, and leaves no rows") {
  const HashRouter router = HashRouter::create(table, 2, 5, 3).value();
  const std::vector<float> x(6, 0.0f);
  const std::vector<std::int32_t> ids = {0, 2};
  const std::vector<std::uint8_t> four(4, 1);
  RoutingPlan plan;
  NoState none;
  Context ctx;
  const auto outcome = [&](index_t cols, std::span<const std::int32_t> of, const RouteEdits& edits = {}) {
    REQUIRE(router.route({.hidden = {x.data(), 2, 3}, .token_ids = ids}, none, plan, ctx).ok());
    const RouterInput in{.hidden = {x.data(), 2, cols}, .token_ids = of, .layer = 1, .edits = edits};
    const std::string text = said(router.route(in, none, plan, ctx));
    CHECK((text == "ok" || plan.tokens() == 0));
    return text;
  };
  CHECK(outcome(3, ids) == "ok");
  CHECK(outcome(2, ids) == "usage: width of hidden against hidden_size of the router (got 2, allowed 3)");
  CHECK(outcome(3, std::span(ids).first(1)) ==
        "usage: token ids of a router that needs them against tokens (got 1, allowed 2)");
  RouteEdits edits;
  edits.k = 2;
  CHECK(outcome(3, ids, edits) == "ok");
  edits.expert_mask = four;
  CHECK(outcome(3, ids, edits) == "usage: size of expert_mask against experts (got 4, allowed 5)");
  const std::vector<std::int32_t> bad = {0, -1};
  CHECK(outcome(3, bad) == "usage: token id against the hash table (got -1, allowed 2), layer 1, token 1");
  CHECK(router.traits().k_min == 2);
  CHECK(router.traits().k_max == 2);
  CHECK(router.traits().row_sum == RowSum::one);
}

TEST_CASE("a hash table at its bounds is taken, and a fault in it is named by token and expert") {
  const auto outcome = [](std::vector<ExpertId> entries, index_t k, index_t experts, index_t hidden) {
    return refused(HashRouter::create(std::move(entries), k, experts, hidden));
  };
  CHECK(outcome({0}, 1, 1, 1) == "made");
  CHECK(outcome({1, 0, 0, 1}, 2, 2, 1) == "made");
  CHECK(outcome({0}, 1, 1, 0) == "hidden_size of a router, at least (got 0, allowed 1)");
  CHECK(outcome({0, 1, 1, 2}, 2, 2, 1) == "id in a hash table (got 2, allowed 1), token 1, expert 2");
  CHECK(outcome({0, 1, 2, 2}, 2, 3, 1) ==
        "times an expert stands in one row of a hash table (got 2, allowed 1), token 1, expert 2");
  CHECK(outcome({0, 1, 2, 1, 0, 1}, 3, 3, 1) ==
        "times an expert stands in one row of a hash table (got 2, allowed 1), token 1, expert 1");
}

TEST_CASE("a hash router writes rows of more than 32 experts") {
  std::vector<ExpertId> wide;
  for (ExpertId e = 0; e < 40; ++e) wide.push_back((7 * e) % 40);
  const HashRouter router = HashRouter::create(wide, 40, 40, 1).value();
  const std::vector<float> x(3, 0.0f);
  const RoutingPlan plan = routed(router, {x.data(), 3, 1}, std::vector<std::int32_t>{0, 0, 0});
  for (index_t t = 0; t < 3; ++t) {
    CHECK(experts_of(plan, t) == wide);
    CHECK(weights_of(plan, t)[39] == 1.0f / 40.0f);
  }
}
