#include "headgate/models/session.hpp"

#include <thread>

#include "headgate/sampling/candidates.hpp"
#include "models/checkpoints.hpp"

using namespace headgate;
using namespace models_test;

namespace {

const std::vector<std::int32_t> text{3, 141, 59, 26, 53, 58, 97, 93, 23, 84, 62, 64};

std::shared_ptr<const Model> model() {
  static const std::shared_ptr<const Model> shared = load_model(tiny("head_f32"));
  return shared;
}
std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

// The logits after a text, from a session that did nothing else.
std::vector<float> logits_after(std::span<const std::int32_t> tokens) {
  Session session(model());
  Context ctx;
  throw_if_error(session.forward(tokens, ctx));
  return copy(session.logits());
}
std::span<const std::int32_t> first(std::size_t count) { return std::span(text).first(count); }

// What forwarding a text through a damaged checkpoint ends in.
Status outcome(const Copy& checkpoint) {
  Session session(load_model(checkpoint.path()));
  Context ctx;
  const Status status = session.forward(text, ctx);
  CHECK(session.position() == (status.ok() ? 12 : 0));
  CHECK(session.logits().empty() == !status.ok());
  return status;
}
std::string bits(std::uint32_t value, std::size_t times = 1) {
  std::string bytes;
  for (std::size_t i = 0; i < times; ++i) bytes += std::string(reinterpret_cast<const char*>(&value), 4);
  return bytes;
}
constexpr std::uint32_t quiet_nan = 0x7fc00000;
constexpr std::uint32_t signalling_nan = 0x7f800001;
constexpr std::uint32_t infinity = 0x7f800000;
constexpr std::uint32_t huge = 0x7f61b1e6;  // 3e38

}  // namespace

TEST_CASE("a session holds the tokens it was given and the logits of the last") {
  Session session(model(), {.context_size = 20, .rows_per_pass = 5});
  CHECK(session.context_size() == 20);
  CHECK(session.position() == 0);
  CHECK(session.logits().empty());
  CHECK(session.all_logits().rows == 0);
  Context ctx;
  REQUIRE(session.forward({}, ctx).ok());
  CHECK(session.logits().empty());
  REQUIRE(session.forward(first(7), ctx).ok());
  CHECK(session.position() == 7);
  CHECK(copy(session.logits()) == logits_after(first(7)));
  CHECK(session.all_logits().rows == 1);
  REQUIRE(session.forward({}, ctx).ok());
  CHECK(copy(session.logits()) == logits_after(first(7)));
}

TEST_CASE("with all_logits every row is that of a text which ends there") {
  Session session(model(), {.rows_per_pass = 5, .all_logits = true});
  Context ctx;
  REQUIRE(session.forward(text, ctx).ok());
  REQUIRE(session.all_logits().rows == 12);
  for (index_t t = 0; t < 12; ++t) CHECK(copy(session.all_logits().row(t)) == logits_after(first(as_size(t) + 1)));
  CHECK(copy(session.logits()) == logits_after(text));
}

TEST_CASE("a full context is a limit and leaves the session as it was (L1, L14)") {
  Session session(model(), {.context_size = 8});
  Context ctx;
  REQUIRE(session.forward(first(7), ctx).ok());
  const Status status = session.forward(std::span(text).subspan(7, 2), ctx);
  CHECK(status.code == ErrorCode::limit);
  CHECK(status.found == 9);
  CHECK(status.allowed == 8);
  CHECK(session.position() == 7);
  CHECK(copy(session.logits()) == logits_after(first(7)));
  REQUIRE(session.forward(std::span(text).subspan(7, 1), ctx).ok());
  CHECK(copy(session.logits()) == logits_after(first(8)));
  CHECK(session.forward({&text[8], 1}, ctx).code == ErrorCode::limit);
}

