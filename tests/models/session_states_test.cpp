// Sessions that go on together, go back and fail, on layers of every law: all positions, windows, convolutions and
// recurrences (attention/sequence_state.hpp).
#include <algorithm>
#include <map>
#include <random>
#include <stdexcept>

#include "headgate/attention/gqa.hpp"
#include "models/family_checkpoint.hpp"
#include "models/random_checkpoint.hpp"
#include "support/random.hpp"
#include "support/running_sum.hpp"
#include "support/status.hpp"
#include "support/test_router.hpp"

using namespace headgate;
using namespace models_test;

namespace {

using Tokens = std::vector<std::int32_t>;

// All of them but the last id, which stands for damage below.
Tokens some_tokens(const Model& model, index_t count, unsigned seed) {
  std::mt19937 random(seed);
  Tokens tokens(as_size(count));
  for (std::int32_t& token : tokens) {
    token = static_cast<std::int32_t>(random() % static_cast<unsigned>(model.vocab_size() - 1));
  }
  return tokens;
}
std::span<const std::int32_t> middle(const Tokens& tokens, index_t first, index_t count) {
  return std::span(tokens).subspan(as_size(first), as_size(count));
}

// Two recurrent layers with a window between them, put together by hand; the last token has a vector of NaN.
constexpr index_t toy_width = 10;
constexpr index_t toy_vocab_size = 13;

std::vector<float> toy_row(index_t size, index_t seed, float scale = 0.5f) {
  return random_floats(as_size(size), scale, static_cast<unsigned>(seed));
}
AnyNorm toy_norm() { return RmsNorm<>(std::vector<float>(as_size(toy_width), 1.0f), 1e-6f); }
AnyMixer toy_window() {
  GroupedQueryAttention<F32> attention({.hidden_size = toy_width,
                                        .num_heads = 3,
                                        .num_kv_heads = 1,
                                        .head_dim = 7,
                                        .scale = GqaShape::default_scale(7),
                                        .window = 4},
                                       nullptr);
  for (index_t r = 0; r < 21; ++r) attention.set_query_row(r, toy_row(toy_width, r).data());
  for (index_t r = 0; r < 7; ++r) {
    attention.set_key_row(r, toy_row(toy_width, 30 + r).data());
    attention.set_value_row(r, toy_row(toy_width, 40 + r).data());
  }
  for (index_t r = 0; r < toy_width; ++r) attention.set_output_row(r, toy_row(21, 50 + r).data());
  return attention;
}
DecoderBlock toy_block(AnyMixer mixer, index_t seed) {
  GluExperts<F32> experts(GluShape{3, toy_width, 4});
  for (index_t e = 0; e < 3; ++e) {
    for (index_t i = 0; i < 4; ++i) {
      experts.set_gate_row(e, i, toy_row(toy_width, seed++).data());
      experts.set_up_row(e, i, toy_row(toy_width, seed++).data());
    }
    for (index_t i = 0; i < toy_width; ++i) experts.set_down_row(e, i, toy_row(4, seed++).data());
  }
  return DecoderBlock::pre_norm(toy_norm(), std::move(mixer), toy_norm(),
                                DecoderBlock::Routed(AnyRouter(TestRouter(3, toy_width, 2, 1)), std::move(experts)))
      .value();
}
Linear<AnyFormat> toy_table(float last) {
  Linear<AnyFormat> table(toy_vocab_size, toy_width, false, F32{});
  for (index_t t = 0; t < toy_vocab_size; ++t) table.set_row(t, toy_row(toy_width, 60 + t, 1.0f).data());
  table.set_row(toy_vocab_size - 1, std::vector<float>(as_size(toy_width), last).data());
  return table;
}
std::shared_ptr<const Model> toy_model() {
  Model::Parts parts{.config = {},
                     .embedding = Embedding(toy_table(std::numeric_limits<float>::quiet_NaN())),
                     .blocks = {},
                     .norm = toy_norm(),
                     .head = std::make_shared<const Linear<AnyFormat>>(toy_table(1.0f))};
  parts.config.max_position_embeddings = 160;
  parts.blocks.push_back(toy_block(RunningSum{toy_width}, 100));
  parts.blocks.push_back(toy_block(toy_window(), 200));
  parts.blocks.push_back(toy_block(RunningSum{toy_width}, 300));
  return std::make_shared<const Model>(Model::create(std::move(parts)).value());
}

std::shared_ptr<const Model> model_of(const std::string& kind) {
  if (kind == "toy") return toy_model();
  if (kind == "gru") return load_model(RandomCheckpoint(gru_router, R"({"type":"dense"})", 4, 16).path());
  if (kind == "bilevel") {
    return load_model(RandomCheckpoint(top_k_router, R"({"type":"bilevel","region_size":7,"regions":3})").path());
  }
  return load_model(FamilyCheckpoint(kind).write());
}
// Windows with sinks, windows beside full layers, convolutions, latents, shared experts, regions, routers that remember
// the layer before, recurrent layers.
const char* const kinds[] = {"gpt_oss_mxfp4",         "mellum_f32", "lfm2_moe_f32", "deepseek_v2_lite_f32",
                             "granitemoeshared_bf16", "bilevel",    "gru",          "toy"};
bool holds_all_positions(const std::string& kind) {
  return kind == "deepseek_v2_lite_f32" || kind == "granitemoeshared_bf16" || kind == "bilevel" || kind == "gru";
}

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }
// The logits after a text, from a session that did nothing else.
std::vector<float> logits_after(const std::shared_ptr<const Model>& model, std::span<const std::int32_t> tokens,
                                index_t context_size = 0) {
  Session session(model, {.context_size = context_size});
  Context ctx;
  throw_if_error(session.forward(tokens, ctx));
  return copy(session.logits());
}

