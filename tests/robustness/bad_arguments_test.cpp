// Arguments that do not fit at the entry points of the layer library: either the call is right, or it is an error.
#include <cstring>

#include "headgate/attention/gqa.hpp"
#include "headgate/experts/glu_experts.hpp"
#include "headgate/experts/per_expert.hpp"
#include "headgate/experts/scaled_input.hpp"
#include "headgate/experts/zero_compute.hpp"
#include "headgate/layers/chain_layer.hpp"
#include "headgate/layers/linear.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/layers/norm.hpp"
#include "headgate/routing/gru_router.hpp"
#include "headgate/routing/moe_plus_plus_router.hpp"
#include "headgate/routing/region_router.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"

using namespace headgate;

namespace {

constexpr index_t tokens = 5;
constexpr index_t width = 24;
constexpr index_t num_experts = 4;

const GluShape shape{num_experts, width, 20, {}, true, false};
SwiGluExperts<F32> bank() { return SwiGluExperts<F32>(shape, reference::Bank(shape, 1).matrices()); }
reference::Matrix random_rows(index_t rows, unsigned seed) {
  std::mt19937 rng(seed);
  return reference::Matrix::random(rows, width, 1.0f, rng);
}
std::vector<float> first_row(const reference::Matrix& m) { return {m.values.begin(), m.values.begin() + width}; }
struct Copy {
  void forward(ConstRows in, Rows out) const {
    for (index_t r = 0; r < in.rows; ++r) std::memcpy(out.row_data(r), in.row_data(r), as_size(in.cols) * 4);
  }
};
struct Odd {
  std::int64_t threads = 0;
  std::int64_t size() const noexcept { return threads; }
  void run(index_t n, TaskRef task) {
    for (index_t i = 0; i < n; ++i) task(i);
  }
};

const char* const apart = "output that overlaps its input";

// Calls f(x, y) of shape (tokens, width) -> (tokens, out) with views that cannot be right; each must be an error.
template <class F>
void refuses_bad_views(F&& f, index_t out = width) {
  std::vector<float> memory(as_size(4 * tokens * (width + out)), 0.5f);
  float* const first = memory.data();
  float* const far = first + 2 * tokens * (width + out);
  const std::vector<float> before = memory;
  REQUIRE(f(ConstRows(first, tokens, width), Rows(far, tokens, out)).ok());
  // Rows that are only read may be one row many times, or stand the other way round.
  REQUIRE(f(ConstRows(first, tokens, width, 0), Rows(far, tokens, out)).ok());
  REQUIRE(f(ConstRows(first + (tokens - 1) * width, tokens, width, -width), Rows(far, tokens, out)).ok());
  memory = before;
  CHECK(f(ConstRows(nullptr, tokens, width), Rows(far, tokens, out)).code == ErrorCode::usage);
  CHECK(f(ConstRows(first, tokens, width), Rows(nullptr, tokens, out)).code == ErrorCode::usage);
  CHECK(f(ConstRows(first, tokens, width), Rows(far, tokens, out, out - 1)).code == ErrorCode::usage);
  CHECK(f(ConstRows(first, -1, width), Rows(far, -1, out)).code == ErrorCode::usage);
  CHECK(f(ConstRows(first, tokens, width), Rows(far, tokens - 1, out)).code == ErrorCode::usage);
  CHECK(f(ConstRows(first, tokens, width), Rows(far, tokens, out + 1)).code == ErrorCode::usage);
  CHECK(memory == before);
}
// And those that overlap.
template <class F>
void refuses_overlap(F&& f, index_t out = width) {
  std::vector<float> memory(as_size(4 * tokens * (width + out)), 0.5f);
  float* const first = memory.data();
  const std::vector<float> before = memory;
  CHECK(f(ConstRows(first, tokens, width), Rows(first + 1, tokens, out)).what == std::string(apart));
  CHECK(f(ConstRows(first + 3, tokens, width), Rows(first, tokens, out)).what == std::string(apart));
  CHECK(f(ConstRows(first + (tokens - 1) * out, tokens, width), Rows(first, tokens, out)).what == std::string(apart));
  CHECK(memory == before);
  // Side by side in one matrix is not.
  const index_t stride = width + out;
  CHECK(f(ConstRows(first, tokens, width, stride), Rows(first + width, tokens, out, stride)).ok());
}

}  // namespace

