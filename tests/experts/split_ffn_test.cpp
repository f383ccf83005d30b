#include "headgate/experts/split_ffn.hpp"

#include <numeric>

#include "headgate/experts/glu_experts.hpp"
#include "headgate/experts/output_bias.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/routing/hard_top_k.hpp"
#include "support/applied.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"

using namespace headgate;
using reference::applied;
using reference::Matrix;

namespace {

constexpr index_t hidden_size = 26;
constexpr index_t channels = 55;

reference::Bank dense_network(Activation activation, bool gated, bool has_bias, unsigned seed = 1) {
  return {{.num_experts = 1,
           .hidden_size = hidden_size,
           .ffn_size = channels,
           .activation = activation,
           .gated = gated,
           .has_bias = has_bias},
          seed};
}
Matrix some_rows(index_t rows, unsigned seed) {
  std::mt19937 rng(seed);
  return Matrix::random(rows, hidden_size, 1.0f, rng);
}
// Each of experts, in this order, with weight 1.
RoutingPlan plan_of(index_t tokens, index_t num_experts, const std::vector<ExpertId>& experts) {
  RoutingPlan plan;
  plan.clear(num_experts);
  const std::vector<float> weights(experts.size(), 1.0f);
  for (index_t t = 0; t < tokens; ++t) throw_if_error(plan.append_row(experts, weights));
  return plan;
}
std::vector<ExpertId> ids(index_t count, index_t first = 0) {
  std::vector<ExpertId> all(as_size(count));
  std::iota(all.begin(), all.end(), first);
  return all;
}
WithOutputBias<GluExperts<F32>> bank_of(const SplitFfn& split) {
  return WithOutputBias<GluExperts<F32>>::create(GluExperts<F32>(split.shape, split.experts), split.output_bias)
      .value();
}
Matrix dense_output(const reference::Bank& dense, const Matrix& x) {
  return applied(GluExperts<F32>(dense.shape, dense.matrices()), plan_of(x.rows, 1, {0}), x);
}
// As a share of the largest element.
double difference(const Matrix& a, const Matrix& b) {
  double largest = 0.0;
  double most = 0.0;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    most = std::fmax(most, std::fabs(static_cast<double>(a.values[i]) - static_cast<double>(b.values[i])));
    largest = std::fmax(largest, std::fabs(static_cast<double>(b.values[i])));
  }
  return most / largest;
}

struct Kind {
  Activation activation;
  bool gated;
  bool has_bias;
};
const Kind kinds[] = {{{}, true, false},
                      {{}, true, true},
                      {{.kind = ActivationKind::relu}, false, true},
                      {{.kind = ActivationKind::gelu}, false, false},
                      {{.kind = ActivationKind::clamped_swiglu, .alpha = 1.702f, .limit = 1.0f}, true, true}};

}  // namespace

TEST_CASE("all parts of a dense network with weight 1 are the network, whatever its activation and biases") {
  const Matrix x = some_rows(4, 2);
  for (const Kind& kind : kinds) {
    const reference::Bank dense = dense_network(kind.activation, kind.gated, kind.has_bias);
    const Matrix expected = dense_output(dense, x);
    const auto in_double = dense.layer(plan_of(4, 1, {0}), x.view());
    for (const index_t parts : {1, 5, 11, 55}) {
      INFO(parts << " parts, gated " << kind.gated << ", biases " << kind.has_bias);
      const SplitFfn split = split_ffn(dense.matrices(0), {.num_parts = parts}, kind.activation).value();
      CHECK(split.shape.num_experts == parts);
      CHECK(split.shape.ffn_size == channels / parts);
      CHECK_FALSE(split.shared);
      const Matrix y = applied(bank_of(split), plan_of(4, parts, ids(parts)), x);
      CHECK(difference(y, expected) < 1e-6);
      CHECK(reference::worst(in_double, y.view()) < 2.0);  // the bound of the dense network's sums; these have more
    }
  }
}

