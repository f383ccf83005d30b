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

namespace {

// x of layers one after the other, with what late steps leave handed on where it says so.
reference::Matrix run_all(const std::vector<DecoderBlock>& blocks, index_t tokens, bool hands_on) {
  reference::Matrix x = input(tokens);
  reference::Matrix memory(tokens, width);
  DecoderBlock::Late late{memory.view()};
  DecoderBlock::State state;
  state.reset(tokens);
  Context ctx;
  const std::vector<std::int32_t> ids(as_size(tokens));
  const SequenceRows text{tokens, 0};
  index_t layer = 0;
  for (const DecoderBlock& block : blocks) {
    const Lent lent(block, tokens);
    const DecoderBlock::Pass pass{x.view(), ids, {&text, 1}, {}, nullptr, hands_on ? &late : nullptr};
    throw_if_error(block.forward(pass, layer++, lent.mixers, state, ctx));
  }
  DecoderBlock::add_late(late, x.view(), ctx);
  return x;
}

// Operations h_1, h_2, ... of layers of a mixer and a network each, as an explicit loop has them.
struct Operation {
  bool mixes;
  float norm_first;
  float scale;
  bool is_late;

  Step step() const {
    Step made = mixes ? step_of({{.norm = norm(norm_first), .operation = AnyMixer(Sum())}})
                      : step_of({{.norm = norm(norm_first), .operation = dense()}});
    made.scale = scale;
    made.is_late = is_late;
    return made;
  }
  reference::Matrix of(const reference::Matrix& x) const {
    return mixes ? sum_of_rows(normed(x, norm_first)) : of_dense(normed(x, norm_first));
  }
};

}  // namespace

TEST_CASE("a ladder of residuals is the loop in which an operation reads x without what the last one adds") {
  std::vector<Operation> operations;
  for (int i = 0; i < 6; ++i) operations.push_back({i % 2 == 0, 0.2f + 0.1f * static_cast<float>(i), 1.0f, true});
  for (const index_t tokens : {1, 5}) {
    // x[i] is the residual with the first i operations; h_i reads x[i - 2], h_1 and h_2 x[0].
    std::vector<reference::Matrix> x{input(tokens)};
    for (std::size_t i = 0; i < operations.size(); ++i) {
      reference::Matrix next = x.back();
      add(next, operations[i].of(x[i == 0 ? 0 : i - 1]));
      x.push_back(std::move(next));
    }
    std::vector<DecoderBlock> blocks;
    for (std::size_t i = 0; i < operations.size(); i += 2) {
      blocks.push_back(block_of({operations[i].step(), operations[i + 1].step()}));
      CHECK(blocks.back().has_late_steps());
    }
    CHECK(run_all(blocks, tokens, true) == x.back());
  }
}

TEST_CASE("late steps may stand beside others, each with a scale, and in layers that hand nothing on") {
  const std::vector<Operation> operations{{true, 0.2f, 0.5f, true},  {false, 0.3f, 1.0f, false},
                                          {true, 0.4f, 2.0f, false}, {false, 0.5f, 0.25f, true},
                                          {true, 0.6f, 1.0f, true},  {false, 0.7f, 3.0f, false}};
  for (const bool hands_on : {true, false}) {
    reference::Matrix x = input(5);
    std::vector<DecoderBlock> blocks;
    reference::Matrix late;
    float late_scale = 0.0f;
    const auto add_late = [&] {
      if (late_scale > 0.0f) add(x, late, late_scale);
      late_scale = 0.0f;
    };
    for (std::size_t i = 0; i < operations.size(); i += 2) {
      blocks.push_back(block_of({operations[i].step(), operations[i + 1].step()}));
      for (const Operation& operation : {operations[i], operations[i + 1]}) {
        const reference::Matrix out = operation.of(x);
        add_late();
        if (operation.is_late) {
          late = out;
          late_scale = operation.scale;
        } else {
          add(x, out, operation.scale);
        }
      }
      if (!hands_on) add_late();
    }
    add_late();
    CHECK(run_all(blocks, 5, hands_on) == x);
  }
}

TEST_CASE("a router that reads the residual of a ladder reads it without what is late") {
  Step mixing = step_of({{.norm = norm(0.5f), .operation = AnyMixer(Sum())}});
  mixing.is_late = true;
  const Branch branch{.norm = norm(0.7f), .operation = routed(), .router_reads = Branch::RouterReads::residual};
  reference::Matrix x = input(5);
  const reference::Matrix out = of_routed(normed(x, 0.7f), x);
  add(x, sum_of_rows(normed(x, 0.5f)));
  add(x, out);
  CHECK(run(block_of({mixing, step_of({branch})}), 5).x == x);
}

