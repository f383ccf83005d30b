// A model put together by hand, from an attention, a router and experts of the user's own.
#include "headgate/models/decoder.hpp"

#include <algorithm>
#include <new>
#include <stdexcept>

#include "headgate/experts/per_expert.hpp"
#include "headgate/routing/balancing/bias_balancer.hpp"
#include "models/checkpoints.hpp"
#include "support/status.hpp"
#include "support/test_router.hpp"

using namespace headgate;

namespace {

constexpr index_t width = 6;
constexpr index_t vocab_size = 9;

// Attends to nothing, and has no memory to give beyond 100 positions.
struct NoAttention {
  struct State {
    index_t positions = 0;
    index_t position() const noexcept { return positions; }
    index_t nearest(index_t p) const noexcept { return p; }
    void truncate(index_t p) noexcept { positions = p; }
    bool keeps_present(index_t, bool) const noexcept { return true; }
    void snapshot() noexcept {}
    State clone() const { return *this; }
    std::int64_t bytes() const noexcept { return 0; }
  };
  index_t hidden_size() const noexcept { return width; }
  std::int64_t weight_bytes() const noexcept { return 0; }
  const Rope* rope() const noexcept { return nullptr; }
  State make_state(const StateSize& size) const {
    if (size.context_size > 100) throw std::bad_alloc();
    return {};
  }
  Status forward(const MixerInput& in, std::span<State* const> states, Rows y, Context&) const {
    for (std::size_t s = 0; s < states.size(); ++s) states[s]->positions += in.sequences[s].rows;
    for (index_t t = 0; t < y.rows; ++t) {
      for (float& value : y.row(t)) value = 0.0f;
    }
    return Status::success();
  }
};

// Experts route across the batch: no decoder can use it.
struct Coupled : TestRouter {
  Coupled() : TestRouter(2, width, 1, 1) {}
  RouterTraits traits() const noexcept { return {.batch_coupled = true}; }
};

RmsNorm<> ones(index_t size = width) { return {std::vector<float>(as_size(size), 1.0f), 1e-6f}; }
AnyExperts bank(index_t num_experts) { return GluExperts<F32>(GluShape{num_experts, width, 4}); }

template <class R>
DecoderBlock block(R router) {
  const index_t num_experts = router.num_experts();
  return DecoderBlock::pre_norm(ones(), NoAttention(), ones(),
                                DecoderBlock::Routed(AnyRouter(std::move(router)), bank(num_experts)))
      .value();
}

Embedding embedding(index_t hidden_size = width) {
  Linear<AnyFormat> table(vocab_size, hidden_size, false, F32{});
  std::vector<float> row(as_size(hidden_size));
  for (index_t t = 0; t < vocab_size; ++t) {
    for (index_t i = 0; i < hidden_size; ++i)
      row[as_size(i)] = (i == t % hidden_size ? 1.0f : 0.0f) + 0.01f * static_cast<float>(t);
    table.set_row(t, row.data());
  }
  return Embedding(std::move(table));
}

Model::Parts parts() {
  Model::Parts made{.config = {}, .embedding = embedding(), .blocks = {}, .norm = ones()};
  made.config.max_position_embeddings = 50;
  made.blocks.push_back(block(TestRouter(3, width, 2, 1)));
  made.blocks.push_back(block(TestRouter(4, width, 1, 2)));
  return made;
}

std::string error_of(Model::Parts made) {
  const auto model = Model::create(std::move(made));
  REQUIRE(!model.has_value());
  CHECK(model.error().code() == ErrorCode::usage);
  return model.error().what();
}

}  // namespace

TEST_CASE("a model of attention and experts that add nothing returns its embedding's products") {
  const auto model = std::make_shared<const Model>(Model::create(parts()).value());
  CHECK(model->num_layers() == 2);
  CHECK(model->vocab_size() == vocab_size);
  CHECK(model->hidden_size() == width);
  Session session(model);
  Context ctx;
  const std::int32_t tokens[] = {8, 4};
  REQUIRE(session.forward(tokens, ctx).ok());
  float x[width];
  const std::int32_t last[] = {4};
  embedding().read(last, {x, 1, width});
  float normed[width];
  REQUIRE(ones().forward({x, 1, width}, {normed, 1, width}, ctx).ok());
  float logits[vocab_size];
  REQUIRE(embedding().forward({normed, 1, width}, {logits, 1, vocab_size}, ctx).ok());
  for (index_t t = 0; t < vocab_size; ++t) CHECK(session.logits()[as_size(t)] == logits[t]);
}

