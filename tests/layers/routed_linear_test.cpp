#include "headgate/layers/routed_linear.hpp"

#include "headgate/experts/lora_experts.hpp"
#include "headgate/routing/null_expert.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;
using reference::Matrix;

namespace {

constexpr index_t in_size = 24;
constexpr index_t out_size = 35;
constexpr index_t experts = 5;

struct Weights {
  explicit Weights(unsigned seed) {
    std::mt19937 rng(seed);
    base = Matrix::random(out_size, in_size, 0.3f, rng);
    bias = Matrix::random(1, out_size, 0.3f, rng);
    gate = Matrix::random(experts, in_size, 0.5f, rng);
    for (index_t e = 0; e < experts; ++e) {
      a.push_back(Matrix::random(e + 2, in_size, 0.4f, rng));
      b.push_back(Matrix::random(out_size, e + 2, 0.4f, rng));
    }
  }
  LoraExperts<> bank() const {
    std::vector<LoraMatrices> matrices;
    for (std::size_t e = 0; e < a.size(); ++e) matrices.push_back({a[e].view(), b[e].view(), 0.5f});
    return {in_size, out_size, matrices};
  }
  Linear<> linear() const { return Linear<>(base.view(), bias.values); }
  auto layer(index_t k) const {
    return RoutedLinear(linear(), mixtral_router({.gate = gate.view()}, k).value(), bank());
  }
  Matrix base, bias, gate;
  std::vector<Matrix> a, b;
};
template <class Layer>
Matrix forwarded(const Layer& layer, const Matrix& x, const RouteEdits& edits = {}, ExecutorRef threads = {}) {
  Context ctx(threads);
  typename Layer::State state;
  state.reset(x.rows);
  Matrix y(x.rows, layer.rows());
  throw_if_error(layer.forward({.hidden = x.view(), .edits = edits}, state, y.view(), ctx));
  return y;
}
Matrix some_rows(unsigned seed) {
  std::mt19937 rng(seed);
  return Matrix::random(19, in_size, 1.0f, rng);
}

}  // namespace

TEST_CASE("a routed linear layer computes what the official layer with LoRA and null experts does") {
  for (const auto& c : golden("routed_linear")) {
    constexpr index_t in = 10, out = 7, true_experts = 4, tokens = 8;
    const auto nulls = c["nulls"].get<index_t>();
    const auto rank = c["rank"].get<index_t>();
    CAPTURE(nulls, rank);
    REQUIRE(c["margin"].get<double>() > 1e-4);
    const std::vector<float> base = values(c["base"]), bias = values(c["bias"]), gate = values(c["gate"]);
    std::vector<std::vector<float>> parts;
    std::vector<LoraMatrices> matrices;
    for (std::size_t e = 0; e < true_experts; ++e) {
      parts.push_back(values(c["a"][e]));
      parts.push_back(values(c["b"][e]));
      matrices.push_back(
          {{parts[2 * e].data(), rank, in}, {parts[2 * e + 1].data(), out, rank}, c["scale"].get<float>()});
    }
    const RoutedLinear layer(
        Linear<>({base.data(), out, in}, bias),
        adamoe_router({.gate = {gate.data(), true_experts + nulls, in}}, nulls, c["k"].get<index_t>()).value(),
        LoraExperts<>(in, out, matrices));
    Matrix x(tokens, in);
    x.values = values(c["hidden"]);
    const Matrix y = forwarded(layer, x);
    const std::vector<float> wanted = values(c["y"]);
    REQUIRE(wanted.size() == y.values.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) CHECK(y.values[i] == Catch::Approx(wanted[i]).margin(1e-5));
  }
}

TEST_CASE("a routed linear layer is its base where no expert is chosen, or each adds nothing") {
  Weights weights(1);
  const Matrix x = some_rows(2);
  Context ctx;
  Matrix plain(x.rows, out_size);
  throw_if_error(weights.linear().forward(x.view(), plain.view(), ctx));
  RoutingPlan none;
  none.clear(experts);
  for (index_t t = 0; t < x.rows; ++t) throw_if_error(none.append_row({}, {}));
  CHECK(forwarded(weights.layer(2), x, {.forced_plan = &none}) == plain);
  CHECK_FALSE(forwarded(weights.layer(2), x) == plain);
  for (Matrix& b : weights.b) b = Matrix(b.rows, b.cols);
  CHECK(forwarded(weights.layer(2), x) == plain);
  CHECK(forwarded(weights.layer(2), Matrix(0, in_size)) == Matrix(0, out_size));
}