TEST_CASE("layers refuse rows without data, strides below the width and output that overlaps the input") {
  Context ctx;
  const reference::Matrix gate = random_rows(num_experts, 2);
  const auto router = [&] { return mixtral_router({gate.view()}, 2).value(); };
  const auto make_shared = [&] {
    const GluShape one{1, width, 20, {}, true, false};
    return SharedExpert<SwiGluExperts<F32>>(SwiGluExperts<F32>(one, reference::Bank(one, 3).matrices()),
                                            first_row(gate));
  };
  using Layer = MoELayer<TopKSoftmax, SwiGluExperts<F32>>;
  const Layer layer(router(), bank(), make_shared());
  const auto forward = [&](ConstRows x, Rows y) {
    Layer::State state;
    return layer.forward({.hidden = x}, state, y, ctx);
  };
  refuses_bad_views(forward);
  refuses_overlap(forward);
  const reference::Matrix x = random_rows(tokens, 4);
  reference::Matrix both = x;
  CHECK(forward(both.view(), both.view()).what == std::string(apart));
  CHECK(both == x);

  using Chain = ChainLayer<TopKSoftmax, SwiGluExperts<F32>>;
  const auto make_chain = [&](index_t iterations) {
    std::vector<TopKSoftmax> routers;
    routers.push_back(router());
    return Chain::create(std::move(routers), bank(), {.iterations = iterations}).value();
  };
  for (const index_t iterations : {1, 2, 3}) {
    const Chain chain = make_chain(iterations);
    const auto chained = [&](ConstRows in, Rows y) {
      Chain::State state;
      return chain.forward({.hidden = in}, state, y, ctx);
    };
    refuses_bad_views(chained);
    refuses_overlap(chained);
  }

  const auto shared = make_shared();
  const auto add = [&](ConstRows in, Rows y) {
    RoutingPlan plan;
    return shared.add(in, y, plan, ctx);
  };
  refuses_bad_views(add);
  refuses_overlap(add);
}

TEST_CASE("banks refuse rows without data, strides below the width and output that overlaps the input") {
  Context ctx;
  RoutingPlan plan;
  plan.clear(num_experts);
  for (ExpertId t = 0; t < tokens; ++t) {
    const ExpertId row[] = {t % num_experts, (t + 1) % num_experts};
    const float weights[] = {0.5f, 0.25f};
    throw_if_error(plan.append_row(row, weights));
  }
  const auto check = [&](const auto& experts) {
    const auto apply = [&](ConstRows x, Rows y) { return experts.apply(plan, x, y, ctx); };
    refuses_bad_views(apply);
    refuses_overlap(apply);
  };
  check(bank());
  check(PerExpert<Copy>(width, std::vector<Copy>(as_size(num_experts))));
  check(ScaledInput<SwiGluExperts<F32>>::create(bank(), 2.0f).value());
  const GluShape fewer{num_experts - 1, width, 20, {}, true, false};
  check(WithZeroComputeExperts<SwiGluExperts<F32>>(SwiGluExperts<F32>(fewer, reference::Bank(fewer, 1).matrices()),
                                                   {{.kind = ZeroComputeKind::identity}}));
}