// What the hooks of a session have seen, of each layer by position, and the logits that were kept.
struct Seen {
  using Route = std::pair<std::vector<ExpertId>, std::vector<float>>;
  std::map<index_t, std::vector<Route>> routes = {};
  std::map<index_t, std::vector<float>> hidden = {};
  std::vector<float> logits = {};
  bool operator==(const Seen&) const = default;

  void watch(Session& session) {
    session.on_route = [this](index_t layer, index_t first_position, const RoutingPlan& plan) {
      CHECK(first_position == static_cast<index_t>(routes[layer].size()));
      for (index_t t = 0; t < plan.tokens(); ++t) {
        const auto experts = plan.experts(t);
        const auto weights = plan.weights(t);
        routes[layer].push_back({{experts.begin(), experts.end()}, {weights.begin(), weights.end()}});
      }
    };
    session.on_hidden = [this](index_t layer, index_t first_position, ConstRows rows) {
      CHECK(std::int64_t{first_position} * rows.cols == static_cast<std::int64_t>(hidden[layer].size()));
      for (index_t t = 0; t < rows.rows; ++t) {
        hidden[layer].insert(hidden[layer].end(), rows.row(t).begin(), rows.row(t).end());
      }
    };
  }
  void keep_logits(const Session& session) {
    const ConstRows all = session.all_logits();
    for (index_t t = 0; t < all.rows; ++t) logits.insert(logits.end(), all.row(t).begin(), all.row(t).end());
  }
};

// Four texts that go on in pieces of their own; the second and the last keep all logits.
struct Texts {
  static constexpr std::size_t count = 4;
  static constexpr index_t length = 60;
  static constexpr index_t rounds = 9;

  explicit Texts(const Model& model) {
    for (unsigned s = 0; s < count; ++s) tokens.push_back(some_tokens(model, length, 5 + s));
  }
  // Prompts of different lengths, then single tokens, further pieces, and nothing at times.
  static index_t piece(std::size_t s, index_t round) {
    constexpr index_t pieces[count][rounds] = {{23, 1, 1, 1, 5, 1, 0, 9, 1},
                                               {1, 1, 0, 7, 1, 1, 20, 1, 1},
                                               {0, 0, 40, 1, 1, 0, 1, 1, 16},
                                               {11, 1, 1, 1, 1, 30, 1, 1, 1}};
    return pieces[s][as_size(round)];
  }
  static SessionOptions options(std::size_t s, index_t rows_per_pass) {
    return {.context_size = length, .rows_per_pass = rows_per_pass, .all_logits = s % 2 == 1, .spare_positions = 2};
  }
  std::vector<Tokens> tokens;
};

// A checkpoint whose last token has an embedding of NaN.
std::shared_ptr<const Model> damaged(const std::string& kind) {
  if (kind == "toy") return toy_model();
  FamilyCheckpoint checkpoint(kind);
  Copy files(checkpoint.write());
  const bool is_bf16 = kind != "mellum_f32";
  const auto config = checkpoint.config();
  const auto vocab_size = as_size(config.get_index("vocab_size", 1, 1000));
  const auto hidden_size = as_size(config.get_index("hidden_size", 1, 1000));
  const std::string number = is_bf16 ? std::string("\xc0\x7f") : std::string("\x00\x00\xc0\x7f", 4);
  std::string row;
  for (std::size_t i = 0; i < hidden_size; ++i) row += number;
  files.poke("model.embed_tokens.weight", (vocab_size - 1) * row.size(), row,
             kind == "lfm2_moe_bf16" ? "model-00002-of-00003.safetensors" : "model.safetensors");
  return load_model(files.path());
}
const char* const damaged_kinds[] = {"gpt_oss_bf16", "mellum_f32", "lfm2_moe_bf16", "toy"};

}  // namespace