TEST_CASE("a routed linear layer with all experts at weight one is the merged matrix") {
  const Weights weights(3);
  const Matrix x = some_rows(4);
  RoutingPlan all;
  all.clear(experts);
  for (index_t t = 0; t < x.rows; ++t) {
    throw_if_error(all.append_row(std::vector<ExpertId>{0, 1, 2, 3, 4}, std::vector<float>(5, 1.0f)));
  }
  const Matrix y = forwarded(weights.layer(2), x, {.forced_plan = &all});
  Matrix merged = weights.base;
  for (ExpertId e = 0; e < experts; ++e) throw_if_error(weights.bank().merge(e, 1.0f, merged.view()));
  Context ctx;
  Matrix wanted(x.rows, out_size);
  throw_if_error(Linear<>(merged.view(), weights.bias.values).forward(x.view(), wanted.view(), ctx));
  for (std::size_t i = 0; i < y.values.size(); ++i) {
    CHECK(y.values[i] == Catch::Approx(wanted.values[i]).margin(2e-5));
  }
}

TEST_CASE("a routed linear layer gives the same bits for any number of threads, and for rows alone") {
  const auto layer = Weights(5).layer(2);
  const Matrix x = some_rows(6);
  const Matrix wanted = forwarded(layer, x);
  for (const index_t n : {2, 3, 8}) {
    ThreadExecutor threads(n);
    CHECK(forwarded(layer, x, {}, threads) == wanted);
  }
  for (index_t t = 0; t < x.rows; ++t) {
    Matrix row(1, in_size);
    std::copy_n(x.view().row_data(t), in_size, row.values.begin());
    const Matrix y = forwarded(layer, row);
    CHECK(std::equal(y.values.begin(), y.values.end(), wanted.view().row_data(t)));
  }
}

TEST_CASE("a routed linear layer may be routed by other rows than it maps, and obeys the edits of a call") {
  const Weights weights(7);
  const auto layer = weights.layer(2);
  const Matrix x = some_rows(8);
  const Matrix hidden = some_rows(9);
  Context ctx;
  decltype(layer)::State state;
  state.reset(x.rows);
  Matrix y(x.rows, out_size);
  throw_if_error(layer.forward({.hidden = hidden.view()}, x.view(), state, y.view(), ctx));
  const RoutingPlan plan = state.plan;
  CHECK(y == forwarded(layer, x, {.forced_plan = &plan}));
  CHECK_FALSE(y == forwarded(layer, x));

  const std::vector<std::uint8_t> mask{1, 0, 1, 1, 0};
  throw_if_error(layer.forward({.hidden = x.view(), .edits = {.expert_mask = mask}}, state, y.view(), ctx));
  for (const ExpertId e : state.plan.experts()) CHECK(mask[as_size(e)] == 1);
}

TEST_CASE("a routed linear layer of parts that do not fit is refused, errors name the layer") {
  const Weights weights(10);
  const auto router = mixtral_router({.gate = weights.gate.view()}, 2).value();
  using Layer = RoutedLinear<std::remove_const_t<decltype(router)>, LoraExperts<>>;
  CHECK(Layer::create(weights.linear(), router, weights.bank()).has_value());
  CHECK_FALSE(Layer::create(Linear<>(out_size + 1, in_size), router, weights.bank()).has_value());
  CHECK_FALSE(Layer::create(Linear<>(out_size, in_size + 1), router, weights.bank()).has_value());
  const auto few = mixtral_router({.gate = {weights.gate.values.data(), 4, in_size}}, 2).value();
  CHECK_FALSE(Layer::create(weights.linear(), few, weights.bank()).has_value());

  const auto layer = weights.layer(2);
  Matrix x = some_rows(11);
  x.values[as_size(4 * in_size)] = std::numeric_limits<float>::infinity();
  Matrix y(x.rows, out_size);
  Context ctx;
  Layer::State state;
  const Status status = layer.forward({.hidden = x.view(), .layer = 6}, state, y.view(), ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.layer == 6);
  CHECK(status.token == 4);
  CHECK_FALSE(layer.forward({.hidden = x.view()}, Matrix(3, in_size).view(), state, y.view(), ctx).ok());
}