namespace {

// x behind a gated block, rows in two passes (the first of so many), and how many rows its mixers' states hold.
struct Gated {
  Status status;
  reference::Matrix x;
  index_t held = 0;
  std::vector<index_t> kept = {};
};
Gated run_gated(const DecoderBlock& block, index_t tokens, index_t first_rows) {
  Gated result{{}, input(tokens)};
  std::vector<AnyState> states;
  for (const AnyMixer* const mixer : block.mixers()) states.push_back(block.make_state(*mixer, {tokens, tokens, 0}));
  DecoderBlock::State state;
  Context ctx;
  for (const auto& [first, rows] : {std::pair(0, first_rows), std::pair(first_rows, tokens - first_rows)}) {
    std::vector<AnyState*> pointers;
    for (AnyState& one : states) pointers.push_back(&one);
    std::vector<DecoderBlock::MixerPass> mixers;
    for (AnyState*& one : pointers) mixers.push_back({{&one, 1}, {}, {}});
    const SequenceRows text{rows, first};
    const std::vector<std::int32_t> ids(as_size(rows));
    state.reset(rows);
    result.status = block.forward({result.x.view().middle_rows(first, rows), ids, {&text, 1}}, 3, mixers, state, ctx);
    if (!result.status.ok()) return result;
  }
  if (const ThinnedState* const thinned = states[0].get_if<ThinnedState>()) {
    result.held = states[0].get_if<ThinnedState>()->own().position();
    result.kept.assign(thinned->kept().begin(), thinned->kept().end());
  }
  return result;
}
DecoderBlock gated(TokenGate gate) {
  return DecoderBlock::pre_norm(norm(0.5f), Sum(), norm(0.7f), dense()).value().with_gate(std::move(gate)).value();
}
std::vector<float> gate_weight(float first) {
  std::vector<float> weight(as_size(width), 0.25f);
  weight[0] = first;
  return weight;
}

}  // namespace

TEST_CASE("paper_ a block with a gate of tokens is the loop over the kept ones, in passes as at once") {
  const TokenGate gate = TokenGate::causal(linear_token_score(gate_weight(1.0f)), 0.1f).value();
  const DecoderBlock block = gated(gate);
  const index_t tokens = 13;
  const reference::Matrix x = input(tokens);
  std::vector<index_t> kept;
  std::vector<float> weights;
  for (index_t t = 0; t < tokens; ++t) {
    const float r = NativeBackend::dot(gate_weight(1.0f).data(), x.view().row_data(t), width);
    if (r > 0.1f) {
      kept.push_back(t);
      weights.push_back(r);
    }
  }
  REQUIRE(kept.size() > 2);
  REQUIRE(kept.size() < 11);
  // The plain block on the kept rows alone.
  reference::Matrix thin(static_cast<index_t>(kept.size()), width);
  for (std::size_t i = 0; i < kept.size(); ++i) {
    std::copy_n(x.view().row_data(kept[i]), width, thin.view().row_data(static_cast<index_t>(i)));
  }
  const reference::Matrix before = thin;
  add(thin, sum_of_rows(normed(thin, 0.5f)));
  add(thin, of_dense(normed(thin, 0.7f)));
  reference::Matrix expected = x;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    for (std::size_t c = 0; c < as_size(width); ++c) {
      const std::size_t j = i * as_size(width) + c;
      expected.values[as_size(kept[i]) * as_size(width) + c] =
          fused_multiply_add(weights[i], thin.values[j] - before.values[j], before.values[j]);
    }
  }
  for (const index_t first : {0, 1, 5, 13}) {
    const Gated result = run_gated(block, tokens, first);
    REQUIRE(result.status.ok());
    CHECK(result.x == expected);
    CHECK(result.kept == kept);
    CHECK(result.held == static_cast<index_t>(kept.size()));
  }
}