TEST_CASE("linear layers and norms refuse bad views; a norm works in place") {
  Context ctx;
  const reference::Matrix weights = random_rows(7, 5);
  const Linear<F32> linear(weights.view());
  const auto multiply = [&](ConstRows x, Rows y) { return linear.forward(x, y, ctx); };
  refuses_bad_views(multiply, 7);
  refuses_overlap(multiply, 7);
  const RmsNorm<> norm(first_row(weights), 1e-6f);
  const auto normalize = [&](ConstRows x, Rows y) { return norm.forward(x, y, ctx); };
  refuses_bad_views(normalize);
  refuses_overlap(normalize);
  const reference::Matrix x = random_rows(tokens, 6);
  reference::Matrix y(tokens, width);
  reference::Matrix in_place = x;
  REQUIRE(norm.forward(x.view(), y.view(), ctx).ok());
  REQUIRE(norm.forward(in_place.view(), in_place.view(), ctx).ok());
  CHECK(in_place == y);
}

TEST_CASE("attention refuses bad views and works in place") {
  GroupedQueryAttention<F32> attention =
      GroupedQueryAttention<F32>::create(
          {.hidden_size = width, .num_heads = 2, .num_kv_heads = 1, .head_dim = 8, .scale = GqaShape::default_scale(8)},
          std::make_shared<const Rope>(Rope::create(1e4, 8).value()))
          .value();
  const reference::Matrix weights = random_rows(32, 7);
  for (index_t r = 0; r < 16; ++r) attention.set_query_row(r, weights.view().row_data(r));
  for (index_t r = 0; r < 8; ++r) attention.set_key_row(r, weights.view().row_data(16 + r));
  for (index_t r = 0; r < 8; ++r) attention.set_value_row(r, weights.view().row_data(24 + r));
  for (index_t r = 0; r < width; ++r) attention.set_output_row(r, weights.view().row_data(r));
  const std::vector<float> cosines(tokens * 4, 0.8f);
  const std::vector<float> sines(tokens * 4, 0.6f);
  Context ctx;
  const auto forward = [&](ConstRows x, Rows y) {
    KvCache cache = attention.make_state({16, 16, 0});
    KvCache* const states[] = {&cache};
    const SequenceRows text{tokens, 0};
    return attention.forward({x, {&text, 1}, {cosines.data(), tokens, 4}, {sines.data(), tokens, 4}}, states, y, ctx);
  };
  refuses_bad_views(forward);
  const reference::Matrix x = random_rows(tokens, 8);
  reference::Matrix y(tokens, width);
  reference::Matrix in_place = x;
  REQUIRE(forward(x.view(), y.view()).ok());
  REQUIRE(forward(in_place.view(), in_place.view()).ok());
  CHECK(in_place == y);
  KvCache cache = attention.make_state({16, 16, 0});
  KvCache* const states[] = {&cache};
  const SequenceRows text{tokens, 0};
  const MixerInput in{x.view(), {&text, 1}, {nullptr, tokens, 4}, {sines.data(), tokens, 4}};
  CHECK(attention.forward(in, states, y.view(), ctx).code == ErrorCode::usage);
}

TEST_CASE("weights without data are refused") {
  const reference::Matrix m = random_rows(32, 9);
  const ConstRows none(nullptr, num_experts, width);
  const ConstRows inner(m.view().data, 3, width);
  const ConstRows last(m.view().data, num_experts, 3);
  const auto refuses = [](const auto& made) { return !made && made.error().code() == ErrorCode::usage; };
  CHECK(refuses(Linear<F32>::create(none)));
  CHECK(refuses(mixtral_router({none}, 2)));
  CHECK(refuses(MoePlusPlusRouter<>::create({{}, none}, {})));
  CHECK(refuses(MoePlusPlusRouter<>::create({{nullptr, 3, width}, last}, {})));
  CHECK(refuses(MoePlusPlusRouter<>::create({inner, last, {nullptr, num_experts, num_experts}}, {})));
  CHECK(refuses(MoePlusPlusRouter<>::create({{m.view().data, -3, width}, last}, {})));
  CHECK(MoePlusPlusRouter<>::create({inner, last, {m.view().data, num_experts, num_experts}}, {}).has_value());
  const std::vector<float> w(as_size(3 * width * width), 0.1f);
  const std::vector<float> b(as_size(3 * width), 0.1f);
  const RecurrentCell cell =
      RecurrentCell::create({.weight_ih = w, .weight_hh = w, .bias_ih = b, .bias_hh = b}, width, width).value();
  const ConstRows whole(m.view().data, width, width);
  CHECK(refuses(GruRouter<>::create(cell, whole, none, TopK{1}, Renormalize{})));
  CHECK(refuses(GruRouter<>::create(cell, {nullptr, width, width}, whole, TopK{1}, Renormalize{})));

  SwiGluExperts<F32> experts = bank();
  const ConstRows up(m.view().data, 20, width);
  const std::vector<float> down(as_size(width * 20), 0.5f);
  const ConstRows good(down.data(), width, 20);
  CHECK(experts.set_expert(0, {up, up, good}).ok());
  CHECK(experts.set_expert(1, {{nullptr, 20, width}, up, good}).code == ErrorCode::usage);
  CHECK(experts.set_expert(1, {up, {nullptr, 20, width}, good}).code == ErrorCode::usage);
  CHECK(experts.set_expert(1, {up, up, {nullptr, width, 20}}).expert == 1);
}

