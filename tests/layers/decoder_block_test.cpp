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
Result run(const DecoderBlock& block, index_t tokens) {
  Result result{{}, input(tokens)};
  DecoderBlock::Cache cache = block.attention().make_state({tokens, tokens, 0});
  DecoderBlock::State state;
  state.reset(tokens);
  Context ctx;
  const std::vector<std::int32_t> ids(as_size(tokens));
  result.status = block.forward({result.x.view(), ids, 0, {}, {}}, 3, cache, state, ctx);
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
  const DecoderBlock block = DecoderBlock::create(norm(0.5f), Sum(), norm(0.7f), routed()).value();
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
  const DecoderBlock block = DecoderBlock::create(norm(0.5f), Sum(), norm(0.7f), dense()).value();
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
  const DecoderBlock block = DecoderBlock::create(norm(0.5f), Sum(), norm(0.7f), routed()).value();
  CHECK(run(block, 0).status.ok());
}

TEST_CASE("an error inside a block names the layer") {
  const DecoderBlock broken = DecoderBlock::create(norm(0.5f), Sum(true), norm(0.7f), dense()).value();
  const Status status = run(broken, 2).status;
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.layer == 3);
  CHECK(status.token == 1);
}

TEST_CASE("parts of different widths make no block") {
  CHECK(!DecoderBlock::create(RmsNorm<>({1.0f, 1.0f}, 1e-6f), Sum(), norm(0.7f), dense()));
  CHECK(!DecoderBlock::create(norm(0.5f), Sum(), RmsNorm<>({1.0f}, 1e-6f), dense()));
  CHECK(
      !DecoderBlock::create(norm(0.5f), Sum(), norm(0.7f), DecoderBlock::Dense::create(experts(1, width + 1)).value()));
}

TEST_CASE("a hook sees what router and experts read, before every routed layer and no dense one") {
  const DecoderBlock moe = DecoderBlock::create(norm(0.5f), Sum(), norm(0.7f), routed()).value();
  const DecoderBlock plain = DecoderBlock::create(norm(0.5f), Sum(), norm(0.7f), dense()).value();
  std::vector<float> seen;
  index_t of_layer = -1;
  index_t position = -1;
  int calls = 0;
  const HiddenHook hook = [&](index_t layer, index_t first_position, ConstRows hidden) {
    ++calls;
    of_layer = layer;
    position = first_position;
    seen.assign(hidden.data, hidden.data + hidden.rows * hidden.cols);
  };
  const HiddenHook empty;
  const auto forward = [&](const DecoderBlock& block, const HiddenHook* use) {
    reference::Matrix x = input(3);
    DecoderBlock::Cache cache = block.attention().make_state({9, 9, 0});
    for (index_t p = 0; p < 4; ++p) cache.get_if<Sum::State>()->append();
    DecoderBlock::State state;
    state.reset(3);
    Context ctx;
    const std::vector<std::int32_t> ids(3);
    throw_if_error(block.forward({x.view(), ids, 4, {}, {}, use}, 7, cache, state, ctx));
    return x;
  };
  const reference::Matrix without = forward(moe, nullptr);
  CHECK(forward(moe, &empty) == without);
  CHECK(calls == 0);
  CHECK(forward(moe, &hook) == without);
  CHECK(calls == 1);
  CHECK(of_layer == 7);
  CHECK(position == 4);
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
  forward(plain, &hook);
  CHECK(calls == 1);
}

TEST_CASE("a block says which width does not fit the attention's") {
  const auto made = [](RmsNorm<> first, RmsNorm<> second, DecoderBlock::Dense ffn) {
    return refused(DecoderBlock::create(std::move(first), Sum(), std::move(second), std::move(ffn)));
  };
  CHECK(made(norm(0.5f), norm(0.7f), dense()) == "made");
  CHECK(made(RmsNorm<>({1.0f, 1.0f}, 1e-6f), norm(0.7f), dense()) ==
        "width of norm or FFN against that of the attention (got 2, allowed 10)");
  CHECK(made(norm(0.5f), RmsNorm<>({1.0f}, 1e-6f), dense()) ==
        "width of norm or FFN against that of the attention (got 1, allowed 10)");
  CHECK(made(norm(0.5f), norm(0.7f), DecoderBlock::Dense::create(experts(1, width + 1)).value()) ==
        "width of norm or FFN against that of the attention (got 11, allowed 10)");
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
  const DecoderBlock block = DecoderBlock::create(norm(0.5f), NamesLayer0(), norm(0.7f), dense()).value();
  CHECK(run(block, 2).status.layer == 0);
}
