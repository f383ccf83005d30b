#include "headgate/routing/sentence_router.hpp"

#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/any_router.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"

namespace {
using namespace headgate;

RoutingPlan of_sentences(const SentenceRouter<>& router, ConstRows x, std::vector<index_t> lengths,
                         const RouteEdits& edits = {}) {
  SentenceLengths state{std::move(lengths)};
  state.reset(x.rows);
  Context ctx;
  RoutingPlan plan;
  throw_if_error(router.route({.hidden = x, .edits = edits}, state, plan, ctx));
  return plan;
}

struct Example {
  std::vector<float> axes = identity_gate(3);
  // Means of the first two rows, of the next one, of the last two: nearest to axes 1, 0, 2.
  std::vector<float> x = {3.0f, 1.0f, 0.0f, -3.0f, 2.0f, 0.0f, 1.0f, 0.0f, 0.5f, 0.0f, 1.0f, 4.0f, 0.0f, -1.0f, 0.0f};
  SentenceRouter<> router = SentenceRouter<>::create({axes.data(), 3, 3}, {4, 1, 4}, 5).value();
  ConstRows rows() const { return {x.data(), 5, 3}; }
};
std::vector<ExpertId> all_of(const RoutingPlan& plan) { return {plan.experts().begin(), plan.experts().end()}; }
}  // namespace

TEST_CASE("sentences go to the expert of the nearest embedding, as PHATGOOSE's retriever sends them") {
  const auto cases = golden("glider")["sentences"];
  REQUIRE(cases.size() == 2);
  for (const auto& c : cases) {
    const auto each = c["each"].get<index_t>();
    INFO(each << " embeddings an expert, margin " << c["margin"]);
    const std::vector<float> embeddings = values(c["embeddings"]);
    const std::vector<float> x = values(c["hidden"]);
    const auto count = static_cast<index_t>(embeddings.size()) / 12;
    std::vector<ExpertId> expert_of;
    for (index_t p = 0; p < count; ++p) expert_of.push_back(p / each);
    const auto router = SentenceRouter<>::create({embeddings.data(), count, 12}, expert_of, count / each).value();
    const RoutingPlan plan = of_sentences(router, {x.data(), 7, 12}, std::vector<index_t>(7, 1));
    CHECK(all_of(plan) == values<ExpertId>(c["ids"]));
  }
}

TEST_CASE("all tokens of a sentence have its expert, by the mean of its rows, with weight 1") {
  const Example e;
  const RoutingPlan plan = of_sentences(e.router, e.rows(), {2, 1, 2});
  CHECK(plan.num_experts() == 5);
  CHECK(all_of(plan) == std::vector<ExpertId>{1, 1, 4, 4, 4});
  for (const float w : plan.weights()) CHECK(w == 1.0f);
  // Row by row, and all as one.
  CHECK(all_of(of_sentences(e.router, e.rows(), {1, 1, 1, 1, 1})) == std::vector<ExpertId>{4, 1, 4, 4, 4});
  CHECK(all_of(of_sentences(e.router, e.rows(), {})) == std::vector<ExpertId>(5, 4));
  CHECK(of_sentences(e.router, e.rows(), {5}) == of_sentences(e.router, e.rows(), {}));
  CHECK(of_sentences(e.router, e.rows().middle_rows(0, 0), {}).tokens() == 0);
  CHECK(e.router.traits().batch_coupled);
}

TEST_CASE("a sentence router obeys a call's mask, and its lengths reach it behind AnyRouter") {
  const Example e;
  std::vector<std::uint8_t> mask = {1, 0, 1, 1, 1};
  CHECK(all_of(of_sentences(e.router, e.rows(), {2, 1, 2}, {.expert_mask = mask})) == std::vector<ExpertId>(5, 4));
  mask[4] = 0;
  CHECK(of_sentences(e.router, e.rows(), {2, 1, 2}, {.expert_mask = mask}).entries() == 0);
  const AnyRouter any = e.router;
  AnyRouter::State state;
  state.get<SentenceLengths>().lengths = {2, 1, 2};
  state.reset(5);
  Context ctx;
  RoutingPlan plan;
  throw_if_error(any.route({.hidden = e.rows()}, state, plan, ctx));
  CHECK(plan == of_sentences(e.router, e.rows(), {2, 1, 2}));
}

TEST_CASE("a sentence router refuses lengths, edits and embeddings that do not fit, and names a bad token") {
  const Example e;
  const auto outcome = [&](std::vector<index_t> lengths, const RouteEdits& edits, ConstRows x) {
    SentenceLengths state{std::move(lengths)};
    Context ctx;
    RoutingPlan plan;
    return said(e.router.route({.hidden = x, .layer = 2, .edits = edits}, state, plan, ctx));
  };
  CHECK(outcome({2, 2}, {}, e.rows()) == "usage: rows of all sentences against tokens (got 4, allowed 5)");
  CHECK(outcome({5, 0}, {}, e.rows()) == "usage: rows of a sentence, at least (got 0, allowed 1)");
  CHECK(outcome({}, {.k = 1}, e.rows()) == "usage: a sentence has one expert: there is no k for a call to set");
  std::vector<float> bad = e.x;
  bad[10] = std::nanf("");
  CHECK(outcome({2, 3}, {}, {bad.data(), 5, 3}) ==
        "numeric: cosine of a sentence is not finite, layer 2, token 3, expert 4");
  bad = e.x;
  bad[7] = 1e30f;
  CHECK(outcome({2, 3}, {}, {bad.data(), 5, 3}) ==
        "numeric: cosine of a sentence is not finite, layer 2, token 2, expert 4");
  const auto refused = [&](std::vector<ExpertId> expert_of, index_t experts) {
    return std::string(SentenceRouter<>::create({e.axes.data(), 3, 3}, std::move(expert_of), experts).error().what());
  };
  CHECK(refused({0, 1}, 2) == "experts of embeddings against these (got 2, allowed 3)");
  CHECK(refused({0, 1, 2}, 2) == "expert of an embedding (got 2, allowed 1)");
  CHECK(refused({0, 1, 2}, 0) == "experts of a router, at least (got 0, allowed 1)");
}
