// Sessions whose layers are skipped, run twice, or are passed by some tokens alone.
#include "headgate/layers/dr_llm_router.hpp"
#include "headgate/models/build_model.hpp"
#include "headgate/models/description.hpp"
#include "headgate/models/headgate_moe.hpp"
#include "headgate/models/lfm2_moe.hpp"
#include "headgate/models/mellum.hpp"
#include "models/checkpoints.hpp"
#include "models/family_checkpoint.hpp"
#include "models/random_checkpoint.hpp"

using namespace headgate;
using namespace models_test;

namespace {

using Runs = std::vector<std::uint8_t>;
LayerSchedule schedule(Runs runs) { return LayerSchedule::create(std::move(runs)).value(); }

// A model with these of its layers, in this order.
template <class Family>
std::shared_ptr<const Model> of_layers(const std::string& folder, const std::vector<std::size_t>& layers) {
  const Json json = read_json(folder + "/config.json");
  const TensorSource source = TensorSource::open(folder);
  Blueprint blueprint = Family::blueprint(JsonObject(json, "config.json"), source);
  const std::vector<LayerPlan> all = std::exchange(blueprint.layers, {});
  for (const std::size_t l : layers) blueprint.layers.push_back(all.at(l));
  Context ctx;
  Packer packer(ctx);
  return std::make_shared<const Model>(build_model(blueprint, packer));
}
std::vector<std::size_t> layers_of(const Runs& runs) {
  std::vector<std::size_t> layers;
  for (std::size_t l = 0; l < runs.size(); ++l) layers.insert(layers.end(), runs[l], l);
  return layers;
}

std::vector<std::int32_t> text_of(const Model& model, int length) {
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < length; ++i) tokens.push_back((i * i * 31 + 7 * i + 3) % model.vocab_size());
  return tokens;
}
std::vector<float> copy(ConstRows rows) { return {rows.data, rows.data + std::int64_t{rows.rows} * rows.cols}; }

// All logits of a text, in passes of so many rows.
std::vector<float> run(const std::shared_ptr<const Model>& model, const LayerSchedule& layers, index_t rows_per_pass) {
  Session session(model,
                  {.context_size = 40, .rows_per_pass = rows_per_pass, .all_logits = true, .layer_schedule = layers});
  Context ctx;
  throw_if_error(session.forward(text_of(*model, 21), ctx));
  return copy(session.all_logits());
}
template <class Family>
void check_schedules(const std::string& folder) {
  INFO(folder);
  const std::shared_ptr<const Model> model = load_model(folder);
  const auto layers = as_size(model->num_layers());
  const std::vector<float> plain = run(model, {}, 512);
  CHECK(run(model, schedule(Runs(layers, 1)), 5) == plain);
  for (std::size_t l = 0; l < layers; ++l) {
    for (const std::uint8_t count : Runs{0, 2}) {
      Runs runs(layers, 1);
      runs[l] = count;
      if (l > 0 && count == 2) runs[0] = 0;
      const std::vector<float> found = run(model, schedule(runs), 512);
      CHECK(found != plain);
      CHECK(found == run(of_layers<Family>(folder, layers_of(runs)), {}, 512));
      CHECK(found == run(model, schedule(runs), 5));
      CHECK(found == run(model, schedule(runs), 1));
    }
  }
}

}  // namespace

TEST_CASE("a skipped layer is a model without it, one that runs twice a model with two of it") {
  check_schedules<Qwen3Moe>(tiny("head_f32"));
  check_schedules<HeadgateMoe>(RandomCheckpoint(top_k_router).path());
}
TEST_CASE("routers that remember the layers before, and sliding windows, run as often as the schedule says") {
  check_schedules<HeadgateMoe>(RandomCheckpoint(gru_router, R"({"type":"dense"})", 4, 16).path());
  check_schedules<HeadgateMoe>(
      RandomCheckpoint(top_k_router, R"({"type":"bilevel","region_size":3,"regions":2})").path());
  FamilyCheckpoint windows("mellum_f32");
  check_schedules<Mellum>(windows.write());
  FamilyCheckpoint convolutions("lfm2_moe_f32");
  check_schedules<Lfm2Moe>(convolutions.write());
}

