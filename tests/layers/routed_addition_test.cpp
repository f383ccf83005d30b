#include "headgate/layers/routed_addition.hpp"

#include "headgate/attention/gqa.hpp"
#include "headgate/experts/lora_experts.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/mixer_run.hpp"
#include "support/random.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"

using namespace headgate;
using reference::Matrix;

namespace {

constexpr index_t experts = 5;
constexpr GqaShape shape{.hidden_size = 33,
                         .num_heads = 4,
                         .num_kv_heads = 2,
                         .head_dim = 14,
                         .has_query_bias = true,
                         .has_output_bias = true,
                         .scale = 0.25f};
constexpr AttentionProjection all_projections[] = {AttentionProjection::query, AttentionProjection::key,
                                                   AttentionProjection::value, AttentionProjection::output};

// The four matrices of an attention, and low-rank experts for each of them.
struct Weights {
  explicit Weights(unsigned seed) : rng(seed) {
    for (const AttentionProjection projection : all_projections) {
      const bool is_output = projection == AttentionProjection::output;
      const index_t width = is_output || projection == AttentionProjection::query ? 56 : 28;
      const index_t in = is_output ? width : 33;
      const index_t out = is_output ? 33 : width;
      base.push_back(Matrix::random(out, in, 0.3f, rng));
      gate.push_back(Matrix::random(experts, in, 0.5f, rng));
      for (index_t e = 0; e < experts; ++e) {
        a.push_back(Matrix::random(3, in, 0.3f, rng));
        b.push_back(Matrix::random(out, 3, 0.3f, rng));
      }
    }
    bias = Matrix::random(1, 56, 0.3f, rng);
  }
  LoraExperts<> bank(std::size_t projection) const {
    std::vector<LoraMatrices> matrices;
    for (std::size_t e = 0; e < experts; ++e) {
      matrices.push_back({a[projection * experts + e].view(), b[projection * experts + e].view(), 0.5f});
    }
    return {base[projection].cols, base[projection].rows, matrices};
  }
  GroupedQueryAttention<> attention() const {
    GroupedQueryAttention<> attention(shape, nullptr);
    for (index_t r = 0; r < 56; ++r) attention.set_query_row(r, base[0].view().row_data(r));
    for (index_t r = 0; r < 28; ++r) attention.set_key_row(r, base[1].view().row_data(r));
    for (index_t r = 0; r < 28; ++r) attention.set_value_row(r, base[2].view().row_data(r));
    for (index_t r = 0; r < 33; ++r) attention.set_output_row(r, base[3].view().row_data(r));
    std::copy_n(bias.values.begin(), 56, attention.query_bias().begin());
    std::copy_n(bias.values.begin(), 33, attention.output_bias().begin());
    return attention;
  }
  GroupedQueryAttention<> routed(index_t k) const {
    GroupedQueryAttention<> with = attention();
    for (std::size_t p = 0; p < 4; ++p) {
      using Added = RoutedAddition<SoftmaxTopK<Renormalize>, LoraExperts<>>;
      throw_if_error(with.set_added(all_projections[p], std::make_shared<Added>(router(p, k), bank(p))));
    }
    return with;
  }
  SoftmaxTopK<Renormalize> router(std::size_t p, index_t k) const {
    return mixtral_router({.gate = gate[p].view()}, k).value();
  }
  std::mt19937 rng;
  std::vector<Matrix> base, gate, a, b;
  Matrix bias;
};
std::vector<float> some_text(unsigned seed) { return random_floats(19 * 33, 1.0f, seed); }

}  // namespace

TEST_CASE("an attention with low-rank experts beside its projections is one of merged matrices") {
  Weights weights(1);
  for (Matrix& gate : weights.gate) gate = Matrix(gate.rows, gate.cols);  // all experts weigh the same
  const std::vector<float> text = some_text(2);
  const std::vector<float> y = mixed(weights.routed(experts), text, 19);
  for (std::size_t p = 0; p < 4; ++p) {
    const LoraExperts<> bank = weights.bank(p);
    for (ExpertId e = 0; e < experts; ++e) throw_if_error(bank.merge(e, 0.2f, weights.base[p].view()));
  }
  const std::vector<float> wanted = mixed(weights.attention(), text, 19);
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(y[i] == Catch::Approx(wanted[i]).margin(2e-5));
}

TEST_CASE("each projection of an attention takes its own addition, and one that adds nothing changes no bit") {
  Weights weights(3);
  const std::vector<float> text = some_text(4);
  const std::vector<float> plain = mixed(weights.attention(), text, 19);
  for (std::size_t p = 0; p < 4; ++p) {
    auto attention = weights.attention();
    using Added = RoutedAddition<SoftmaxTopK<Renormalize>, LoraExperts<>>;
    throw_if_error(
        attention.set_added(all_projections[p], std::make_shared<Added>(weights.router(p, 2), weights.bank(p))));
    CHECK_FALSE(mixed(attention, text, 19) == plain);
    throw_if_error(attention.set_added(all_projections[p], nullptr));
    CHECK(mixed(attention, text, 19) == plain);
  }
  for (Matrix& b : weights.b) b = Matrix(b.rows, b.cols);
  CHECK(mixed(weights.routed(2), text, 19) == plain);
}

TEST_CASE(
    "routed projections inside an attention: a prompt whole, in chunks and by steps, any threads: the same bits") {
  const auto attention = Weights(5).routed(2);
  const std::vector<float> text = some_text(6);
  const std::vector<float> wanted = mixed(attention, text, 19);
  for (const index_t chunk : {1, 4, 7}) CHECK(mixed(attention, text, chunk) == wanted);
  for (const index_t threads : {2, 3, 8}) CHECK(mixed(attention, text, 5, threads) == wanted);
}

TEST_CASE("additions that do not fit a projection or each other are refused, their errors reach the caller") {
  const Weights weights(7);
  using Added = RoutedAddition<SoftmaxTopK<Renormalize>, LoraExperts<>>;
  CHECK_FALSE(Added::create(weights.router(3, 2), weights.bank(0)).has_value());
  const Matrix few(experts - 1, 33, 1.0f);
  CHECK_FALSE(Added::create(mixtral_router({.gate = few.view()}, 2).value(), weights.bank(0)).has_value());
  auto attention = weights.attention();
  const auto query = std::make_shared<Added>(weights.router(0, 2), weights.bank(0));
  CHECK_FALSE(attention.set_added(AttentionProjection::key, query).ok());
  CHECK_FALSE(attention.set_added(AttentionProjection::output, query).ok());
  throw_if_error(attention.set_added(AttentionProjection::query, query));

  Texts texts{some_text(8)};
  texts[0][3 * 33 + 4] = std::numeric_limits<float>::quiet_NaN();
  std::vector<KvCache> states;
  states.push_back(attention.make_state({19, 19, 0, CacheType::f32}));
  Context ctx;
  const Status status = mix_next(attention, states, {19}, texts, ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.token == 3);
}
