#include "headgate/layers/expert_pool.hpp"

#include "headgate/experts/any_experts.hpp"
#include "headgate/experts/glu_experts.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"

using namespace headgate;
using reference::Matrix;

namespace {

constexpr index_t hidden = 26;

GluShape shape_of(index_t num_experts) { return {.num_experts = num_experts, .hidden_size = hidden, .ffn_size = 7}; }
template <class Layer>
Matrix output(const Layer& layer, const Matrix& x, RoutingPlan& plan, const RouteEdits& edits = {}) {
  Context ctx;
  typename Layer::State state;
  state.reset(x.rows);
  Matrix y(x.rows, x.cols);
  throw_if_error(layer.forward({.hidden = x.view(), .edits = edits}, state, y.view(), ctx));
  plan = state.plan;
  return y;
}

}  // namespace

TEST_CASE("paper_ a layer of a pool whose foreign experts are pruned is the plain layer of its own, in bits") {
  const ExpertPool pool = ExpertPool::create(3, 5).value();
  const reference::Bank weights(shape_of(15), 1);
  const AnyExperts shared = GluExperts<>(shape_of(15), weights.matrices());
  std::mt19937 rng(2);
  const Matrix x = Matrix::random(9, hidden, 1.0f, rng);
  for (const index_t layer : {0, 1, 2, 5}) {
    CAPTURE(layer);
    const Slice own = pool.own_ids(layer);
    const Matrix gate = Matrix::random(15, hidden, 1.0f, rng);
    const MoELayer pooled(mixtral_router({.gate = gate.view()}, 2).value(), shared);
    const std::vector<GluMatrices> all = weights.matrices();
    GluExperts<> alone(shape_of(5), std::span(all).subspan(as_size(own.first), 5));
    const MoELayer plain(mixtral_router({.gate = gate.view().middle_rows(own.first, 5)}, 2).value(), std::move(alone));
    const std::vector<std::uint8_t> mask = pool.mask(layer, 5);
    RoutingPlan of_pool;
    RoutingPlan of_plain;
    const Matrix y = output(pooled, x, of_pool, {.expert_mask = mask, .mask_meaning = MaskMeaning::prune});
    CHECK(y == output(plain, x, of_plain));
    for (index_t t = 0; t < x.rows; ++t) {
      for (std::size_t i = 0; i < 2; ++i) {
        CHECK(of_pool.experts(t)[i] == of_plain.experts(t)[i] + own.first);
        CHECK(of_pool.weights(t)[i] == of_plain.weights(t)[i]);
      }
    }
  }
}

TEST_CASE("layers of a pool with one router give the same, a pool of one layer is the plain one") {
  const reference::Bank weights(shape_of(10), 3);
  const AnyExperts shared = GluExperts<>(shape_of(10), weights.matrices());
  std::mt19937 rng(4);
  const Matrix x = Matrix::random(4, hidden, 1.0f, rng);
  const Matrix gate = Matrix::random(10, hidden, 1.0f, rng);
  RoutingPlan plan;
  const MoELayer first(mixtral_router({.gate = gate.view()}, 3).value(), shared);
  const MoELayer second(mixtral_router({.gate = gate.view()}, 3).value(), shared);
  const Matrix y = output(first, x, plan);
  CHECK(output(second, x, plan) == y);
  const ExpertPool alone = ExpertPool::create(1, 10).value();
  const std::vector<std::uint8_t> mask = alone.mask(7, alone.candidates(0, 10, 20));
  CHECK(output(first, x, plan, {.expert_mask = mask, .mask_meaning = MaskMeaning::prune}) == y);
}

TEST_CASE("ids of a pool name a layer and its expert, and the candidates grow linearly from its own to all") {
  const ExpertPool pool = ExpertPool::create(4, 64).value();
  CHECK(pool.num_experts() == 256);
  CHECK(pool.place_of(6) == 2);
  CHECK(pool.own_ids(6).first == 128);
  CHECK(pool.own_ids(6).last == 192);
  CHECK(pool.candidates(0, 10000, 30000) == 64);
  CHECK(pool.candidates(10000, 10000, 30000) == 64);
  CHECK(pool.candidates(20000, 10000, 30000) == 64 + 96);
  CHECK(pool.candidates(29999, 10000, 30000) == 255);
  CHECK(pool.candidates(30000, 10000, 30000) == 256);
  std::int64_t before = 0;
  for (std::int64_t step = 9000; step <= 31000; step += 100) {
    const index_t now = pool.candidates(step, 10000, 30000);
    CHECK(now >= before);
    before = now;
  }
  const ExpertPool small = ExpertPool::create(3, 2).value();
  CHECK(small.mask(0, 3) == std::vector<std::uint8_t>{1, 1, 1, 0, 0, 0});
  CHECK(small.mask(2, 3) == std::vector<std::uint8_t>{1, 0, 0, 0, 1, 1});
  CHECK(small.mask(1, 6) == std::vector<std::uint8_t>{1, 1, 1, 1, 1, 1});
  CHECK(small.mask(1, 0) == std::vector<std::uint8_t>(6, 0));
}

TEST_CASE("a pool without layers or experts, or with more than ids count, is refused") {
  CHECK_FALSE(ExpertPool::create(0, 5).has_value());
  CHECK_FALSE(ExpertPool::create(2, 0).has_value());
  CHECK_FALSE(ExpertPool::create(1 << 20, 1 << 20).has_value());
}
