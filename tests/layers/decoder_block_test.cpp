#include "headgate/layers/decoder_block.hpp"

#include "headgate/experts/glu_experts.hpp"
#include "support/catch.hpp"
#include "support/running_sum.hpp"
#include "support/status.hpp"
#include "support/test_router.hpp"

using namespace headgate;

namespace {

constexpr index_t width = 10;

// y_t = the sum of the rows up to t: it mixes positions, as attention does.
struct Sum : RunningSum {
  explicit Sum(bool is_broken = false) : RunningSum{width}, fails(is_broken) {}
  Status forward(const MixerInput& in, std::span<State* const> states, Rows y, Context& ctx) const {
    return fails ? Status::not_finite("nothing but trouble", -1, 1) : RunningSum::forward(in, states, y, ctx);
  }
  bool fails;
};

RmsNorm<> norm(float first) {
  std::vector<float> weight(as_size(width));
  for (index_t i = 0; i < width; ++i) weight[as_size(i)] = first + 0.1f * static_cast<float>(i);
  return {std::move(weight), 1e-6f};
}
AnyExperts experts(index_t num_experts, index_t hidden_size = width) {
  std::mt19937 rng(5);
  const GluShape shape{.num_experts = num_experts, .hidden_size = hidden_size, .ffn_size = 7};
  GluExperts<F32> bank(shape);
  for (ExpertId e = 0; e < num_experts; ++e) {
    const auto gate = reference::Matrix::random(7, hidden_size, 0.5f, rng);
    const auto up = reference::Matrix::random(7, hidden_size, 0.5f, rng);
    const auto down = reference::Matrix::random(hidden_size, 7, 0.5f, rng);
    throw_if_error(bank.set_expert(e, {.gate = gate.view(), .up = up.view(), .down = down.view()}));
  }
  return bank;
}
DecoderBlock::Routed routed() { return {AnyRouter(TestRouter(5, width, 2, 6)), experts(5)}; }
DecoderBlock::Dense dense() { return DecoderBlock::Dense::create(experts(1)).value(); }

reference::Matrix input(index_t tokens) {
  std::mt19937 rng(7);
  return reference::Matrix::random(tokens, width, 2.0f, rng);
}

struct Result {
  Status status;
  reference::Matrix x;
};
// The states of a block for one text, and what a pass lends its mixers.
struct Lent {
  explicit Lent(const DecoderBlock& block, index_t context_size) {
    for (const AnyMixer* const mixer : block.mixers()) {
      states.push_back(mixer->make_state({context_size, context_size, 0}));
    }
    for (AnyState& state : states) pointers.push_back(&state);
    for (AnyState*& state : pointers) mixers.push_back({{&state, 1}, {}, {}});
  }
  std::vector<AnyState> states;
  std::vector<AnyState*> pointers;
  std::vector<DecoderBlock::MixerPass> mixers;
};

Result run(const DecoderBlock& block, index_t tokens, std::function<void(ConstRows)> on_hidden = nullptr) {
  Result result{{}, input(tokens)};
  const Lent lent(block, tokens);
  DecoderBlock::State state;
  state.reset(tokens);
  Context ctx;
  const std::vector<std::int32_t> ids(as_size(tokens));
  const SequenceRows text{tokens, 0};
  result.status =
      block.forward({result.x.view(), ids, {&text, 1}, {}, std::move(on_hidden)}, 3, lent.mixers, state, ctx);
  return result;
}

// The same from the parts, step by step.
template <class Ffn>
reference::Matrix expected(index_t tokens, Ffn&& ffn) {
  reference::Matrix x = input(tokens);
  reference::Matrix normed(tokens, width);
  reference::Matrix out(tokens, width);
  Context ctx;
  throw_if_error(norm(0.5f).forward(x.view(), normed.view(), ctx));
  const Sum mixer;
  Sum::State state = mixer.make_state({tokens, tokens, 0});
  Sum::State* const states[] = {&state};
  const SequenceRows text{tokens, 0};
  throw_if_error(mixer.forward({normed.view(), {&text, 1}, {}, {}}, states, out.view(), ctx));
  for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] += out.values[i];
  throw_if_error(norm(0.7f).forward(x.view(), normed.view(), ctx));
  out = reference::Matrix(tokens, width);
  ffn(normed, out, ctx);
  for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] += out.values[i];
  return x;
}

}  // namespace

TEST_CASE("a block is norm, attention, residual, norm, experts, residual") {
  const DecoderBlock block = DecoderBlock::pre_norm(norm(0.5f), Sum(), norm(0.7f), routed()).value();
  CHECK(block.routed() != nullptr);
  for (const index_t tokens : {1, 2, 13}) {
    const Result result = run(block, tokens);
    REQUIRE(result.status.ok());
    CHECK(result.x == expected(tokens, [](reference::Matrix& x, reference::Matrix& y, Context& ctx) {
            DecoderBlock::State state;
            state.reset(x.rows);
            throw_if_error(routed().forward({x.view()}, state, y.view(), ctx));
          }));
  }
}