TEST_CASE("a token id outside of the vocabulary is refused with its position") {
  Session session(model());
  Context ctx;
  REQUIRE(session.forward(first(2), ctx).ok());
  for (const std::int32_t bad : {149, -1, std::numeric_limits<std::int32_t>::max()}) {
    const std::int32_t tokens[] = {1, bad};
    const Status status = session.forward(tokens, ctx);
    CHECK(status.code == ErrorCode::usage);
    CHECK(status.found == bad);
    CHECK(status.allowed == 148);
    CHECK(status.token == 3);
  }
  CHECK(session.position() == 2);
}

TEST_CASE("a truncated session goes on as if the rest had never been") {
  Session session(model());
  Context ctx;
  REQUIRE(session.forward(text, ctx).ok());
  REQUIRE(session.truncate(12).ok());
  CHECK(copy(session.logits()) == logits_after(text));
  REQUIRE(session.truncate(4).ok());
  CHECK(session.position() == 4);
  CHECK(session.logits().empty());
  REQUIRE(session.forward(std::span(text).subspan(4, 3), ctx).ok());
  CHECK(copy(session.logits()) == logits_after(first(7)));
  CHECK(session.truncate(8).code == ErrorCode::usage);
  CHECK(session.truncate(-1).code == ErrorCode::usage);
  REQUIRE(session.truncate(0).ok());
  REQUIRE(session.forward(text, ctx).ok());
  CHECK(copy(session.logits()) == logits_after(text));
}

TEST_CASE("a fork goes on by itself, and the first session too") {
  Context ctx;
  Session session(model());
  REQUIRE(session.forward(first(5), ctx).ok());
  bool called = false;
  session.on_route = [&](index_t, index_t, const RoutingPlan&) { called = true; };
  Session fork = session.fork();
  CHECK(fork.position() == 5);
  CHECK(copy(fork.logits()) == copy(session.logits()));
  const std::int32_t other[] = {1, 2, 3};
  REQUIRE(fork.forward(other, ctx).ok());
  CHECK(!called);
  REQUIRE(session.forward(std::span(text).subspan(5), ctx).ok());
  CHECK(copy(session.logits()) == logits_after(text));
  const std::vector<std::int32_t> forked{3, 141, 59, 26, 53, 1, 2, 3};
  CHECK(copy(fork.logits()) == logits_after(forked));
}

TEST_CASE("many sessions share one model, on threads of their own") {
  std::vector<std::vector<float>> found(3);
  std::vector<std::thread> threads;
  for (std::vector<float>& logits : found) threads.emplace_back([&logits] { logits = logits_after(text); });
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<float>& logits : found) CHECK(logits == logits_after(text));
}

TEST_CASE("a model lives as long as its sessions") {
  std::shared_ptr<const Model> owner = load_model(tiny("head_f32"));
  Session session(owner);
  owner.reset();
  Context ctx;
  REQUIRE(session.forward(text, ctx).ok());
  CHECK(copy(session.logits()) == logits_after(text));
}

TEST_CASE("a cancelled session says so once, and is what it was (L5)") {
  Context ctx;
  Session session(model(), {.rows_per_pass = 4});
  REQUIRE(session.forward(first(3), ctx).ok());
  SECTION("before the call") {
    session.cancel();
    CHECK(session.forward(std::span(text).subspan(3), ctx).code == ErrorCode::interrupted);
  }
  SECTION("between the layers of a later pass") {
    session.on_route = [&](index_t layer, index_t position, const RoutingPlan&) {
      if (position >= 7 && layer == 1) session.cancel();
    };
    CHECK(session.forward(std::span(text).subspan(3), ctx).code == ErrorCode::interrupted);
    session.on_route = nullptr;
  }
  CHECK(session.position() == 3);
  CHECK(copy(session.logits()) == logits_after(first(3)));
  REQUIRE(session.forward(std::span(text).subspan(3), ctx).ok());
  CHECK(copy(session.logits()) == logits_after(text));
}