TEST_CASE("a model of which every layer is skipped is its embedding and its head") {
  const std::shared_ptr<const Model> model = load_model(tiny("head_f32"));
  CHECK(run(model, schedule(Runs(4, 0)), 512) == run(of_layers<Qwen3Moe>(tiny("head_f32"), {}), {}, 512));
}

TEST_CASE("a session with a schedule of layers goes back, forks and goes on beside others of its kind") {
  const std::shared_ptr<const Model> model = load_model(tiny("head_f32"));
  const SessionOptions options{.rows_per_pass = 7, .layer_schedule = schedule({1, 2, 0, 1})};
  const std::vector<std::int32_t> text = text_of(*model, 15);
  Context ctx;
  Session whole(model, options);
  throw_if_error(whole.forward(text, ctx));
  const std::vector<float> expected(whole.logits().begin(), whole.logits().end());
  const auto logits = [](const Session& s) { return std::vector<float>(s.logits().begin(), s.logits().end()); };

  Session session(model, options);
  throw_if_error(session.forward(std::span(text).first(11), ctx));
  throw_if_error(session.truncate(6));
  Session fork = session.fork();
  const SessionTurn turns[] = {{&session, std::span(text).subspan(6)}, {&fork, std::span(text).subspan(6, 4)}};
  throw_if_error(Session::forward_together(turns, ctx));
  CHECK(logits(session) == expected);
  throw_if_error(fork.forward(std::span(text).subspan(10), ctx));
  CHECK(logits(fork) == expected);

  Session plain(model);
  const SessionTurn mixed[] = {{&session, {text.data(), 1}}, {&plain, {text.data(), 1}}};
  const Status status = Session::forward_together(mixed, ctx);
  CHECK(status.code == ErrorCode::usage);
  CHECK(std::string(status.what) == "turns of sessions whose layers run differently often");
  CHECK(plain.position() == 0);
}

TEST_CASE("hooks see every run of a layer, and rules reach each of them") {
  const std::shared_ptr<const Model> model = load_model(tiny("head_f32"));  // experts in layers 1 and 3
  Session session(model, {.layer_schedule = schedule({1, 2, 1, 0})});
  std::vector<index_t> layers;
  index_t entries = 0;
  session.on_route = [&](index_t layer, index_t, const RoutingPlan& plan) {
    layers.push_back(layer);
    entries += plan.entries();
  };
  Context ctx;
  const RoutingRule rule{.layer = 1, .edits = {.k = 1}};
  throw_if_error(session.forward(text_of(*model, 3), ctx, {&rule, 1}));
  CHECK(layers == std::vector<index_t>{1, 1});
  CHECK(entries == 6);
}

TEST_CASE("a policy that reads a prompt chooses the layers of the whole text") {
  const std::shared_ptr<const Model> model = load_model(tiny("head_f32"));
  const std::vector<std::int32_t> text = text_of(*model, 17);
  const auto prompt = std::span(text).first(9);
  Context ctx;
  for (const Runs& runs : {Runs{1, 1, 1, 1}, Runs{2, 0, 1, 2}, Runs{0, 0, 0, 0}, Runs{2, 2, 2, 2}}) {
    std::vector<std::vector<float>> seen;
    const LayerPolicy policy = [&](index_t layer, ConstRows x, index_t& count, Context&) {
      CHECK(layer == static_cast<index_t>(seen.size()));
      seen.push_back(copy(x));
      count = runs[as_size(layer)];
      return Status::success();
    };
    Session chosen(model);
    throw_if_error(chosen.choose_layers(prompt, policy, ctx));
    CHECK(chosen.position() == 9);
    CHECK(chosen.options().layer_schedule == schedule(runs));
    REQUIRE(seen.size() == 4);
    CHECK(seen[0].size() == as_size(9 * model->hidden_size()));
    CHECK((seen[1] == seen[0]) == (runs[0] == 0));

    Session by_hand(model, {.layer_schedule = schedule(runs)});
    throw_if_error(by_hand.forward(prompt, ctx));
    CHECK(std::ranges::equal(chosen.logits(), by_hand.logits()));
    throw_if_error(chosen.truncate(7));
    throw_if_error(chosen.forward(std::span(text).subspan(7), ctx));
    throw_if_error(by_hand.forward(std::span(text).subspan(9), ctx));
    CHECK(std::ranges::equal(chosen.logits(), by_hand.logits()));
  }
}