TEST_CASE("in a dense block every token passes through the one expert") {
  const DecoderBlock block = DecoderBlock::pre_norm(norm(0.5f), Sum(), norm(0.7f), dense()).value();
  CHECK(block.routed() == nullptr);
  for (const index_t tokens : {1, 13}) {
    const Result result = run(block, tokens);
    REQUIRE(result.status.ok());
    CHECK(result.x == expected(tokens, [](reference::Matrix& x, reference::Matrix& y, Context& ctx) {
            RoutingPlan plan;
            throw_if_error(dense().add(x.view(), y.view(), plan, ctx));
          }));
  }
}

TEST_CASE("no token passes through a block unharmed and without an error") {
  const DecoderBlock block = DecoderBlock::pre_norm(norm(0.5f), Sum(), norm(0.7f), routed()).value();
  CHECK(run(block, 0).status.ok());
}

TEST_CASE("an error inside a block names the layer") {
  const DecoderBlock broken = DecoderBlock::pre_norm(norm(0.5f), Sum(true), norm(0.7f), dense()).value();
  const Status status = run(broken, 2).status;
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.layer == 3);
  CHECK(status.token == 1);
}

TEST_CASE("parts of different widths make no block") {
  CHECK(!DecoderBlock::pre_norm(RmsNorm<>({1.0f, 1.0f}, 1e-6f), Sum(), norm(0.7f), dense()));
  CHECK(!DecoderBlock::pre_norm(norm(0.5f), Sum(), RmsNorm<>({1.0f}, 1e-6f), dense()));
  CHECK(!DecoderBlock::pre_norm(norm(0.5f), Sum(), norm(0.7f),
                                DecoderBlock::Dense::create(experts(1, width + 1)).value()));
}

TEST_CASE("a hook sees what router and experts read, in every routed layer and no dense one") {
  const DecoderBlock moe = DecoderBlock::pre_norm(norm(0.5f), Sum(), norm(0.7f), routed()).value();
  const DecoderBlock plain = DecoderBlock::pre_norm(norm(0.5f), Sum(), norm(0.7f), dense()).value();
  std::vector<float> seen;
  int calls = 0;
  const auto hook = [&](ConstRows hidden) {
    ++calls;
    seen.assign(hidden.data, hidden.data + hidden.rows * hidden.cols);
  };
  const reference::Matrix without = run(moe, 3).x;
  CHECK(run(moe, 3, hook).x == without);
  CHECK(calls == 1);
  REQUIRE(seen.size() == as_size(3 * width));
  // They are normed: the mean square over the weights is 1.
  for (std::size_t t = 0; t < 3; ++t) {
    double squares = 0.0;
    for (std::size_t i = 0; i < as_size(width); ++i) {
      const double value = static_cast<double>(seen[t * as_size(width) + i]) / (0.7 + 0.1 * static_cast<double>(i));
      squares += value * value;
    }
    CHECK(squares / width == Catch::Approx(1.0).epsilon(1e-4));
  }
  run(plain, 3, hook);
  CHECK(calls == 1);
}

namespace {

using Branch = DecoderBlock::Branch;
using Step = DecoderBlock::Step;

DecoderBlock block_of(std::vector<Step> steps) { return DecoderBlock::create(std::move(steps)).value(); }
Step step_of(std::vector<Branch> branches) {
  Step step;
  step.branches = std::move(branches);
  return step;
}
reference::Matrix normed(const reference::Matrix& x, float first) {
  reference::Matrix y(x.rows, width);
  Context ctx;
  throw_if_error(norm(first).forward(x.view(), const_cast<reference::Matrix&>(y).view(), ctx));
  return y;
}
reference::Matrix of_dense(const reference::Matrix& x) {
  reference::Matrix y(x.rows, width);
  RoutingPlan plan;
  Context ctx;
  throw_if_error(dense().add(x.view(), y.view(), plan, ctx));
  return y;
}
// Experts read x, the router other rows.
reference::Matrix of_routed(const reference::Matrix& x, const reference::Matrix& router_rows) {
  reference::Matrix y(x.rows, width);
  DecoderBlock::State state;
  state.reset(x.rows);
  Context ctx;
  throw_if_error(routed().forward({router_rows.view()}, x.view(), state, y.view(), ctx));
  return y;
}
reference::Matrix sum_of_rows(const reference::Matrix& x) {
  reference::Matrix y = x;
  for (index_t t = 1; t < x.rows; ++t) {
    for (index_t i = 0; i < width; ++i) {
      y.values[as_size(t * width + i)] += y.values[as_size((t - 1) * width + i)];
    }
  }
  return y;
}
void add(reference::Matrix& x, const reference::Matrix& y, float scale = 1.0f) {
  for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] = std::fma(scale, y.values[i], x.values[i]);
}

}  // namespace

TEST_CASE("norms behind an operation, and a scale of the residual") {
  Step step = step_of({{.norm = norm(0.5f), .operation = dense(), .norm_after = norm(0.3f)}});
  step.norm_after = norm(0.9f);
  step.scale = 0.25f;
  const Result result = run(block_of({step}), 5);
  REQUIRE(result.status.ok());
  reference::Matrix x = input(5);
  add(x, normed(normed(of_dense(normed(x, 0.5f)), 0.3f), 0.9f), 0.25f);
  CHECK(result.x == x);
}