TEST_CASE("an exception of the hook reaches the caller and leaves the session as it was") {
  Context ctx;
  Session session(model());
  REQUIRE(session.forward(first(3), ctx).ok());
  session.on_route = [](index_t, index_t, const RoutingPlan&) { throw std::runtime_error("enough"); };
  CHECK_THROWS_AS(session.forward(std::span(text).subspan(3), ctx), std::runtime_error);
  CHECK(session.position() == 3);
  session.on_route = nullptr;
  REQUIRE(session.forward(std::span(text).subspan(3), ctx).ok());
  CHECK(copy(session.logits()) == logits_after(text));
}

TEST_CASE("the hook sees the plan of every sparse layer and every row once") {
  Context ctx;
  Session session(model(), {.rows_per_pass = 5});
  std::vector<std::vector<index_t>> positions(4);
  session.on_route = [&](index_t layer, index_t first_position, const RoutingPlan& plan) {
    CHECK(plan.num_experts() == 5);
    for (index_t t = 0; t < plan.tokens(); ++t) {
      CHECK(plan.experts(t).size() == 2);
      positions[as_size(layer)].push_back(first_position + t);
    }
  };
  REQUIRE(session.forward(text, ctx).ok());
  std::vector<index_t> all(12);
  for (index_t t = 0; t < 12; ++t) all[as_size(t)] = t;
  CHECK(positions[0].empty());
  CHECK(positions[1] == all);
  CHECK(positions[2].empty());
  CHECK(positions[3] == all);
}

namespace {

// The plans of a text by layer, in the order of positions, and the logits of its last token.
struct Run {
  Status status;
  std::vector<RoutingPlan> plans = std::vector<RoutingPlan>(4);
  std::vector<float> logits;
};
Run run(std::span<const std::int32_t> tokens, std::span<const RoutingRule> rules, index_t rows_per_pass = 512,
        std::vector<std::size_t> calls = {}) {
  Context ctx;
  Session session(model(), {.rows_per_pass = rows_per_pass});
  Run made;
  for (RoutingPlan& plan : made.plans) plan.clear(5);
  session.on_route = [&](index_t layer, index_t first_position, const RoutingPlan& plan) {
    CHECK(first_position == made.plans[as_size(layer)].tokens());
    for (index_t t = 0; t < plan.tokens(); ++t)
      throw_if_error(made.plans[as_size(layer)].append_row(plan.experts(t), plan.weights(t)));
  };
  calls.push_back(tokens.size());
  for (std::size_t from = 0; const std::size_t to : calls) {
    made.status = session.forward(tokens.subspan(from, to - from), ctx, rules);
    if (!made.status.ok()) return made;
    from = to;
  }
  made.logits = copy(session.logits());
  return made;
}
std::vector<std::int32_t> long_text() {
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < 84; ++i) tokens.push_back((i * i * 31 + 7 * i) % 149);
  return tokens;
}

}  // namespace

TEST_CASE("rules of a forward edit all layers or one, and the rule of one layer stands above that of all") {
  const std::uint8_t mask[] = {1, 1, 0, 1, 0};
  const std::uint8_t other[] = {0, 1, 1, 1, 1};
  const RoutingRule rules[] = {{.edits = {.expert_mask = mask, .k = 1}}, {.layer = 3, .edits = {.expert_mask = other}}};
  const Run edited = run(text, rules);
  REQUIRE(edited.status.ok());
  for (const index_t layer : {1, 3}) {
    const RoutingPlan& plan = edited.plans[as_size(layer)];
    CHECK(plan.entries() == plan.tokens());
    for (const ExpertId e : plan.experts()) CHECK((layer == 3 ? other : mask)[e] == 1);
  }
  // Layer 1 is as it was where only layer 3 is edited.
  const Run plain = run(text, {});
  const Run last = run(text, std::span(rules).last(1));
  CHECK(last.plans[1] == plain.plans[1]);
  CHECK_FALSE(last.plans[3] == plain.plans[3]);
  CHECK_FALSE(last.logits == plain.logits);
}

