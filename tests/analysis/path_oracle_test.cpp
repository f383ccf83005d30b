#include "headgate/analysis/path_oracle.hpp"

#include <set>

#include "headgate/experts/glu_experts.hpp"
#include "headgate/experts/joined_experts.hpp"
#include "headgate/experts/zero_compute.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/routing/hard_top_k.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"

using namespace headgate;
using reference::Matrix;

TEST_CASE("all paths are tried once, in order, and their costs add up") {
  const std::int64_t costs[] = {1, 10, 0};
  std::vector<std::vector<ExpertId>> seen;
  const auto paths = all_paths(4, costs, [&](std::span<const ExpertId> experts) {
                       seen.emplace_back(experts.begin(), experts.end());
                       return static_cast<double>(seen.size());
                     }).value();
  REQUIRE(paths.size() == 81);
  CHECK(std::set(seen.begin(), seen.end()).size() == 81);
  CHECK(std::is_sorted(seen.begin(), seen.end()));
  for (std::size_t i = 0; i < paths.size(); ++i) {
    CHECK(paths[i].experts == seen[i]);
    CHECK(paths[i].loss == static_cast<double>(i + 1));
    std::int64_t cost = 0;
    for (const ExpertId e : seen[i]) cost += costs[e];
    CHECK(paths[i].cost == cost);
  }
}

TEST_CASE("no layers are one path, and what cannot be tried is refused") {
  const std::int64_t costs[] = {1, 2, 3};
  const auto loss = [](std::span<const ExpertId>) { return 0.5; };
  CHECK(all_paths(0, costs, loss).value().size() == 1);
  CHECK(refused(all_paths(2, {}, loss)) == "no experts to choose from");
  CHECK_FALSE(all_paths(-1, costs, loss));
  CHECK(all_paths(40, costs, loss).error().code() == ErrorCode::limit);
  CHECK(all_paths(2, costs, [](std::span<const ExpertId>) { return NAN; }).error().code() == ErrorCode::numeric);
}

TEST_CASE("best paths are those to which no cheaper or better one exists") {
  const auto best =
      best_paths({{{0}, 5, 1.0}, {{1}, 3, 2.0}, {{2}, 3, 1.5}, {{3}, 4, 1.5}, {{4}, 7, 1.0}, {{5}, 9, 0.5}});
  REQUIRE(best.size() == 3);
  CHECK(best[0].experts == std::vector<ExpertId>{2});
  CHECK(best[1].experts == std::vector<ExpertId>{0});
  CHECK(best[2].experts == std::vector<ExpertId>{5});
  CHECK(best_paths({}).empty());
}

// A residual network of three layers with a small expert, a big one and skip, as MoELayer runs it, and in double.
TEST_CASE("the oracle of a tiny model is never worse than its router, and its losses are those of an explicit loop") {
  constexpr index_t hidden_size = 11;
  constexpr index_t layers = 3;
  using Joined = JoinedExperts<GluExperts<F32>>;
  using Layer = MoELayer<HardTopK<>, WithZeroComputeExperts<Joined>>;
  std::vector<reference::Bank> weights;
  std::vector<Layer> model;
  std::mt19937 rng(7);
  for (index_t l = 0; l < layers; ++l) {
    std::vector<GluExperts<F32>> banks;
    for (const index_t ffn_size : {3, 20}) {
      weights.emplace_back(GluShape{.num_experts = 1, .hidden_size = hidden_size, .ffn_size = ffn_size},
                           static_cast<unsigned>(l * 50 + ffn_size));
      banks.emplace_back(weights.back().shape, weights.back().matrices());
    }
    const Matrix gate = Matrix::random(3, hidden_size, 0.5f, rng);
    model.emplace_back(
        duo_llm_router({.gate = gate.view()}).value(),
        WithZeroComputeExperts<Joined>(Joined::create(std::move(banks)).value(), {{.kind = ZeroComputeKind::zero}}));
  }
  const Matrix x = Matrix::random(1, hidden_size, 1.0f, rng);
  const Matrix target = Matrix::random(1, hidden_size, 1.0f, rng);
  const auto loss_of = [&](const auto& row) {
    double loss = 0.0;
    for (index_t c = 0; c < hidden_size; ++c) {
      const double d = static_cast<double>(row[as_size(c)]) - static_cast<double>(target.values[as_size(c)]);
      loss += d * d;
    }
    return loss;
  };
  // path: forced in every layer; empty: the routers choose, and it is filled.
  const auto run = [&](std::vector<ExpertId>& path) {
    Matrix stream = x;
    const bool is_forced = !path.empty();
    Context ctx;
    for (index_t l = 0; l < layers; ++l) {
      Layer::State state;
      RoutingPlan forced;
      const float one = 1.0f;
      forced.clear(3);
      if (is_forced) throw_if_error(forced.append_row({&path[as_size(l)], 1}, {&one, 1}));
      Matrix y(1, hidden_size);
      const RouteEdits edits{.forced_plan = is_forced ? &forced : nullptr};
      throw_if_error(model[as_size(l)].forward({.hidden = stream.view(), .edits = edits}, state, y.view(), ctx));
      if (!is_forced) path.push_back(state.plan.experts(0)[0]);
      for (std::size_t c = 0; c < y.values.size(); ++c) stream.values[c] += y.values[c];
    }
    return loss_of(stream.values);
  };
  const std::int64_t costs[] = {3, 20, 0};
  const auto paths = all_paths(layers, costs, [&](std::span<const ExpertId> experts) {
                       std::vector<ExpertId> path(experts.begin(), experts.end());
                       return run(path);
                     }).value();
  REQUIRE(paths.size() == 27);
  for (const ExpertPath& path : paths) {
    std::vector<float> stream = x.values;
    for (index_t l = 0; l < layers; ++l) {
      const ExpertId e = path.experts[as_size(l)];
      if (e == 2) continue;
      const auto y = weights[as_size(2 * l + e)].expert(0, stream.data());
      for (std::size_t c = 0; c < y.size(); ++c) stream[c] += static_cast<float>(y[c].value);
    }
    CHECK(path.loss == Catch::Approx(loss_of(stream)).epsilon(1e-4));
  }
  CHECK(paths.back().loss == loss_of(x.values));  // skip everywhere
  std::vector<ExpertId> routed;
  const double routed_loss = run(routed);
  const auto best = best_paths(paths);
  CHECK(best.front().cost == 0);
  CHECK(best.back().loss <= routed_loss);
  for (const ExpertPath& path : paths) {
    bool is_matched = false;
    for (const ExpertPath& b : best) is_matched |= b.cost <= path.cost && b.loss <= path.loss;
    CHECK(is_matched);
  }
}