TEST_CASE("a head of its own replaces the embedding as output") {
  Model::Parts made = parts();
  Linear<AnyFormat> head(vocab_size, width, false, F32{});
  const std::vector<float> row(as_size(width), 1.0f);
  head.set_row(5, row.data());
  made.head = std::make_shared<const Linear<AnyFormat>>(std::move(head));
  Session session(std::make_shared<const Model>(Model::create(std::move(made)).value()));
  Context ctx;
  const std::int32_t token = 2;
  REQUIRE(session.forward({&token, 1}, ctx).ok());
  for (index_t t = 0; t < vocab_size; ++t) CHECK((session.logits()[as_size(t)] != 0.0f) == (t == 5));
}

TEST_CASE("parts that do not fit, and routers that couple a batch, make no model") {
  Model::Parts made = parts();
  made.norm = ones(width + 1);
  CHECK(io_test::contains(error_of(std::move(made)), "norm"));
  made = parts();
  made.head = std::make_shared<const Linear<AnyFormat>>(vocab_size, width + 1, false, F32{});
  CHECK(io_test::contains(error_of(std::move(made)), "width of the head"));
  made = parts();
  made.head = std::make_shared<const Linear<AnyFormat>>(vocab_size - 1, width, false, F32{});
  CHECK(io_test::contains(error_of(std::move(made)), "rows of the head"));
  made = parts();
  made.embedding = embedding(width + 2);
  made.norm = ones(width + 2);
  CHECK(io_test::contains(error_of(std::move(made)), "width of a layer"));
  made = parts();
  made.blocks.push_back(block(Coupled()));
  CHECK(io_test::contains(error_of(std::move(made)), "depend on each other"));
}

TEST_CASE("memory that is not there for keys and values is a limit") {
  const auto model = std::make_shared<const Model>(Model::create(parts()).value());
  CHECK(Session::create(model, {.context_size = 100}).has_value());
  const auto session = Session::create(model, {.context_size = 101});
  REQUIRE(!session.has_value());
  CHECK(session.error().code() == ErrorCode::limit);
  CHECK(session.error().detail().field == "context_size");
}

TEST_CASE("of several rows of logits the first that is not finite is named, the last, too") {
  const Model model = Model::create(parts()).value();
  Context ctx;
  for (const index_t bad : {0, 1, 2}) {
    std::vector<float> x(3 * as_size(width), 0.5f);
    for (index_t t = bad; t < 3; ++t) x[as_size(t * width) + 2] = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> logits(3 * as_size(vocab_size));
    CHECK(said(model.logits({x.data(), 3, width}, {logits.data(), 3, vocab_size}, ctx)) ==
          "numeric: a logit is not finite, layer 2, token " + std::to_string(bad));
  }
  const std::vector<float> x(3 * as_size(width), 0.5f);
  std::vector<float> logits(3 * as_size(vocab_size));
  CHECK(said(model.logits({x.data(), 3, width}, {logits.data(), 3, vocab_size}, ctx)) == "ok");
}

TEST_CASE("a model refuses rows and states that are not of its pass") {
  const Model model = Model::create(parts()).value();
  Context ctx;
  const std::int32_t tokens[] = {8, 4};
  const std::atomic<bool> interrupted = false;
  const auto forward = [&](Model::State& state, Rows x, index_t rows = 2) {
    const Model::Sequence text{{rows, 0}, state, interrupted};
    return said(model.forward({tokens, {&text, 1}}, x, ctx));
  };
  float memory[3 * (width + 1)] = {};
  Model::State state = model.make_state({10, 10, 0});
  CHECK(forward(state, {memory, 1, width}) == "usage: rows of x against tokens (got 1, allowed 2)");
  CHECK(forward(state, {memory, 3, width}) == "usage: rows of x against tokens (got 3, allowed 2)");
  CHECK(forward(state, {memory, 2, width + 1}) == "usage: width of x against hidden_size (got 7, allowed 6)");
  CHECK(forward(state, {nullptr, 2, width}) == "usage: rows of a matrix without data");
  CHECK(forward(state, {memory, 2, width}, 1) == "usage: rows of all sequences against tokens (got 1, allowed 2)");
  CHECK(forward(state, {memory, 2, width}, -2) == "usage: rows of a sequence, at least (got -2, allowed 0)");
  CHECK(said(model.forward({tokens, {}}, {memory, 2, width}, ctx)) ==
        "usage: sequences of a pass, at least (got 0, allowed 1)");
  Model::State empty;
  CHECK(forward(empty, {memory, 2, width}) == "usage: mixers of the state against the model (got 0, allowed 2)");
  Model::State larger = model.make_state({10, 10, 0});
  larger.mixers.push_back(model.block(0).mixers().front()->make_state({10, 10, 0}));
  CHECK(forward(larger, {memory, 2, width}) == "usage: mixers of the state against the model (got 3, allowed 2)");
  Model::State other = model.make_state({10, 10, 0});
  const Model::Sequence texts[] = {{{1, 0}, state, interrupted}, {{1, 0}, other, interrupted}};
  const RoutingRule rule{.edits = {.k = 1}};
  CHECK(said(model.forward({tokens, texts, {&rule, 1}}, {memory, 2, width}, ctx)) ==
        "usage: routing rules are for a pass of one text");
  for (const float value : memory) CHECK(value == 0.0f);
  CHECK(forward(state, {memory, 2, width}) == "ok");
}