TEST_CASE("rules are for positions of the text, however it is cut into calls and passes") {
  const std::uint8_t mask[] = {1, 0, 1, 0, 1};
  const RoutingRule rules[] = {{.layer = 1, .first_position = 4, .end_position = 9, .edits = {.expert_mask = mask}},
                               {.first_position = 7, .edits = {.k = 1}}};
  const Run whole = run(text, rules);
  REQUIRE(whole.status.ok());
  const Run plain = run(text, {});
  for (index_t t = 0; t < 12; ++t) {
    CHECK(whole.plans[1].experts(t).size() == (t < 7 ? 2 : 1));
    CHECK(whole.plans[3].experts(t).size() == (t < 7 ? 2 : 1));
    for (const ExpertId e : whole.plans[1].experts(t)) CHECK((t < 4 || t >= 9 || mask[e] == 1));
    if (t < 4) CHECK(std::ranges::equal(whole.plans[1].experts(t), plain.plans[1].experts(t)));
  }
  for (const index_t rows_per_pass : {1, 3, 5}) {
    const Run cut = run(text, rules, rows_per_pass);
    CHECK(cut.plans == whole.plans);
    CHECK(cut.logits == whole.logits);
  }
  const Run calls = run(text, rules, 512, {1, 5, 8});
  CHECK(calls.plans == whole.plans);
  CHECK(calls.logits == whole.logits);
}

TEST_CASE("a text replayed with the plans it had gives the same bits, with any rows_per_pass") {
  const std::vector<std::int32_t> tokens = long_text();
  const Run plain = run(tokens, {}, 84);
  const RoutingRule replay[] = {{.layer = 1, .edits = {.forced_plan = &plain.plans[1]}},
                                {.layer = 3, .edits = {.forced_plan = &plain.plans[3]}}};
  // Another plan in the same place, so that a plan not forced would be noticed.
  RoutingPlan other;
  other.clear(5);
  for (index_t t = 0; t < 84; ++t) {
    const ExpertId row[] = {t % 5, (t + 2) % 5};
    throw_if_error(other.append_row(row, std::vector<float>{0.75f, 0.25f}));
  }
  const RoutingRule forced[] = {{.layer = 1, .edits = {.forced_plan = &other}}};
  const Run changed = run(tokens, forced, 84);
  REQUIRE(changed.status.ok());
  CHECK(changed.plans[1] == other);
  CHECK_FALSE(changed.logits == plain.logits);
  for (const index_t rows_per_pass : {16, 31, 84}) {
    const Run again = run(tokens, replay, rows_per_pass);
    REQUIRE(again.status.ok());
    CHECK(again.plans == plain.plans);
    CHECK(again.logits == plain.logits);
    CHECK(run(tokens, forced, rows_per_pass).logits == changed.logits);
  }
  CHECK(run(tokens, forced, 512, {1, 30, 31, 83}).logits == changed.logits);
  // A plan that begins later and ends earlier: the positions around it are routed.
  RoutingPlan part;
  throw_if_error(part.copy_rows(other, 10, 5));
  const RoutingRule within[] = {{.layer = 1, .first_position = 10, .edits = {.forced_plan = &part}}};
  const Run partly = run(tokens, within, 16);
  REQUIRE(partly.status.ok());
  for (index_t t = 0; t < 84; ++t) {
    const RoutingPlan& expected = t >= 10 && t < 15 ? other : plain.plans[1];
    CHECK(std::ranges::equal(partly.plans[1].experts(t), expected.experts(t)));
    CHECK(std::ranges::equal(partly.plans[1].weights(t), expected.weights(t)));
  }
}