TEST_CASE("the router of Dr.LLM drives a session") {
  const std::shared_ptr<const Model> model = load_model(tiny("head_f32"));
  const auto width = static_cast<std::size_t>(model->hidden_size());
  const std::vector<float> w1 = random_floats(7 * width, 1.0f, 1);
  const std::vector<float> b1 = random_floats(7, 1.0f, 2);
  const std::vector<float> w2(21, 0.0f);
  const float biases[4][3] = {{0, 1, 0}, {1, 0, 0}, {0, 0, 1}, {0, 0, 0}};
  std::vector<DrLlmWeights> layers;
  for (const auto& b2 : biases) layers.push_back({{w1.data(), 7, model->hidden_size()}, b1, {w2.data(), 3, 7}, b2});
  const auto router = DrLlmRouter<>::create(layers).value();
  Session session(model);
  Context ctx;
  throw_if_error(session.choose_layers(text_of(*model, 5), router, ctx));
  CHECK(session.options().layer_schedule == schedule({1, 0, 2, 0}));
}

TEST_CASE("where layers cannot be chosen a session stays what it was") {
  const std::shared_ptr<const Model> model = load_model(tiny("head_f32"));
  const std::vector<std::int32_t> text = text_of(*model, 9);
  Context ctx;
  Session plain(model);
  throw_if_error(plain.forward(text, ctx));
  const auto chooses = [](index_t wanted) {
    return [=](index_t layer, ConstRows, index_t& runs, Context&) {
      if (wanted == 9) throw std::runtime_error("enough");
      if (wanted == 8) return Status{ErrorCode::numeric, "nothing but trouble"};
      runs = layer == 2 ? wanted : 1;
      return Status::success();
    };
  };
  Session session(model, {.rows_per_pass = 9});
  for (const index_t bad : {3, -1}) {
    const Status status = session.choose_layers(text, chooses(bad), ctx);
    CHECK(status.code == ErrorCode::usage);
    CHECK(status.layer == 2);
  }
  CHECK(session.choose_layers(text, chooses(8), ctx).layer == 0);
  CHECK_THROWS_AS(session.choose_layers(text, chooses(9), ctx), std::runtime_error);
  CHECK(session.choose_layers({}, chooses(1), ctx).code == ErrorCode::usage);
  CHECK(session.choose_layers(text, nullptr, ctx).code == ErrorCode::usage);
  CHECK(session.choose_layers(text_of(*model, 10), chooses(1), ctx).code == ErrorCode::limit);
  CHECK(session.position() == 0);
  throw_if_error(session.forward(text, ctx));
  CHECK(std::ranges::equal(session.logits(), plain.logits()));
  CHECK(session.choose_layers(text, chooses(1), ctx).code == ErrorCode::usage);
  CHECK(session.position() == 9);
}

TEST_CASE("a schedule of another number of layers is refused, and the memory plan knows it") {
  const std::shared_ptr<const Model> model = load_model(tiny("head_f32"));
  const auto made = Session::create(model, {.layer_schedule = schedule({1, 1, 2})});
  REQUIRE(!made.has_value());
  CHECK(io_test::contains(made.error().what(), "expected 4 layers, found 3"));

  const ModelDescription description = describe_model(tiny("head_f32"));
  const auto kv_cache = [&](const Runs& runs) {
    return description.memory({.layer_schedule = schedule(runs)}).kv_cache;
  };
  const std::int64_t one = kv_cache({0, 1, 0, 0});
  CHECK(one > 0);
  CHECK(kv_cache({0, 0, 0, 0}) == 0);
  CHECK(kv_cache({2, 0, 1, 2}) == 5 * one);
  CHECK(description.memory().kv_cache == 4 * one);
}

TEST_CASE("layers that run twice take no more scratch than is counted") {
  const std::shared_ptr<const Model> model = load_model(tiny("head_f32"));
  const LayerSchedule twice = schedule(Runs(4, 2));
  Session session(model, {.context_size = 40, .layer_schedule = twice});
  Context ctx;
  throw_if_error(session.forward(text_of(*model, 5), ctx));
  const auto held = ctx.workspace.capacity();
  Session other(model, {.context_size = 40});
  Context fresh;
  throw_if_error(other.forward(text_of(*model, 5), fresh));
  CHECK(held == fresh.workspace.capacity());
}

