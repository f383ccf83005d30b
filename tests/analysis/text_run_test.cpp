#include "headgate/analysis/text_run.hpp"

#include "headgate/tokenizer/tokenizer.hpp"
#include "io/refusal.hpp"
#include "models/random_checkpoint.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

const std::string folder = HEADGATE_SOURCE_DIR "/examples/models/tales";
const std::vector<std::int32_t>& story() {
  static const std::vector<std::int32_t> tokens = [] {
    std::vector<std::int32_t> ids =
        Tokenizer::from_file(folder + "/tokenizer.json")
            .encode("Once upon a time there was a king who had three sons and a golden horse.");
    ids.erase(ids.begin());  // the first token
    return ids;
  }();
  return tokens;
}

}  // namespace

TEST_CASE("the loss of a text is that of its tokens one by one, in windows that each begin anew") {
  const auto model = load_model(folder);
  Context ctx;
  constexpr index_t window = 5;
  Session session(model, {.context_size = window, .all_logits = true});
  const TextRun run = run_text(session, story(), ctx);
  REQUIRE(run.losses.size() == story().size());
  Session single(model, {.context_size = window});
  for (std::size_t t = 0; t < story().size(); ++t) {
    const std::int32_t input = t % window == 0 ? model->config().bos_token_id : story()[t - 1];
    if (t % window == 0) throw_if_error(single.truncate(0));
    throw_if_error(single.forward({&input, 1}, ctx));
    CHECK(run.losses[t] == -LogSoftmax(single.logits())[story()[t]]);
  }
  CHECK(run.trace.tokens() == std::ssize(story()));
  CHECK(run.trace.num_layers() == model->num_layers());
  // All experts of this model compute, so a token reads what the model says it does.
  const RoutingMetrics m = run.trace.metrics();
  CHECK(m.experts_per_token == model->routing(0).experts_per_token);
  CHECK(cost_values(m, run.cost)[2] == Catch::Approx(static_cast<double>(model->bytes_per_token())));
  CHECK_FALSE(session.on_route);
}

TEST_CASE("live hidden states and gates route as the model itself does") {
  const auto model = load_model(folder);
  Context ctx;
  Session session(model, {.context_size = 64, .all_logits = true});
  const PolicyInput input = live_input(folder, session, story(), 2, ctx);
  CHECK(input.tokens == std::ssize(story()));
  REQUIRE(std::ssize(input.layers) == model->num_layers());
  std::vector<RoutingPlan> own(input.layers.size());
  session.on_route = [&](index_t layer, index_t, const RoutingPlan& plan) { own[as_size(layer)] = plan; };
  throw_if_error(session.truncate(0));
  throw_if_error(session.forward(story(), ctx));
  for (std::size_t l = 0; l < input.layers.size(); ++l) {
    const auto router = qwen3_moe_router(input.layers[l].parameters.plain(), 2).value();
    NoState none;
    RoutingPlan plan;
    throw_if_error(router.route({.hidden = input.hidden(l)}, none, plan, ctx));
    REQUIRE(plan.tokens() == own[l].tokens());
    for (index_t t = 0; t < plan.tokens(); ++t) {
      CHECK(std::vector(plan.experts(t).begin(), plan.experts(t).end()) ==
            std::vector(own[l].experts(t).begin(), own[l].experts(t).end()));
    }
  }
}

TEST_CASE("a run of a text that fails leaves the hooks that were there before, and the next forward is sound") {
  const auto model = load_model(folder);
  Context ctx;
  Session session(model, {.context_size = 64, .all_logits = true});
  int seen = 0;
  session.on_route = [&](index_t, index_t, const RoutingPlan&) { ++seen; };
  const auto check_own_hook = [&] {
    seen = 0;
    REQUIRE(session.on_route);
    throw_if_error(session.truncate(0));
    throw_if_error(session.forward(story(), ctx));
    CHECK(seen == model->num_layers());
  };
  SECTION("it is cancelled") {
    session.cancel();
    CHECK_THROWS_AS(run_text(session, story(), ctx), Error);
  }
  SECTION("another hook throws") {
    session.on_hidden = [](index_t, index_t, ConstRows) { throw std::runtime_error("enough"); };
    CHECK_THROWS_AS(run_text(session, story(), ctx), std::runtime_error);
    session.on_hidden = nullptr;
  }
  SECTION("a forward fails") {
    const std::vector<std::int32_t> outside = {1, model->vocab_size(), 2};
    CHECK_THROWS_AS(run_text(session, outside, ctx), Error);
  }
  check_own_hook();
}

TEST_CASE("a view of live hidden states that fails leaves the hooks that were there before") {
  const auto model = load_model(folder);
  Context ctx;
  Session session(model, {.context_size = 64, .all_logits = true});
  SECTION("it is cancelled") {
    session.cancel();
    CHECK_THROWS_AS(live_input(folder, session, story(), 2, ctx), Error);
  }
  SECTION("another hook throws") {
    session.on_route = [](index_t, index_t, const RoutingPlan&) { throw std::runtime_error("enough"); };
    CHECK_THROWS_AS(live_input(folder, session, story(), 2, ctx), std::runtime_error);
    session.on_route = nullptr;
  }
  CHECK_FALSE(session.on_hidden);
  throw_if_error(session.truncate(0));
  throw_if_error(session.forward(story(), ctx));
}

TEST_CASE("policies are compared on linear gates alone, whatever the width of a recurrent router's state") {
  const models_test::RandomCheckpoint checkpoint(models_test::gru_router, R"({"type":"dense"})",
                                                 models_test::RandomCheckpoint::experts,
                                                 models_test::RandomCheckpoint::hidden);
  Context ctx;
  Session session(load_model(checkpoint.path()), {.all_logits = true});
  const std::vector<std::int32_t> tokens = {1, 2, 3};
  CHECK(io_test::contains(io_test::error_of([&] { live_input(checkpoint.path(), session, tokens, 2, ctx); }).what(),
                          "no linear gate"));
}

TEST_CASE("a text without two tokens, and a session without all logits, are refused") {
  const auto model = load_model(folder);
  Context ctx;
  Session session(model, {.context_size = 8, .all_logits = true});
  CHECK_THROWS_AS(run_text(session, std::span(story()).first(1), ctx), Error);
  Session last_only(model, {.context_size = 8});
  CHECK_THROWS_AS(run_text(last_only, story(), ctx), Error);
}