TEST_CASE("two feed-forwards side by side read the same rows, each with norms of its own") {
  const Step mixing = step_of({{.norm = norm(0.2f), .operation = AnyMixer(Sum())}});
  Step step = step_of({{.norm = norm(0.5f), .operation = dense(), .norm_after = norm(0.3f)},
                       {.norm = norm(0.7f), .operation = routed(), .norm_after = norm(0.4f)}});
  step.norm_after = norm(0.9f);
  const Result result = run(block_of({mixing, step}), 5);
  REQUIRE(result.status.ok());
  reference::Matrix x = input(5);
  add(x, sum_of_rows(normed(x, 0.2f)));
  reference::Matrix both = normed(of_dense(normed(x, 0.5f)), 0.3f);
  const reference::Matrix in = normed(x, 0.7f);
  add(both, normed(of_routed(in, in), 0.4f));
  add(x, normed(both, 0.9f));
  CHECK(result.x == x);
}

TEST_CASE("a router may read the residual, or what came into the layer, through a norm of its own") {
  const Step mixing = step_of({{.norm = std::nullopt, .operation = AnyMixer(Sum())}});
  for (const bool has_norm : {true, false}) {
    Branch branch{.norm = norm(0.7f), .operation = routed(), .router_reads = Branch::RouterReads::residual};
    if (has_norm) branch.router_norm = norm(0.1f);
    reference::Matrix x = input(5);
    const reference::Matrix entry = x;
    add(x, sum_of_rows(x));
    const auto read = [&](const reference::Matrix& rows) { return has_norm ? normed(rows, 0.1f) : rows; };
    const auto expected = [&](const reference::Matrix& rows) {
      reference::Matrix y = x;
      add(y, of_routed(normed(x, 0.7f), read(rows)));
      return y;
    };
    CHECK(run(block_of({mixing, step_of({branch})}), 5).x == expected(x));
    branch.router_reads = Branch::RouterReads::layer_input;
    CHECK(run(block_of({mixing, step_of({branch})}), 5).x == expected(entry));
  }
}

TEST_CASE("a layer may have several mixers, one alone, and no router") {
  const Step mixing = step_of({{.norm = norm(0.5f), .operation = AnyMixer(Sum())}});
  const DecoderBlock one = block_of({mixing});
  CHECK(one.mixers().size() == 1);
  CHECK(one.routed() == nullptr);
  reference::Matrix x = input(4);
  add(x, sum_of_rows(normed(x, 0.5f)));
  CHECK(run(one, 4).x == x);
  add(x, sum_of_rows(normed(x, 0.5f)));
  CHECK(block_of({mixing, mixing}).mixers().size() == 2);
  CHECK(run(block_of({mixing, mixing}), 4).x == x);
  CHECK(refused(one.with_router(AnyRouter(TestRouter(5, width, 2, 6)))) ==
        "a layer without routed experts has no router");
}

TEST_CASE("a layer of nothing, a step of nothing and two routers make no block") {
  CHECK(refused(DecoderBlock::create({})) == "a layer without steps");
  CHECK(refused(DecoderBlock::create({Step()})) == "a step of a layer without a branch");
  const Step experts_step = step_of({{.norm = norm(0.5f), .operation = routed()}});
  CHECK(refused(DecoderBlock::create({experts_step, experts_step})) == "routers of a layer (got 2, allowed 1)");
}

TEST_CASE("a block says which width does not fit the attention's") {
  const auto made = [](RmsNorm<> first, RmsNorm<> second, DecoderBlock::Dense ffn) {
    return refused(DecoderBlock::pre_norm(std::move(first), Sum(), std::move(second), std::move(ffn)));
  };
  CHECK(made(norm(0.5f), norm(0.7f), dense()) == "made");
  CHECK(made(RmsNorm<>({1.0f, 1.0f}, 1e-6f), norm(0.7f), dense()) ==
        "width of a norm against the layer (got 2, allowed 10)");
  CHECK(made(norm(0.5f), RmsNorm<>({1.0f}, 1e-6f), dense()) == "width of a norm against the layer (got 1, allowed 10)");
  CHECK(made(norm(0.5f), norm(0.7f), DecoderBlock::Dense::create(experts(1, width + 1)).value()) ==
        "width of an operation against the layer (got 11, allowed 10)");
}

namespace {

// Says which layer it failed in.
struct NamesLayer0 : Sum {
  Status forward(const MixerInput&, std::span<State* const>, Rows, Context&) const {
    return Status::not_finite("from layer 0", 0, -1);
  }
};

}  // namespace

TEST_CASE("the layer that an error names itself is kept, also layer 0") {
  const DecoderBlock block = DecoderBlock::pre_norm(norm(0.5f), NamesLayer0(), norm(0.7f), dense()).value();
  CHECK(run(block, 2).status.layer == 0);
}
