#include "headgate/routing/monet_router.hpp"

#include <cmath>

#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;

namespace {

// Random parameters, I and J parts.
struct Example {
  Example(index_t i, index_t j, index_t of_heads, index_t width) : sides{i, j}, heads(of_heads), hidden_size(width) {
    for (const index_t s : {0, 1}) {
      const auto seed = static_cast<unsigned>(10 * s);
      gate[s] = random_floats(as_size(heads * sides[s] * hidden_size), 0.5f, seed);
      mean[s] = random_floats(as_size(heads), 0.5f, seed + 1);
      variance[s] = random_floats(as_size(heads), 0.4f, seed + 2);
      for (float& v : variance[s]) v += 1.0f;
    }
  }
  MonetSide side(index_t s) const { return {{gate[s].data(), heads * sides[s], hidden_size}, mean[s], variance[s]}; }
  MonetRouter<> router(index_t topk) const {
    return MonetRouter<>::create(side(0), side(1), {heads, topk, 1e-5f}).value();
  }

  index_t sides[2], heads, hidden_size;
  std::vector<float> gate[2], mean[2], variance[2];
};

FactoredPlan routed(const MonetRouter<>& router, ConstRows x, Context& ctx) {
  FactoredPlan plan;
  const Status status = router.route(x, 0, plan, ctx);
  INFO(Error::describe(status));
  REQUIRE(status.ok());
  REQUIRE(plan.check().ok());
  REQUIRE(plan.tokens() == x.rows);
  return plan;
}

}  // namespace

TEST_CASE("the quantile of a normal variable is the one of its tables") {
  CHECK(normal_quantile(0.5) == Catch::Approx(0.0).margin(1e-15));
  CHECK(normal_quantile(0.975) == Catch::Approx(1.959963984540054).epsilon(1e-13));
  CHECK(normal_quantile(1.0 - 32.0 / 512.0) == Catch::Approx(1.5341205443525465).epsilon(1e-13));
  CHECK(normal_quantile(0.1) == Catch::Approx(-normal_quantile(0.9)).epsilon(1e-13));
  CHECK(normal_quantile(1e-10) == Catch::Approx(-6.361340902404056).epsilon(1e-12));
  CHECK(std::isinf(normal_quantile(0.0)));
  CHECK(normal_quantile(0.0) < 0.0);
  CHECK(normal_quantile(1.0) == -normal_quantile(0.0));
}

TEST_CASE("Monet's router keeps and weighs what the official one does") {
  for (const auto& c : golden("monet")) {
    const auto& options = c["options"];
    INFO(options.dump());
    REQUIRE(c["margin"].get<double>() > 1e-4);
    const index_t heads = options["moe_heads"], parts = options["moe_experts"], width = options["hidden_size"];
    std::vector<float> w[2], mean[2], variance[2];
    MonetSide sides[2];
    for (const std::size_t s : {0u, 1u}) {
      w[s] = values(c["w"][s]);
      mean[s] = values(c["mean"][s]);
      variance[s] = values(c["variance"][s]);
      sides[s] = {{w[s].data(), heads * parts, width}, mean[s], variance[s]};
    }
    const auto router = MonetRouter<>::create(sides[0], sides[1], {heads, options["moe_topk"].get<index_t>()}).value();
    CHECK(static_cast<double>(router.sigma(0)) == Catch::Approx(c["sigma"].get<double>()).epsilon(1e-6));
    const std::vector<float> hidden = values(c["hidden"]);
    Context ctx;
    const FactoredPlan plan = routed(router, {hidden.data(), static_cast<index_t>(hidden.size()) / width, width}, ctx);
    for (const std::size_t s : {0u, 1u}) {
      const std::vector<float> gates = values(c["gates"][s]);
      REQUIRE(gates.size() == as_size(plan.side[s].tokens() * parts));
      for (index_t row = 0; row < plan.side[s].tokens(); ++row) {
        const std::vector<float> found = dense_weights(plan.side[s], row);
        for (std::size_t i = 0; i < found.size(); ++i) {
          const float expected = gates[as_size(row * parts) + i];
          CHECK((found[i] > 0.0f) == (expected > 0.0f));
          CHECK(found[i] == Catch::Approx(expected).epsilon(1e-5));
        }
      }
    }
  }
}