TEST_CASE("region routing refuses bad views and a number of regions below one") {
  const reference::Matrix m = random_rows(6, 10);
  RoutingPlan plan;
  Context ctx;
  const auto route = [&](index_t regions, ConstRows queries, ConstRows keys) {
    return RegionRouter(regions).route<float>(queries, keys, {}, plan, ctx).code;
  };
  CHECK(route(2, m.view(), m.view()) == ErrorCode::ok);
  CHECK(route(0, m.view(), m.view()) == ErrorCode::usage);
  CHECK(route(-3, m.view(), m.view()) == ErrorCode::usage);
  CHECK(route(2, {nullptr, 6, width}, m.view()) == ErrorCode::usage);
  CHECK(route(2, m.view(), {nullptr, 6, width}) == ErrorCode::usage);
}

TEST_CASE("an executor whose size is no number of threads counts as one that has some") {
  const reference::Matrix gate = random_rows(num_experts, 2);
  using Layer = MoELayer<TopKSoftmax, SwiGluExperts<F32>>;
  const Layer layer(mixtral_router({gate.view()}, 2).value(), bank());
  const reference::Matrix x = random_rows(40, 11);
  const auto run = [&](Context& ctx) {
    Layer::State state;
    reference::Matrix y(40, width);
    throw_if_error(layer.forward({.hidden = x.view()}, state, y.view(), ctx));
    return y;
  };
  Context serial;
  const reference::Matrix expected = run(serial);
  for (const std::int64_t size : {std::int64_t{0}, std::int64_t{-3}, std::int64_t{7}, std::int64_t{1} << 40}) {
    Odd executor{size};
    Context ctx(executor);
    CHECK(run(ctx) == expected);
  }
}

TEST_CASE("rows of a plan can be appended to it, and to a plan that was never cleared an empty one") {
  RoutingPlan plan;
  CHECK(plan.append_row({}, {}).ok());
  CHECK(plan.tokens() == 1);
  CHECK(plan.entries() == 0);
  plan.clear(100);
  std::vector<ExpertId> experts;
  std::vector<float> weights;
  for (ExpertId e = 0; e < 40; ++e) {
    experts.push_back(e);
    weights.push_back(static_cast<float>(e));
  }
  throw_if_error(plan.append_row(experts, weights));
  for (index_t t = 0; t < 200; ++t) {
    throw_if_error(plan.append_row(plan.experts(t), plan.weights(t)));
    CHECK(std::equal(experts.begin(), experts.end(), plan.experts(t + 1).begin()));
    CHECK(std::equal(weights.begin(), weights.end(), plan.weights(t + 1).begin()));
  }
  const ExpertId two[] = {0, 1};
  RoutingPlan small;
  small.clear(2);
  throw_if_error(small.append_row(two, plan.weights(0).first(2)));
  CHECK(small.append_row(small.offsets(), plan.weights(0).first(2)).code == ErrorCode::usage);  // ids 0 and 2
}