TEST_CASE("a layer that cannot hold its text in fewer bits is refused by its number") {
  CHECK(Session::create(toy_model(), {.context_size = 20}).has_value());
  const auto found = Session::create(toy_model(), {.context_size = 20, .cache_type = CacheType::f16});
  REQUIRE_FALSE(found.has_value());
  CHECK(found.error().code() == ErrorCode::usage);
  CHECK(std::string(found.error().what()).find("layer 0 cannot hold its text in f16") != std::string::npos);
}

TEST_CASE("sessions that go on together have the bits, routes and routers' rows that each has alone") {
  for (const std::string kind : kinds) {
    DYNAMIC_SECTION(kind) {
      const std::shared_ptr<const Model> model = model_of(kind);
      const Texts texts(*model);
      std::vector<Seen> alone(Texts::count);
      for (std::size_t s = 0; s < Texts::count; ++s) {
        Context ctx;
        Session session(model, Texts::options(s, 512));
        alone[s].watch(session);
        for (index_t round = 0; round < Texts::rounds; ++round) {
          if (Texts::piece(s, round) == 0) continue;
          throw_if_error(session.forward(middle(texts.tokens[s], session.position(), Texts::piece(s, round)), ctx));
          alone[s].keep_logits(session);
        }
      }
      for (const index_t threads : {1, 2, 3}) {
        for (const index_t rows_per_pass : {3, 16, 512}) {
          INFO(threads << " threads, passes of " << rows_per_pass);
          ThreadPool pool(threads);
          Context ctx(pool);
          std::vector<Session> sessions;
          std::vector<Seen> seen(Texts::count);
          for (std::size_t s = 0; s < Texts::count; ++s) {
            sessions.emplace_back(model, Texts::options(s, rows_per_pass));
            seen[s].watch(sessions.back());
          }
          for (index_t round = 0; round < Texts::rounds; ++round) {
            std::vector<SessionTurn> turns;
            for (std::size_t s = 0; s < Texts::count; ++s) {
              turns.push_back({&sessions[s], middle(texts.tokens[s], sessions[s].position(), Texts::piece(s, round))});
            }
            REQUIRE(said(Session::forward_together(turns, ctx)) == "ok");
            for (std::size_t s = 0; s < Texts::count; ++s) {
              if (Texts::piece(s, round) > 0) seen[s].keep_logits(sessions[s]);
            }
          }
          for (std::size_t s = 0; s < Texts::count; ++s) {
            INFO("text " << s);
            CHECK(seen[s].logits == alone[s].logits);
            CHECK(seen[s] == alone[s]);
          }
        }
      }
    }
  }
}

TEST_CASE("turns of no pass are refused by name and change nothing") {
  const std::shared_ptr<const Model> model = toy_model();
  Context ctx;
  const Tokens text = some_tokens(*model, 30, 1);
  Session first(model, {.context_size = 12});
  Session second(model, {.context_size = 20});
  Session other(toy_model());
  throw_if_error(first.forward(middle(text, 0, 4), ctx));
  throw_if_error(second.forward(middle(text, 4, 6), ctx));
  const std::vector<float> first_logits = copy(first.logits());
  const std::vector<float> second_logits = copy(second.logits());
  const auto refused = [&](const std::vector<SessionTurn>& turns) {
    const std::string why = said(Session::forward_together(turns, ctx));
    CHECK(first.position() == 4);
    CHECK(second.position() == 6);
    CHECK(copy(first.logits()) == first_logits);
    CHECK(copy(second.logits()) == second_logits);
    return why;
  };
  const std::span<const std::int32_t> one = middle(text, 20, 1);
  CHECK(refused({{&first, one}, {&second, one}, {&first, one}}) == "usage: a session with two turns");
  CHECK(refused({{&first, one}, {&first, {}}}) == "usage: a session with two turns");
  CHECK(refused({{&first, one}, {nullptr, one}}) == "usage: a turn without a session");
  CHECK(refused({{nullptr, one}}) == "usage: a turn without a session");
  CHECK(refused({{nullptr, {}}, {&first, one}}) == "usage: a turn without a session");
  CHECK(refused({{&first, one}, {&other, one}}) == "usage: turns of different models");
  CHECK(refused({{&second, one}, {&first, middle(text, 0, 9)}}) ==
        "limit: tokens against the size of the context (got 13, allowed 12)");
  const Tokens wrong{3, 4, toy_vocab_size};
  // Of several turns tokens are counted together, of one from the beginning of its text.
  CHECK(refused({{&second, middle(text, 0, 5)}, {&first, wrong}}) == "usage: token id (got 13, allowed 12), token 7");
  CHECK(refused({{&first, wrong}}) == "usage: token id (got 13, allowed 12), token 6");
  CHECK(said(first.forward(wrong, ctx)) == "usage: token id (got 13, allowed 12), token 6");

  CHECK(refused({}) == "ok");
  CHECK(refused({{&first, {}}, {&second, {}}}) == "ok");
  const SessionTurn turns[] = {{&first, middle(text, 4, 3)}, {&second, middle(text, 10, 5)}};
  REQUIRE(said(Session::forward_together(turns, ctx)) == "ok");
  CHECK(copy(first.logits()) == logits_after(model, middle(text, 0, 7)));
  CHECK(copy(second.logits()) == logits_after(model, middle(text, 4, 11)));
}