TEST_CASE("rules that cannot be obeyed are errors that name the layer, and the session is as it was") {
  const std::uint8_t mask[] = {1, 1, 0, 1, 0};
  const std::uint8_t short_mask[] = {1, 1};
  RoutingPlan plan;
  plan.clear(4);
  for (int t = 0; t < 12; ++t) throw_if_error(plan.append_row({}, {}));
  Context ctx;
  Session session(model());
  REQUIRE(session.forward(first(2), ctx).ok());
  const std::vector<float> before = copy(session.logits());
  const auto refused = [&](std::vector<RoutingRule> rules) {
    const Status status = session.forward(std::span(text).subspan(2), ctx, rules);
    CHECK(status.code == ErrorCode::usage);
    CHECK(session.position() == 2);
    CHECK(copy(session.logits()) == before);
    return Error::describe(status);
  };
  CHECK(refused({{.layer = 2, .edits = {.k = 1}}}) == "layer of a routing rule has no router, layer 2");
  CHECK(refused({{.layer = 4, .edits = {.k = 1}}}) == "layer of a routing rule (got 4, allowed 3)");
  CHECK(refused({{.layer = -2, .edits = {.k = 1}}}) == "layer of a routing rule (got -2, allowed 3)");
  CHECK(refused({{.first_position = -1, .edits = {.k = 1}}}) ==
        "first position of a routing rule, at least (got -1, allowed 0)");
  CHECK(refused({{.first_position = 5, .end_position = 4, .edits = {.k = 1}}}) ==
        "end of a routing rule, at least its first position (got 4, allowed 5)");
  CHECK(refused({{.layer = 3, .edits = {.k = 1}}, {.layer = 3, .first_position = 6, .edits = {.k = 2}}}) ==
        "two rules of one rank edit the same thing of a layer, layer 3");
  CHECK(refused({{.edits = {.expert_mask = mask}}, {.edits = {.expert_mask = mask}}}) ==
        "two rules of one rank edit the same thing of a layer, layer 1");
  CHECK(refused({{.layer = 3, .edits = {.expert_mask = short_mask}}}) ==
        "size of expert_mask against experts (got 2, allowed 5), layer 3");
  CHECK(refused({{.edits = {.forced_plan = &plan}}}) ==
        "experts of a forced plan against experts of the layer (got 4, allowed 5), layer 1");
  // Two rules of one layer that say different things add up.
  const RoutingRule both[] = {{.layer = 3, .edits = {.k = 1}}, {.layer = 3, .edits = {.expert_mask = mask}}};
  CHECK(session.forward(std::span(text).subspan(2), ctx, both).ok());
}

TEST_CASE("rules end with the forward that they were given to") {
  const RoutingRule rules[] = {{.edits = {.k = 1}}};
  Context ctx;
  Session session(model());
  REQUIRE(session.forward(text, ctx, rules).ok());
  CHECK_FALSE(copy(session.logits()) == logits_after(text));
  throw_if_error(session.truncate(0));
  REQUIRE(session.forward(text, ctx).ok());
  CHECK(copy(session.logits()) == logits_after(text));
}

TEST_CASE("options of a session out of range are refused by name") {
  const auto refused = [](const SessionOptions& options) {
    const auto made = Session::create(model(), options);
    if (made) return std::string();
    CHECK(made.error().code() == ErrorCode::usage);
    return made.error().detail().field;
  };
  CHECK(refused({.context_size = -1}) == "context_size");
  CHECK(refused({.context_size = std::numeric_limits<index_t>::max()}) == "context_size");
  CHECK(refused({.rows_per_pass = 0}) == "rows_per_pass");
  CHECK(refused({.rows_per_pass = 1 << 20}) == "rows_per_pass");
  CHECK(refused({.context_size = 1, .rows_per_pass = 1}).empty());
  CHECK(Session::create(nullptr).error().detail().field == "model");
  CHECK_THROWS_AS(Session(model(), {.rows_per_pass = -3}), Error);
  CHECK(Session(model()).context_size() == 96);
}