TEST_CASE("every head keeps at least one part of a side, and all of them where topk is all") {
  const std::vector<float> x = random_floats(30 * 9, 2.0f, 3);
  const ConstRows rows(x.data(), 30, 9);
  Example example(11, 40, 3, 9);
  Context ctx;
  for (const index_t topk : {1, 5, 11}) {
    const FactoredPlan plan = routed(example.router(topk), rows, ctx);
    for (const index_t s : {0, 1}) {
      for (index_t row = 0; row < 90; ++row) {
        REQUIRE(!plan.side[s].experts(row).empty());
        double sum = 0.0;
        for (const float g : plan.side[s].weights(row)) sum += static_cast<double>(g);
        CHECK(sum == Catch::Approx(1.0).epsilon(1e-6));
        if (topk == 11 && s == 0) CHECK(plan.side[s].experts(row).size() == 11);
      }
    }
  }
  // A mean that nothing reaches leaves the largest alone, with all of the weight.
  for (std::vector<float>& mean : example.mean) mean.assign(3, 1000.0f);
  const FactoredPlan plan = routed(example.router(5), rows, ctx);
  for (const RoutingPlan& side : plan.side) {
    for (index_t row = 0; row < 90; ++row) CHECK(weights_of(side, row) == std::vector<float>{1.0f});
  }
}

TEST_CASE("Monet's router gives the same bits for any threads and batch") {
  const Example example(40, 17, 2, 14);
  const MonetRouter<> router = example.router(9);
  CHECK(router.heads() == 2);
  CHECK(router.side(0) == 40);
  CHECK(router.side(1) == 17);
  const std::vector<float> x = random_floats(25 * 14, 2.0f, 4);
  const ConstRows rows(x.data(), 25, 14);
  Context serial;
  const FactoredPlan plan = routed(router, rows, serial);
  for (const index_t threads : {2, 3, 8}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    CHECK(routed(router, rows, ctx) == plan);
    for (index_t t = 0; t < 25; t += 6) {
      const FactoredPlan alone = routed(router, rows.middle_rows(t, 1), ctx);
      for (const index_t s : {0, 1}) {
        for (index_t h = 0; h < 2; ++h) {
          CHECK(experts_of(alone.side[s], h) == experts_of(plan.side[s], 2 * t + h));
          CHECK(weights_of(alone.side[s], h) == weights_of(plan.side[s], 2 * t + h));
        }
      }
    }
  }
  CHECK(routed(router, {nullptr, 0, 14}, serial).tokens() == 0);
}

TEST_CASE("parameters of Monet's router that do not fit, and logits that are not finite, are refused") {
  const Example example(5, 7, 2, 6);
  const auto error = [&](auto change, MonetOptions options = {2, 3}) {
    MonetSide sides[] = {example.side(0), example.side(1)};
    change(sides[0], sides[1]);
    return refused(MonetRouter<>::create(sides[0], sides[1], options));
  };
  const auto nothing = [](MonetSide&, MonetSide&) {};
  CHECK(error(nothing) == "made");
  CHECK(error(nothing, {0, 3}) == "heads of a router, at least (got 0, allowed 1)");
  CHECK(error(nothing, {2, 0}) == "topk of a router, at least (got 0, allowed 1)");
  CHECK(error(nothing, {2, 6}) == "topk of a router against a side (got 6, allowed 5)");
  CHECK(error(nothing, {4, 1}) == "rows of a router's gate, which are a multiple of the heads, (got 10, allowed 4)");
  CHECK(error(nothing, {1, 3}) == "numbers of a norm against heads (got 2, allowed 1)");
  CHECK(error([](MonetSide&, MonetSide& s) { s.variance = {}; }) ==
        "numbers of a norm against heads (got 0, allowed 2)");
  CHECK(error([](MonetSide& s, MonetSide&) { s.gate.cols = 0; }) ==
        "columns of a router's gate, at least (got 0, allowed 1)");
  CHECK(error([](MonetSide&, MonetSide& s) { s.gate.cols = 5; }) ==
        "columns of the second gate against the first (got 5, allowed 6)");
  CHECK(error([](MonetSide& s, MonetSide&) { s.gate.data = nullptr; }) == "rows of a matrix without data");
  const std::vector<float> bad{1.0f, -1.0f};
  CHECK(error([&](MonetSide&, MonetSide& s) { s.variance = bad; }) ==
        "mean or variance of a router's norm is no finite number, or negative");

  std::vector<float> x = random_floats(20 * 6, 2.0f, 5);
  x[13 * 6 + 2] = std::numeric_limits<float>::quiet_NaN();
  for (const index_t threads : {1, 3}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    FactoredPlan plan;
    CHECK(said(example.router(3).route({x.data(), 20, 6}, 8, plan, ctx)) ==
          "numeric: router logit is not finite, layer 8, token 13, expert 0");
    CHECK(plan.tokens() == 0);
    CHECK(said(example.router(3).route({x.data(), 20, 5}, 8, plan, ctx)) ==
          "usage: width of hidden against hidden_size of the router (got 5, allowed 6)");
  }
}