TEST_CASE("a call that fails leaves all its sessions what they were, whatever their layers and however many passes") {
  for (const std::string kind : damaged_kinds) {
    DYNAMIC_SECTION(kind) {
      const std::shared_ptr<const Model> model = damaged(kind);
      const std::int32_t bad = model->vocab_size() - 1;
      // Lengths before the call, and tokens of it.
      constexpr index_t held[] = {45, 0, 70};
      constexpr index_t more[] = {1, 14, 17};
      std::vector<Tokens> texts;
      std::vector<std::vector<float>> before, after;
      for (unsigned s = 0; s < 3; ++s) {
        texts.push_back(some_tokens(*model, 100, 20 + s));
        before.push_back(held[s] == 0 ? std::vector<float>() : logits_after(model, middle(texts[s], 0, held[s]), 100));
        after.push_back(logits_after(model, middle(texts[s], 0, held[s] + more[s]), 100));
      }
      for (const index_t rows_per_pass : {3, 512}) {
        for (const index_t spare : {0, 4, 16}) {
          for (const bool has_snapshot : {false, true}) {
            std::vector<Session> sessions;
            Context ctx;
            for (std::size_t s = 0; s < 3; ++s) {
              sessions.emplace_back(
                  model, SessionOptions{.context_size = 100, .rows_per_pass = rows_per_pass, .spare_positions = spare});
              throw_if_error(sessions[s].forward(middle(texts[s], 0, held[s]), ctx));
              if (has_snapshot) sessions[s].snapshot();
            }
            std::vector<SessionTurn> turns;
            for (std::size_t s = 0; s < 3; ++s) turns.push_back({&sessions[s], middle(texts[s], held[s], more[s])});
            const auto is_what_it_was = [&](const char* what) {
              INFO(what << ", passes of " << rows_per_pass << ", " << spare << " spare, snapshot " << has_snapshot);
              for (std::size_t s = 0; s < 3; ++s) {
                CHECK(sessions[s].position() == held[s]);
                CHECK(sessions[s].nearest(held[s]) == held[s]);
                CHECK(copy(sessions[s].logits()) == before[s]);
              }
              std::vector<Session> copies;
              for (const Session& session : sessions) copies.push_back(session.fork());
              std::vector<SessionTurn> again = turns;
              for (std::size_t s = 0; s < 3; ++s) again[s].session = &copies[s];
              REQUIRE(said(Session::forward_together(again, ctx)) == "ok");
              for (std::size_t s = 0; s < 3; ++s) CHECK(copy(copies[s].logits()) == after[s]);
            };

            // A token of NaN near the end of the last text.
            Tokens damage(turns[2].tokens.begin(), turns[2].tokens.end());
            damage[15] = bad;
            std::vector<SessionTurn> wrong = turns;
            wrong[2].tokens = damage;
            Status status = Session::forward_together(wrong, ctx);
            CHECK(status.code == ErrorCode::numeric);
            CHECK(status.layer >= 0);
            CHECK(status.token == 1 + 14 + 15);
            is_what_it_was("NaN");
            status = sessions[2].forward(damage, ctx);
            CHECK(status.code == ErrorCode::numeric);
            CHECK(status.token == 70 + 15);
            is_what_it_was("NaN alone");

            // The hook of one text stops another, whose own rows may be over or still to come.
            for (Session& stopped : sessions) {
              sessions[1].on_route = [&](index_t, index_t first_position, const RoutingPlan& plan) {
                if (first_position + plan.tokens() > 8) stopped.cancel();
              };
              CHECK(Session::forward_together(turns, ctx).code == ErrorCode::interrupted);
              sessions[1].on_route = nullptr;
              is_what_it_was("cancelled");
            }
            sessions[2].on_route = [&](index_t, index_t first_position, const RoutingPlan& plan) {
              if (first_position + plan.tokens() > 84) throw std::runtime_error("enough");
            };
            CHECK_THROWS_AS(Session::forward_together(turns, ctx), std::runtime_error);
            CHECK_THROWS_AS(sessions[2].forward(turns[2].tokens, ctx), std::runtime_error);
            sessions[2].on_route = nullptr;
            is_what_it_was("thrown");
            sessions[1].on_hidden = [&](index_t, index_t first_position, ConstRows rows) {
              if (first_position + rows.rows > 12) throw std::runtime_error("enough");
            };
            CHECK_THROWS_AS(Session::forward_together(turns, ctx), std::runtime_error);
            sessions[1].on_hidden = nullptr;
            is_what_it_was("thrown before a layer");
          }
        }
      }
    }
  }
}