namespace {

// Gates on the dense layers (0 and 2) of this model, which keep about half of the tokens.
std::shared_ptr<const Model> gated(const std::shared_ptr<const Model>& model, float threshold,
                                   TokenGate::Weight weight) {
  return model->with_token_gates([&](index_t layer) -> std::optional<TokenGate> {
    if (layer % 2 == 1) return std::nullopt;
    const std::vector<float> w = random_floats(as_size(model->hidden_size()), 1.0f, static_cast<unsigned>(layer + 3));
    return TokenGate::causal(linear_token_score(w), threshold, nullptr, weight).value();
  });
}

}  // namespace

TEST_CASE("a model whose gates keep every token with weight one is the plain model") {
  const std::shared_ptr<const Model> model = load_model(tiny("head_f32"));
  const auto open = gated(model, -std::numeric_limits<float>::infinity(), TokenGate::Weight::one);
  CHECK(run(open, {}, 512) == run(model, {}, 512));
  const auto closed = gated(model, std::numeric_limits<float>::infinity(), TokenGate::Weight::score);
  CHECK(run(closed, {}, 5) == run(model, schedule({0, 1, 0, 1}), 512));
}

TEST_CASE(
    "with gates of tokens a prompt has the bits of its chunks and steps, and a session goes back and on with others") {
  const std::shared_ptr<const Model> plain = load_model(tiny("head_f32"));
  const auto model = gated(plain, 0.0f, TokenGate::Weight::score);
  const std::vector<float> expected = run(model, {}, 512);
  CHECK(expected != run(plain, {}, 512));
  CHECK(expected != run(plain, schedule({0, 1, 0, 1}), 512));
  CHECK(run(model, {}, 4) == expected);
  CHECK(run(model, {}, 1) == expected);
  CHECK(run(model, schedule({2, 1, 1, 0}), 1) == run(model, schedule({2, 1, 1, 0}), 512));

  const std::vector<std::int32_t> text = text_of(*model, 21);
  const std::vector<float> last(expected.end() - model->vocab_size(), expected.end());
  const auto logits = [](const Session& s) { return std::vector<float>(s.logits().begin(), s.logits().end()); };
  Context ctx;
  for (index_t back = 0; back <= 15; back += 3) {
    Session session(model, {.rows_per_pass = 6});
    throw_if_error(session.forward(std::span(text).first(15), ctx));
    throw_if_error(session.truncate(back));
    Session fork = session.fork();
    const SessionTurn turns[] = {{&fork, std::span(text).subspan(as_size(back), 2)},
                                 {&session, std::span(text).subspan(as_size(back))}};
    throw_if_error(Session::forward_together(turns, ctx));
    CHECK(logits(session) == last);
    throw_if_error(fork.forward(std::span(text).subspan(as_size(back) + 2), ctx));
    CHECK(logits(fork) == last);
  }
  // A pass that ends early leaves nothing behind.
  Session session(model);
  throw_if_error(session.forward(std::span(text).first(9), ctx));
  session.on_route = [](index_t layer, index_t, const RoutingPlan&) {
    if (layer == 3) throw std::runtime_error("enough");
  };
  CHECK_THROWS_AS(session.forward(std::span(text).subspan(9), ctx), std::runtime_error);
  session.on_route = nullptr;
  throw_if_error(session.forward(std::span(text).subspan(9), ctx));
  CHECK(logits(session) == last);
}

TEST_CASE("a decoder refuses gates of tokens that look at other tokens, or stand before a router") {
  const std::shared_ptr<const Model> model = load_model(tiny("head_f32"));
  const TokenScore score = linear_token_score(std::vector<float>(as_size(model->hidden_size()), 1.0f));
  const auto error_of = [&](index_t gated_layer, const TokenGate& gate) {
    return io_test::error_of([&] {
      (void)model->with_token_gates([&](index_t layer) -> std::optional<TokenGate> {
        return layer == gated_layer ? std::optional(gate) : std::nullopt;
      });
    });
  };
  const Error coupled = error_of(2, TokenGate::top_k(score, 0.5).value());
  CHECK(coupled.code() == ErrorCode::usage);
  CHECK(io_test::contains(coupled.what(), "depend on each other"));
  CHECK(io_test::contains(coupled.what(), "layer 2"));
  CHECK(io_test::contains(error_of(1, TokenGate::causal(score, 0.0f).value()).what(), "a layer with a router"));
}