TEST_CASE("a model says which widths of its parts differ") {
  Model::Parts made = parts();
  made.norm = ones(width + 1);
  CHECK(error_of(std::move(made)) == "width of the last norm against the embedding (got 7, allowed 6)");
  made = parts();
  made.head = std::make_shared<const Linear<AnyFormat>>(vocab_size, width + 1, false, F32{});
  CHECK(error_of(std::move(made)) == "width of the head against the embedding (got 7, allowed 6)");
  made = parts();
  made.head = std::make_shared<const Linear<AnyFormat>>(vocab_size + 1, width, false, F32{});
  CHECK(error_of(std::move(made)) == "rows of the head against the embedding (got 10, allowed 9)");
  made = parts();
  made.embedding = embedding(width + 2);
  made.norm = ones(width + 2);
  CHECK(error_of(std::move(made)) == "width of a layer against the embedding (got 6, allowed 8)");
}

TEST_CASE("embeddings, norms and head work with the epsilon of the last norm") {
  Model::Parts made = parts();
  made.norm = RmsNorm<>(std::vector<float>(as_size(width), 1.0f), 3.0f);
  const Model model = Model::create(std::move(made)).value();
  const std::vector<float> x(as_size(width), 1.0f);
  std::vector<float> logits(as_size(vocab_size));
  Context ctx;
  throw_if_error(model.logits({x.data(), 1, width}, {logits.data(), 1, vocab_size}, ctx));
  // Rows of the table add up to 1 + 0.06 t, and the normed row is 1 / sqrt(1 + 3).
  for (index_t t = 0; t < vocab_size; ++t) {
    CHECK(logits[as_size(t)] == Catch::Approx(0.5 * (1.0 + 0.06 * t)).epsilon(1e-5));
  }
}

TEST_CASE("an embedding multiplier, a bias of the head and a divisor of logits are the model's") {
  Model::Parts made = parts();
  made.embedding_multiplier = 3.0f;
  made.logits_divisor = 4.0f;
  for (index_t t = 0; t < vocab_size; ++t) made.head_bias.push_back(static_cast<float>(t));
  const Model model = Model::create(std::move(made)).value();
  const std::int32_t token = 8;
  const std::atomic<bool> interrupted = false;
  Model::State state = model.make_state({10, 10, 0});
  float x[width];
  float plain[width];
  Context ctx;
  const Model::Sequence text{{1, 0}, state, interrupted};
  throw_if_error(model.forward({{&token, 1}, {&text, 1}}, {x, 1, width}, ctx));
  embedding().read({&token, 1}, {plain, 1, width});
  for (index_t i = 0; i < width; ++i) CHECK(x[i] == 3.0f * plain[i]);
  float logits[vocab_size];
  float undivided[vocab_size];
  throw_if_error(model.logits({x, 1, width}, {logits, 1, vocab_size}, ctx));
  throw_if_error(Model::create(parts()).value().logits({x, 1, width}, {undivided, 1, vocab_size}, ctx));
  for (index_t t = 0; t < vocab_size; ++t) CHECK(logits[t] == (undivided[t] + static_cast<float>(t)) / 4.0f);
  made = parts();
  made.head_bias = {1.0f};
  CHECK(error_of(std::move(made)) == "size of the bias of the head (got 1, allowed 9)");
}

namespace {

using models_test::hash_of, models_test::tales;

const std::vector<std::int32_t>& some_tokens() {
  static const std::vector<std::int32_t> tokens = [] {
    std::vector<std::int32_t> ids;
    for (std::int32_t i = 0; i < 80; ++i) ids.push_back((i * 37 + i * i * 11) % 1000);
    return ids;
  }();
  return tokens;
}
// The plan of every layer, and the bits of the logits.
struct Passed {
  explicit Passed(const std::shared_ptr<const Model>& model) : plans(as_size(model->num_layers())) {
    Session session(model);
    session.on_route = [&](index_t layer, index_t, const RoutingPlan& plan) { plans[as_size(layer)] = plan; };
    Context ctx;
    throw_if_error(session.forward(some_tokens(), ctx));
    bits = hash_of(session.all_logits());
  }
  std::vector<RoutingPlan> plans;
  std::uint64_t bits = 0;
};
// The busiest expert's load over the mean, averaged over the layers.
double imbalance(const Passed& passed) {
  double sum = 0.0;
  for (const RoutingPlan& plan : passed.plans) {
    std::vector<double> loads(as_size(plan.num_experts()));
    for (const ExpertId e : plan.experts()) ++loads[as_size(e)];
    sum += *std::max_element(loads.begin(), loads.end()) * plan.num_experts() / static_cast<double>(plan.entries());
  }
  return sum / static_cast<double>(passed.plans.size());
}

}  // namespace

