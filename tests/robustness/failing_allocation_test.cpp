// Memory that runs out at the n-th allocation, for every n, once and from then on: the call says so, nothing is lost,
// and what it was called on can be used again.
#include <cstdlib>
#include <new>

#include "headgate/core/thread_pool.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/models/session.hpp"
#include "headgate/routing/balancing/bias_balancer.hpp"
#include "headgate/routing/plan_transform.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "headgate/tokenizer/tokenizer.hpp"
#include "models/family_checkpoint.hpp"
#include "models/loading.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "tokenizer/tokenizer_text.hpp"

namespace {

enum class Fails { once, from_then_on };

// What this thread's allocations do. The operators below ask.
struct Shortage {
  std::int64_t left = -1;  // allocations that succeed before one fails; negative: all succeed
  Fails fails = Fails::once;
  bool struck = false;
  bool bearable = false;  // by one who asked for memory and does without it

  bool strikes() noexcept {
    if (left < 0) return false;
    if (left-- > 0) return false;
    struck = true;
    left = fails == Fails::once ? -1 : 0;
    return true;
  }
};
thread_local Shortage shortage;

void* allocate(std::size_t size, std::size_t alignment) noexcept {
  if (shortage.strikes()) return nullptr;
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  return std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
}
// Not inlined: g++ would see an operator new answered by free.
[[gnu::noinline]] void release(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  void* const memory = allocate(size, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return allocate_or_throw(size, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  void* const memory = allocate(size, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
  if (memory == nullptr) shortage.bearable = true;
  return memory;
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  void* const memory = allocate(size, static_cast<std::size_t>(alignment));
  if (memory == nullptr) shortage.bearable = true;
  return memory;
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept { release(memory); }

using namespace headgate;

namespace {

// Runs `call` with memory that runs out at its first allocation, its second, and so on, until it needs no more; after
// every failure `check` looks at what is left. Returns the number of allocations.
template <class Call, class Check>
std::int64_t fail_each_allocation(Fails fails, Call&& call, Check&& check) {
  for (std::int64_t n = 0;; ++n) {
    bool refused = false;
    shortage = {.left = n, .fails = fails};
    try {
      call();
    } catch (const std::bad_alloc&) {
      refused = true;
    } catch (const Error& error) {
      refused = error.code() == ErrorCode::limit;
    }
    const Shortage was = std::exchange(shortage, {});
    INFO("allocation " << n);
    REQUIRE((refused ? was.struck : !was.struck || was.bearable));
    if (!was.struck) return n;
    if (refused) check();
  }
}
constexpr auto nothing = [] {};
constexpr Fails both[] = {Fails::once, Fails::from_then_on};

}  // namespace

TEST_CASE("a plan whose memory runs out keeps its rows (J1)") {
  for (const Fails fails : both) {
    RoutingPlan plan;
    RoutingPlan kept;
    plan.clear(100);
    kept.clear(100);
    std::vector<ExpertId> experts;
    std::vector<float> weights;
    std::int64_t allocations = 0;
    for (ExpertId e = 0; e < 70; ++e) {
      experts.push_back(e);
      weights.push_back(0.5f);
      allocations += fail_each_allocation(
          fails, [&] { throw_if_error(plan.append_row(experts, weights)); }, [&] { CHECK(plan == kept); });
      throw_if_error(kept.append_row(experts, weights));
      CHECK(plan == kept);
    }
    CHECK(allocations > 10);
    // A writer that finds no memory leaves a plan of no rows.
    CHECK(fail_each_allocation(
              fails,
              [] {
                RoutingPlan fresh;
                PlanWriter writer(fresh);
                throw_if_error(writer.open(100, 7, 40));
              },
              nothing) == 4);
    fail_each_allocation(
        fails,
        [&] {
          RoutingPlan filled = plan;
          try {
            PlanWriter writer(filled);
            throw_if_error(writer.open(100, 70, 100));
          } catch (const std::bad_alloc&) {
            shortage.left = -1;
            CHECK(filled.tokens() == 0);
            CHECK(filled.entries() == 0);
            throw;
          }
        },
        nothing);
    RoutingPlan out;
    const std::int64_t capacity = fail_each_allocation(
        fails,
        [&] {
          RoutingPlan fresh;
          throw_if_error(limit_capacity(plan, 3, CapacityOrder::priority, WeightsAfterDrop::same_sum, fresh));
          out = fresh;
        },
        nothing);
    CHECK(capacity > 5);
    CHECK(out.tokens() == 70);
    std::string saved;
    CHECK(fail_each_allocation(
              fails,
              [&] {
                const std::string bytes = BiasBalancer::create(9, {}).value().serialize();
                saved = BiasBalancer::deserialize(bytes).value().serialize();
              },
              nothing) > 5);
    CHECK(saved == BiasBalancer::create(9, {}).value().serialize());
  }
}

TEST_CASE("a layer whose memory runs out computes the same afterwards (J1)") {
  const GluShape shape{5, 24, 20, {}, true, false};
  std::mt19937 rng(1);
  const reference::Matrix gate = reference::Matrix::random(5, 24, 0.5f, rng);
  const reference::Matrix x = reference::Matrix::random(7, 24, 1.0f, rng);
  using Layer = MoELayer<TopKSoftmax, SwiGluExperts<F32>>;
  const Layer layer(mixtral_router({gate.view()}, 3).value(),
                    SwiGluExperts<F32>(shape, reference::Bank(shape, 2).matrices()));
  const auto run = [&](Context& ctx) {
    Layer::State state;
    reference::Matrix y(7, 24);
    throw_if_error(layer.forward({.hidden = x.view()}, state, y.view(), ctx));
    return y;
  };
  Context fresh;
  const reference::Matrix expected = run(fresh);
  ThreadPool pool(2);
  for (const Fails fails : both) {
    Context ctx(pool);
    reference::Matrix y(0, 0);
    CHECK(fail_each_allocation(fails, [&] { y = run(ctx); }, [&] { CHECK(run(ctx) == expected); }) > 3);
    CHECK(y == expected);
    // With all of the memory new each time.
    CHECK(fail_each_allocation(
              fails,
              [&] {
                Context own(pool);
                y = run(own);
              },
              nothing) > 5);
    CHECK(y == expected);
  }
}

TEST_CASE("a tokenizer is read and used whole or not at all where memory runs out (J1)") {
  TokenizerText text;
  text.normalizer = R"({"type":"NFC"})";
  text.added =
      R"([{"id":260,"content":"<x>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}])";
  const std::string json = text.json();
  const Tokenizer tokenizer = Tokenizer::from_json(json);
  const std::string sample = "the aaaa <x>\xc3\xa9 the";
  const std::vector<std::int32_t> expected = tokenizer.encode(sample);
  for (const Fails fails : both) {
    std::vector<std::int32_t> ids;
    CHECK(fail_each_allocation(fails, [&] { ids = Tokenizer::from_json(json).encode(sample); }, nothing) > 100);
    CHECK(ids == expected);
    std::string decoded;
    fail_each_allocation(
        fails, [&] { decoded = tokenizer.decode(tokenizer.encode(sample)); },
        [&] { CHECK(tokenizer.encode(sample) == expected); });
    CHECK(decoded == tokenizer.decode(expected));
  }
}

TEST_CASE("a model is loaded whole or not at all where memory runs out (J1)") {
  const std::string folder = models_test::tiny("tied_bf16");
  for (const Fails fails : both) {
    std::shared_ptr<const Model> model;
    CHECK(fail_each_allocation(fails, [&] { model = load_model(folder); }, nothing) > 100);
    REQUIRE(model != nullptr);
    CHECK(model->vocab_size() == 149);
  }
}

TEST_CASE("a session whose memory runs out holds the text it held (J1)") {
  const std::shared_ptr<const Model> model = load_model(models_test::tiny("head_f32"));
  const std::vector<std::int32_t> text{3, 141, 59, 26, 53};
  const auto logits_of = [](const Session& session) {
    return std::vector<float>(session.logits().begin(), session.logits().end());
  };
  Session whole(model, {.context_size = 40});
  Context plain;
  throw_if_error(whole.forward(text, plain));
  const std::vector<float> expected = logits_of(whole);
  for (const Fails fails : both) {
    // Session and context new each time.
    std::vector<float> logits;
    CHECK(fail_each_allocation(
              fails,
              [&] {
                Session session(model, {.context_size = 40, .rows_per_pass = 2});
                Context ctx;
                throw_if_error(session.forward(text, ctx));
                logits = logits_of(session);
              },
              nothing) > 10);
    CHECK(logits == expected);
    // One session throughout: each failure leaves it where it was.
    Session session(model, {.context_size = 40, .rows_per_pass = 2});
    throw_if_error(session.forward(std::span(text).first(2), plain));
    const std::vector<float> before = logits_of(session);
    const std::int64_t allocations = fail_each_allocation(
        fails,
        [&] {
          Context ctx;
          throw_if_error(session.forward(std::span(text).subspan(2), ctx));
        },
        [&] {
          CHECK(session.position() == 2);
          CHECK(logits_of(session) == before);
        });
    CHECK(allocations > 0);
    CHECK(session.position() == 5);
    CHECK(logits_of(session) == expected);
    std::vector<float> forked;
    fail_each_allocation(fails, [&] { forked = logits_of(session.fork()); }, nothing);
    CHECK(forked == expected);
  }
}

TEST_CASE("once warm, sessions go on without allocating, alone and together, on layers of every kind") {
  using models_test::FamilyCheckpoint;
  for (const char* const name : {"gpt_oss_mxfp4", "mellum_f32", "lfm2_moe_f32", "deepseek_v2_lite_f32",
                                 "granitemoeshared_bf16", "phimoe_window_bf16"}) {
    INFO(name);
    const std::shared_ptr<const Model> model = load_model(FamilyCheckpoint(name).write());
    std::vector<Session> sessions;
    Context ctx;
    for (std::int32_t s = 0; s < 3; ++s) {
      sessions.emplace_back(model, SessionOptions{.context_size = 150, .rows_per_pass = 8});
      sessions.back().on_route = [](index_t, index_t, const RoutingPlan&) {};
      const std::vector<std::int32_t> prompt(as_size(11 * (s + 1)), s + 3);
      throw_if_error(sessions.back().forward(prompt, ctx));
    }
    const std::int32_t tokens[] = {1, 2, 3, 4, 5};
    std::vector<SessionTurn> turns;
    for (Session& session : sessions) turns.push_back({&session, std::span(tokens).first(1)});
    turns.back().tokens = tokens;  // one of several
    const auto step = [&] {
      throw_if_error(Session::forward_together(turns, ctx));
      for (Session& session : sessions) throw_if_error(session.forward(std::span(tokens).first(1), ctx));
    };
    step();
    step();
    constexpr std::int64_t many = 1 << 20;
    shortage = {.left = many, .fails = Fails::once};
    for (int i = 0; i < 15; ++i) step();  // windows move down on the way
    const std::int64_t allocations = many - std::exchange(shortage, {}).left;
    CHECK(allocations == 0);
  }
}