TEST_CASE("a session goes back as far as its layers can, says how far that is, and goes on like a fresh one") {
  for (const std::string kind : kinds) {
    DYNAMIC_SECTION(kind) {
      const std::shared_ptr<const Model> model = model_of(kind);
      const index_t context = std::min(100, model->config().max_position_embeddings);
      const Tokens text = some_tokens(*model, context, 3);
      const Tokens other = some_tokens(*model, 5, 4);
      Context ctx;
      const auto goes_on_from = [&](Session& session, index_t position) {
        CHECK(session.position() == position);
        throw_if_error(session.forward(other, ctx));
        Tokens whole(text.begin(), text.begin() + position);
        whole.insert(whole.end(), other.begin(), other.end());
        CHECK(copy(session.logits()) == logits_after(model, whole, context));
      };
      for (const index_t spare : {0, 6}) {
        for (const bool has_snapshot : {false, true}) {
          INFO(spare << " spare, snapshot " << has_snapshot);
          Session session(model, {.context_size = context, .rows_per_pass = 4, .spare_positions = spare});
          throw_if_error(session.forward(middle(text, 0, 13), ctx));
          if (has_snapshot) session.snapshot();
          throw_if_error(session.forward(middle(text, 13, context - 13 - 5), ctx));
          const index_t end = session.position();

          CHECK(session.nearest(end) == end);
          CHECK(session.nearest(end + 1000) == end);
          CHECK(session.nearest(0) == 0);
          CHECK(session.nearest(-3) == 0);
          const index_t back = end - spare;
          const index_t rest = holds_all_positions(kind) ? back : kind == "toy" ? (has_snapshot ? 13 : 0) : back;
          if (spare > 0) CHECK(session.nearest(back) == rest);
          // What is forgotten is answered by the nearest that is not.
          const index_t nearest = holds_all_positions(kind) ? 20 : has_snapshot ? 13 : 0;
          CHECK(session.nearest(20) == nearest);
          const std::vector<float> before = copy(session.logits());
          const Status status = session.truncate(20);
          if (nearest != 20) {
            CHECK(said(status) ==
                  "limit: positions to keep, against the nearest that every layer can go back to (got 20, "
                  "allowed " +
                      std::to_string(nearest) + ")");
            CHECK(session.position() == end);
            CHECK(copy(session.logits()) == before);
          } else {
            CHECK(status.ok());
            CHECK(session.logits().empty());
            goes_on_from(session, 20);
            throw_if_error(session.truncate(20));
            throw_if_error(session.forward(middle(text, 20, end - 20), ctx));
          }
          // A fork goes back by itself, and again and again.
          Session fork = session.fork();
          if (kind != "toy") {
            throw_if_error(fork.truncate(end - spare));
            goes_on_from(fork, end - spare);
            fork = session.fork();
          }
          const index_t rewound = holds_all_positions(kind) || has_snapshot ? 13 : 0;
          CHECK(fork.nearest(13) == rewound);
          for (int time = 0; time < 2; ++time) {
            throw_if_error(fork.truncate(rewound));
            goes_on_from(fork, rewound);
          }
          throw_if_error(fork.truncate(0));
          goes_on_from(fork, 0);
          CHECK(fork.nearest(4) == (kind != "toy" ? 4 : 0));
          CHECK(session.position() == end);
          CHECK(session.nearest(13) == rewound);
          throw_if_error(session.forward(other, ctx));
          CHECK(copy(session.logits()) == [&] {
            Tokens whole(text.begin(), text.begin() + end);
            whole.insert(whole.end(), other.begin(), other.end());
            return logits_after(model, whole, context);
          }());
        }
      }
    }
  }
}