TEST_CASE("a balancer moves the biases of a model's copy from pass to pass, and of the model itself nothing") {
  const std::shared_ptr<const Model> original = load_model(tales);
  const Passed before(original);
  std::vector<BiasBalancer> balancers;
  for (index_t l = 0; l < original->num_layers(); ++l) {
    const index_t num_experts = original->block(l).routed()->router().num_experts();
    balancers.push_back(BiasBalancer::create(num_experts, {.rate = 0.02f}).value());
  }
  std::shared_ptr<const Model> model = original;
  for (int pass = 0; pass < 8; ++pass) {
    const Passed passed(model);
    for (std::size_t l = 0; l < balancers.size(); ++l) {
      throw_if_error(balancers[l].observe(passed.plans[l]));
      balancers[l].step();
    }
    model = original->with_routers([&](index_t layer, AnyRouter own) {
      throw_if_error(own.set_selection_bias(balancers[as_size(layer)].bias()));
      return own;
    });
  }
  const Passed after(model);
  INFO(imbalance(before) << " before, " << imbalance(after) << " after");
  CHECK(imbalance(after) < 0.75 * imbalance(before));

  // The first layer reads the same in both: where it chooses the same experts, it weighs them the same.
  const RoutingPlan& first = before.plans[0];
  const RoutingPlan& balanced = after.plans[0];
  index_t equal = 0;
  for (index_t t = 0; t < first.tokens(); ++t) {
    if (!std::ranges::equal(first.experts(t), balanced.experts(t))) continue;
    ++equal;
    CHECK(std::ranges::equal(first.weights(t), balanced.weights(t)));
  }
  CHECK(equal > 0);
  CHECK(equal < first.tokens());
  CHECK(Passed(original).bits == before.bits);
  CHECK(after.bits != before.bits);
  CHECK(model->weight_bytes() == original->weight_bytes());
}

TEST_CASE("copies of a model with other routers share its weights") {
  const std::shared_ptr<const Model> original = load_model(tales);
  const auto same = [](index_t, const AnyRouter& own) { return own; };
  std::vector<std::shared_ptr<const Model>> copies = {original->with_routers(same)};
  const std::size_t before = io_test::resident_bytes();
  for (int i = 0; i < 20; ++i) copies.push_back(copies.back()->with_routers(same));
  CHECK(io_test::resident_bytes() - before < as_size(original->weight_bytes() / 2));
  CHECK(Passed(copies.back()).bits == Passed(original).bits);
}

TEST_CASE("a copy of a model lives on without it, and with what its routers refer to") {
  std::shared_ptr<const Model> owner = load_model(tales);
  const std::uint64_t bits = Passed(owner).bits;
  const std::shared_ptr<const Model> copy = owner->with_routers([](index_t, const AnyRouter& own) { return own; });
  owner.reset();
  CHECK(Passed(copy).bits == bits);
}

TEST_CASE("routers for a model's copy that do not fit are refused with the layer, and exceptions pass through") {
  const auto model = std::make_shared<const Model>(Model::create(parts()).value());
  const auto message = [&](const AnyRouter& second) {
    return std::string(io_test::error_of([&] {
                         model->with_routers(
                             [&](index_t layer, const AnyRouter& own) { return layer == 1 ? second : own; });
                       }).what());
  };
  CHECK(io_test::contains(message(TestRouter(3, width, 2, 1)), "(got 3, allowed 4), layer 1"));
  CHECK(io_test::contains(message(TestRouter(4, width + 1, 2, 1)), "(got 7, allowed 6), layer 1"));
  struct FourCoupled : TestRouter {
    FourCoupled() : TestRouter(4, width, 1, 1) {}
    RouterTraits traits() const noexcept { return {.batch_coupled = true}; }
  };
  CHECK(io_test::contains(message(FourCoupled()), "cannot use, layer 1"));
  CHECK_THROWS_AS(model->with_routers([](index_t, const AnyRouter&) -> AnyRouter { throw std::runtime_error("no"); }),
                  std::runtime_error);
}