TEST_CASE("one part of a dense network has its very bits") {
  const Matrix x = some_rows(3, 3);
  const reference::Bank dense = dense_network({}, true, false);
  const SplitFfn split = split_ffn(dense.matrices(0), {.num_parts = 1}).value();
  CHECK(applied(bank_of(split), plan_of(3, 1, {0}), x) == dense_output(dense, x));
}

TEST_CASE("a part of a dense network is the network of its own channels") {
  const Matrix x = some_rows(2, 4);
  const reference::Bank dense = dense_network({}, true, true);
  const SplitFfn split = split_ffn(dense.matrices(0), {.num_parts = 5}).value();
  // Part 3 in double: the other channels of down are zero.
  reference::Bank part = dense;
  for (index_t r = 0; r < hidden_size; ++r) {
    for (index_t c = 0; c < channels; ++c) {
      if (c / 11 != 3) part.down[0].view().row_data(r)[c] = 0.0f;
    }
  }
  const Matrix y = applied(bank_of(split), plan_of(2, 5, {3}), x);
  CHECK(reference::worst(part.layer(plan_of(2, 1, {0}), x.view()), y.view()) < 1.0);
}

TEST_CASE("the output bias of a dense network is added exactly once, whatever parts are chosen") {
  const Matrix x = some_rows(3, 5);
  const reference::Bank dense = dense_network({.kind = ActivationKind::relu}, false, true);
  const SplitFfn split = split_ffn(dense.matrices(0), {.num_parts = 11}, {.kind = ActivationKind::relu}).value();
  // With down = 0 the bias is all that is left.
  reference::Bank nothing = dense;
  std::fill(nothing.down[0].values.begin(), nothing.down[0].values.end(), 0.0f);
  const SplitFfn zero = split_ffn(nothing.matrices(0), {.num_parts = 11}, {.kind = ActivationKind::relu}).value();
  for (const std::vector<ExpertId>& chosen : {ids(0), ids(1, 7), ids(5), ids(11)}) {
    const Matrix y = applied(bank_of(zero), plan_of(3, 11, chosen), x);
    for (index_t t = 0; t < 3; ++t) {
      const std::span<const float> row = y.view().row(t);
      CHECK(std::vector<float>(row.begin(), row.end()) == dense.down_bias[0]);
    }
  }
  // And the sum of all parts one by one has it 11 times.
  Matrix sum(3, hidden_size);
  for (index_t part = 0; part < 11; ++part) {
    const Matrix y = applied(bank_of(split), plan_of(3, 11, {part}), x);
    for (std::size_t i = 0; i < y.values.size(); ++i) sum.values[i] += y.values[i];
  }
  for (std::size_t i = 0; i < sum.values.size(); ++i) sum.values[i] -= 10.0f * dense.down_bias[0][i % hidden_size];
  CHECK(difference(sum, dense_output(dense, x)) < 2e-6);
}

TEST_CASE("an output bias alone leaves the experts without biases") {
  const reference::Bank dense = dense_network({}, true, false);
  std::vector<float> bias(as_size(hidden_size), 0.25f);
  GluMatrices matrices = dense.matrices(0);
  matrices.down_bias = bias;
  const SplitFfn split = split_ffn(matrices, {.num_parts = 5}).value();
  CHECK_FALSE(split.shape.has_bias);
  const Matrix x = some_rows(1, 6);
  Matrix expected = dense_output(dense, x);
  for (float& value : expected.values) value += 0.25f;
  CHECK(difference(applied(bank_of(split), plan_of(1, 5, ids(5)), x), expected) < 1e-6);
}