TEST_CASE("weights that are not numbers end in a numeric error with layer and token (H1, H2, H3, H6)") {
  const std::string layer0 = "model.layers.0.";
  const std::string layer1 = "model.layers.1.";
  const auto damaged = [](const std::string& tensor, std::size_t first_byte, const std::string& bytes) {
    Copy checkpoint(tiny("head_f32"));
    checkpoint.poke(tensor, first_byte, bytes);
    INFO(tensor);
    const Status status = outcome(checkpoint);
    CHECK(status.code == ErrorCode::numeric);
    CHECK(status.layer >= 0);
    CHECK(status.token >= 0);
    return status;
  };
  for (const std::uint32_t value : {quiet_nan, signalling_nan, infinity}) {
    CHECK(damaged(layer1 + "mlp.gate.weight", 0, bits(value)).layer == 1);             // one logit
    CHECK(damaged(layer1 + "mlp.gate.weight", 24 * 4, bits(value, 24)).layer == 1);    // one row
    CHECK(damaged(layer1 + "mlp.gate.weight", 0, bits(value, 24 * 5)).layer == 1);     // all
    CHECK(damaged("model.embed_tokens.weight", 59 * 24 * 4, bits(value)).token == 2);  // of the third token
    CHECK(damaged(layer0 + "input_layernorm.weight", 4, bits(value)).layer == 0);
    CHECK(damaged(layer0 + "self_attn.q_proj.weight", 0, bits(value)).layer == 0);
    CHECK(damaged(layer0 + "self_attn.k_norm.weight", 0, bits(value)).layer == 0);
    CHECK(damaged(layer0 + "mlp.down_proj.weight", 0, bits(value)).layer == 0);
    CHECK(damaged(layer1 + "self_attn.v_proj.bias", 0, bits(value)).token == 0);
    CHECK(damaged("model.norm.weight", 0, bits(value)).layer == 4);  // behind the layers
    const Status head = damaged("lm_head.weight", 0, bits(value));
    CHECK(head.layer == 4);
    CHECK(head.token == 11);
  }
  CHECK(damaged(layer1 + "mlp.gate.weight", 0, bits(huge, 24 * 5)).layer == 1);  // 3e38 times anything above 1
  CHECK(damaged("model.norm.weight", 0, bits(huge, 24)).layer == 4);
  CHECK(damaged(layer0 + "self_attn.o_proj.weight", 0, std::string(24 * 78 * 4, '\xff')).layer == 0);
}

TEST_CASE("weights of zero are numbers (H4, H7, H8)") {
  const auto zeroed = [](std::initializer_list<std::pair<std::string, std::size_t>> tensors, std::uint32_t value) {
    Copy checkpoint(tiny("head_f32"));
    for (const auto& [name, count] : tensors) checkpoint.poke(name, 0, bits(value, count));
    return checkpoint.path().empty() ? nullptr : load_model(checkpoint.path());
  };
  constexpr std::uint32_t minus_zero = 0x80000000;
  for (const std::uint32_t zero : {0u, minus_zero}) {
    Context ctx;
    Session no_gate(zeroed({{"model.layers.1.mlp.gate.weight", 24 * 5}}, zero));
    no_gate.on_route = [](index_t layer, index_t, const RoutingPlan& plan) {
      if (layer != 1) return;
      for (index_t t = 0; t < plan.tokens(); ++t) {  // all alike: the lowest ids
        CHECK(plan.experts(t)[0] == 0);
        CHECK(plan.experts(t)[1] == 1);
      }
    };
    REQUIRE(no_gate.forward(text, ctx).ok());
    Session no_head(zeroed({{"lm_head.weight", 149 * 24}}, zero));
    REQUIRE(no_head.forward(text, ctx).ok());
    CHECK(greedy(no_head.logits()) == 0);
    Session no_norm(zeroed({{"model.norm.weight", 24}, {"model.layers.0.input_layernorm.weight", 24}}, zero));
    REQUIRE(no_norm.forward(text, ctx).ok());
    Session no_embedding(zeroed({{"model.embed_tokens.weight", 149 * 24}}, zero));
    CHECK(no_embedding.forward(text, ctx).ok());
  }
}

TEST_CASE("the caller's rounding and denormal modes change nothing and come back (H17)") {
  const std::vector<float> expected = logits_after(text);
#if defined(__SSE2__)
  const unsigned before = __builtin_ia32_stmxcsr();
  const unsigned odd = (before & ~0xe040u) | 0x6000u;  // towards zero, denormals kept
  __builtin_ia32_ldmxcsr(odd);
  const std::vector<float> found = logits_after(text);
  const unsigned after = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(before);
  CHECK((after & 0xe040u) == (odd & 0xe040u));
  CHECK(found == expected);
#endif
}