TEST_CASE("with every token kept and weight one a gated block is the plain block, with none it does nothing") {
  const DecoderBlock plain = DecoderBlock::pre_norm(norm(0.5f), Sum(), norm(0.7f), dense()).value();
  const TokenScore score = linear_token_score(gate_weight(1.0f));
  const float infinity = std::numeric_limits<float>::infinity();
  for (const index_t tokens : {1, 7}) {
    const reference::Matrix expected = run(plain, tokens).x;
    CHECK(run_gated(gated(TokenGate::top_k(score, 1.0, TokenGate::Weight::one).value()), tokens, 0).x == expected);
    CHECK(run_gated(gated(TokenGate::causal(score, -infinity, nullptr, TokenGate::Weight::one).value()), tokens, 0).x ==
          expected);
    CHECK(run_gated(gated(TokenGate::causal(score, infinity).value()), tokens, 0).x == input(tokens));
  }
  CHECK(run_gated(gated(TokenGate::top_k(score, 0.3).value()), 7, 7).held == 3);
}

TEST_CASE("an error behind a gate of tokens names the row of the pass, and a gate is for layers without router") {
  // The second kept row, and what fails says row 1.
  const TokenGate gate = TokenGate::causal(linear_token_score(gate_weight(1.0f)), 0.1f).value();
  const DecoderBlock broken =
      DecoderBlock::pre_norm(norm(0.5f), Sum(true), norm(0.7f), dense()).value().with_gate(gate).value();
  const std::vector<index_t> kept = run_gated(gated(gate), 13, 0).kept;
  const Gated result = run_gated(broken, 13, 13);
  CHECK(result.status.code == ErrorCode::numeric);
  CHECK(result.status.token == kept[1]);
  CHECK(result.status.layer == 3);

  CHECK(refused(DecoderBlock::pre_norm(norm(0.5f), Sum(), norm(0.7f), routed()).value().with_gate(gate)) ==
        "a gate of tokens on a layer with a router");
  Step late = step_of({{.norm = norm(0.5f), .operation = dense()}});
  late.is_late = true;
  CHECK(refused(block_of({late}).with_gate(gate)) == "a gate of tokens on a layer with late steps");
  CHECK(run(gated(gate), 13).status.code == ErrorCode::usage);  // states of the plain block
  CHECK(!gated(gate).with_gate(std::nullopt).value().gate());
}

TEST_CASE("paper_ layers with accelerators move a second stream ahead of them and leave their own as it is") {
  const index_t tokens = 5;
  std::vector<DecoderBlock> plain;
  std::vector<DecoderBlock> fast;
  for (unsigned l = 0; l < 3; ++l) {
    std::mt19937 rng(l);
    const auto down = reference::Matrix::random(3, width, 0.5f, rng);
    const auto up = reference::Matrix::random(width, 3, 0.5f, rng);
    plain.push_back(DecoderBlock::pre_norm(norm(0.5f), Sum(), norm(0.7f), dense()).value());
    fast.push_back(plain.back().with_accelerator(Accelerator::create(down.view(), up.view(), {1, 2}).value()).value());
  }
  fast[0] = plain[0];  // the stage starts at layer 1
  reference::Matrix x = input(tokens);
  reference::Matrix p(tokens, width);
  reference::Matrix expected_x = x;
  reference::Matrix expected_p(tokens, width);
  DecoderBlock::State state;
  Context ctx;
  const std::vector<std::int32_t> ids(as_size(tokens));
  const SequenceRows text{tokens, 0};
  for (index_t l = 0; l < 3; ++l) {
    // The loop: p from x as it enters the layer, then the layer.
    if (const auto& accelerator = fast[as_size(l)].accelerator()) {
      REQUIRE(accelerator->advance(l, expected_x.view(), expected_p.view(), ctx).ok());
    }
    const Lent lent_plain(plain[as_size(l)], tokens);
    state.reset(tokens);
    REQUIRE(plain[as_size(l)].forward({expected_x.view(), ids, {&text, 1}}, l, lent_plain.mixers, state, ctx).ok());
    const Lent lent(fast[as_size(l)], tokens);
    state.reset(tokens);
    DecoderBlock::Pass pass{x.view(), ids, {&text, 1}};
    pass.fast = p.view();
    REQUIRE(fast[as_size(l)].forward(pass, l, lent.mixers, state, ctx).ok());
    CHECK(x == expected_x);
    CHECK(p == expected_p);
  }
  CHECK(p != reference::Matrix(tokens, width));
  CHECK(run(fast[2], tokens).x == run(plain[2], tokens).x);  // a pass without such a stream
  std::mt19937 rng(1);
  const auto down = reference::Matrix::random(3, width + 1, 0.5f, rng);
  const auto up = reference::Matrix::random(width + 1, 3, 0.5f, rng);
  CHECK(refused(plain[0].with_accelerator(Accelerator::create(down.view(), up.view(), {1, 2}).value())) ==
        "width of an accelerator against the layer (got 11, allowed 10)");
}