TEST_CASE("shared channels and all parts of the rest are the network") {
  const Matrix x = some_rows(4, 7);
  for (const Kind& kind : kinds) {
    const reference::Bank dense = dense_network(kind.activation, kind.gated, kind.has_bias);
    const SplitFfn split =
        split_ffn(dense.matrices(0), {.num_parts = 4, .shared_channels = 7}, kind.activation).value();
    CHECK(split.shape.ffn_size == 12);
    CHECK(split.shared_shape.ffn_size == 7);
    REQUIRE(split.shared);
    Matrix y = applied(bank_of(split), plan_of(4, 4, ids(4)), x);
    const GluExperts<F32> shared(split.shared_shape, std::span(&*split.shared, 1));
    Context ctx;
    throw_if_error(shared.apply(plan_of(4, 1, {0}), x.view(), y.view(), ctx));
    CHECK(difference(y, dense_output(dense, x)) < 1e-6);
  }
}

TEST_CASE(
    "copies of a network cut into parts: a gate with repeated rows chooses all parts of one, which are the network") {
  const reference::Bank dense = dense_network({}, true, true);
  const SplitFfn split = split_ffn(dense.matrices(0), {.num_parts = 5, .copies = 3}).value();
  REQUIRE(split.shape.num_experts == 15);
  CHECK(split.experts[12].up.data == split.experts[2].up.data);
  std::mt19937 rng(8);
  const Matrix gate = Matrix::random(3, hidden_size, 0.5f, rng);
  const std::vector<float> rows = repeat_gate_rows(gate.view(), 5);
  const MoELayer layer(spt_router({.gate = {rows.data(), 15, hidden_size}}, 5).value(), bank_of(split));
  const Matrix x = some_rows(9, 9);
  Matrix y(9, hidden_size);
  decltype(layer)::State state;
  Context ctx;
  throw_if_error(layer.forward({.hidden = x.view()}, state, y.view(), ctx));
  bool has_other[3] = {};
  for (index_t t = 0; t < 9; ++t) {
    const std::span<const ExpertId> chosen = state.plan.experts(t);
    has_other[chosen[0] / 5] = true;
    CHECK(std::vector<ExpertId>(chosen.begin(), chosen.end()) == ids(5, chosen[0] / 5 * 5));
  }
  CHECK(has_other[0] + has_other[1] + has_other[2] > 1);
  CHECK(difference(y, dense_output(dense, x)) < 1e-6);
}

TEST_CASE("a network that cannot be cut as asked is refused") {
  const reference::Bank dense = dense_network({}, true, true);
  const auto refused_cut = [](const GluMatrices& m, const FfnSplit& how) { return refused(split_ffn(m, how)); };
  CHECK(refused_cut(dense.matrices(0), {.num_parts = 0}) == "parts of a network, at least (got 0, allowed 1)");
  CHECK(refused_cut(dense.matrices(0), {.num_parts = 4}) == "channels that equal parts leave over (got 3, allowed 0)");
  CHECK(refused_cut(dense.matrices(0), {.num_parts = 56}) ==
        "channels that are not shared, at least (got 55, allowed 56)");
  CHECK(refused_cut(dense.matrices(0), {.num_parts = 5, .copies = 0}) ==
        "experts of a part, at least (got 0, allowed 1)");
  CHECK(refused_cut(dense.matrices(0), {.num_parts = 5, .shared_channels = -1}) ==
        "shared channels, at least (got -1, allowed 0)");
  CHECK(refused_cut(dense.matrices(0), {.num_parts = 1, .shared_channels = 55}) ==
        "channels that are not shared, at least (got 0, allowed 1)");
  CHECK_FALSE(split_ffn(dense.matrices(0), {.num_parts = 55, .copies = 1 << 30}));
  GluMatrices m = dense.matrices(0);
  m.down.cols = 54;
  CHECK_FALSE(split_ffn(m, {.num_parts = 5}));
  m = dense.matrices(0);
  m.gate_bias = {};
  CHECK_FALSE(split_ffn(m, {.num_parts = 5}));
  m = dense.matrices(0);
  m.down_bias = m.down_bias.first(25);
  CHECK(refused_cut(m, {.num_parts = 5}) == "size of the down bias (got 25, allowed 26)");
  CHECK_FALSE(split_ffn({}, {.num_parts = 1}));
}
