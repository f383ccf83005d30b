#include "headgate/routing/mora_router.hpp"

#include <algorithm>
#include <numeric>

#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"

using namespace headgate;

TEST_CASE("paper_ MoRA's ranks choose themselves by their activations, in double") {
  constexpr index_t ranks = 70, width = 13, tokens = 9;  // more than a chunk of the softmax
  const std::vector<float> a = random_floats(ranks * width, 0.5f, 1);
  const std::vector<float> x = random_floats(tokens * width, 1.0f, 2);
  const MoraSettings settings{.k = 11, .temperature = 0.1f, .at_least = 0.15f};
  const RoutingPlan plan = routed(mora_router({a.data(), ranks, width}, settings).value(), {x.data(), tokens, width});
  for (index_t t = 0; t < tokens; ++t) {
    std::vector<double> s(as_size(ranks));
    double squares = 0.0;
    for (std::size_t i = 0; i < s.size(); ++i) {
      for (std::size_t c = 0; c < width; ++c) {
        s[i] += static_cast<double>(a[i * width + c]) * static_cast<double>(x[as_size(t) * width + c]);
      }
      squares += s[i] * s[i];
    }
    double total = 0.0;
    for (double& score : s) total += std::exp((score /= std::sqrt(squares)) / 0.1f);
    std::vector<ExpertId> order(as_size(ranks));
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](ExpertId i, ExpertId j) { return s[as_size(i)] > s[as_size(j)]; });
    order.resize(11);
    std::erase_if(order, [&](ExpertId i) { return s[as_size(i)] < 0.15f; });
    CHECK(experts_of(plan, t) == order);
    for (std::size_t i = 0; i < plan.weights(t).size(); ++i) {
      CHECK(static_cast<double>(plan.weights(t)[i]) ==
            Catch::Approx(std::exp(s[as_size(order[i])] / 0.1f) / total).epsilon(1e-5));
    }
  }
  CHECK(plan.entries() > 0);
  CHECK(plan.entries() < 11 * tokens);
}

TEST_CASE("P10: MoRA's plan stays what it is when a token is scaled, however much") {
  const std::vector<float> a = random_floats(7 * 6, 0.5f, 3);
  const std::vector<float> x = random_floats(20 * 6, 1.0f, 4);
  const auto router = mora_router({a.data(), 7, 6}, {.k = 3, .temperature = 0.5f, .at_least = 0.0f}).value();
  const RoutingPlan plan = routed(router, {x.data(), 20, 6});
  for (const float by : {4.0f, 0x1p90f, 0x1p-90f}) {
    std::vector<float> scaled = x;
    for (float& v : scaled) v *= by;
    CHECK(routed(router, {scaled.data(), 20, 6}) == plan);
  }
}

TEST_CASE("MoRA without a threshold takes k ranks, also of a token that activates none") {
  const std::vector<float> a = random_floats(5 * 6, 0.5f, 5);
  const std::vector<float> x(6, 0.0f);
  const RoutingPlan plan = routed(mora_router({a.data(), 5, 6}, {.k = 2}).value(), {x.data(), 1, 6});
  CHECK(experts_of(plan, 0) == std::vector<ExpertId>{0, 1});
  for (const float w : plan.weights(0)) CHECK(w == Catch::Approx(0.2f));
  const auto all = mora_router({a.data(), 5, 6}, {.k = 5}).value();
  CHECK(all.traits().k_min == 5);
  CHECK(all.traits().row_sum == RowSum::free);
  const auto some = mora_router({a.data(), 5, 6}, {.k = 5, .at_least = 0.01f}).value();
  CHECK(some.traits().k_min == 0);
  CHECK(routed(some, {x.data(), 1, 6}).entries() == 0);
}

TEST_CASE("MoRA's settings that mean nothing are refused") {
  const std::vector<float> a = random_floats(5 * 6, 0.5f, 6);
  const auto refused = [&](MoraSettings settings) { return !mora_router({a.data(), 5, 6}, settings).has_value(); };
  CHECK(refused({}));
  CHECK(refused({.k = 6}));
  CHECK(refused({.k = 2, .temperature = 0.0f}));
  CHECK(refused({.k = 2, .temperature = std::numeric_limits<float>::infinity()}));
  CHECK(refused({.k = 2, .at_least = std::numeric_limits<float>::quiet_NaN()}));
  CHECK_FALSE(refused({.k = 2}));
}
