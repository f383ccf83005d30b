#include "headgate/layers/monet_experts.hpp"

#include "headgate/kernels/scalar.hpp"
#include "headgate/routing/monet_router.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/monet.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;

namespace {

constexpr Activation relu2{ActivationKind::relu2};

template <class Bank>
std::vector<float> applied(const Bank& bank, const FactoredPlan& plan, ConstRows x, Context& ctx) {
  std::vector<float> y(as_size(x.rows) * as_size(x.cols));
  const Status status = bank.apply(plan, x, {y.data(), x.rows, x.cols}, ctx);
  INFO(Error::describe(status));
  REQUIRE(status.ok());
  return y;
}

// The largest difference, in units of the largest number.
double difference(const std::vector<float>& y, const std::vector<double>& expected) {
  double worst = 0.0;
  double largest = 1.0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    worst = std::max(worst, std::fabs(static_cast<double>(y[i]) - expected[i]));
    largest = std::max(largest, std::fabs(expected[i]));
  }
  return worst / largest;
}

// Calls f with a bank of either kind made of the parts.
template <class Backend = NativeBackend, class F>
void with_bank(const monet::Parts& parts, F f) {
  if (parts.vertical) {
    f(VerticalExperts<Backend>::create(parts.vertical_weights(), relu2).value());
  } else {
    f(HorizontalExperts<Backend>::create(parts.horizontal(), parts.first, relu2).value());
  }
}

}  // namespace

TEST_CASE("both decompositions are what enumerating all pairs of parts gives") {
  struct Shape {
    index_t first, second, m, hidden_size, heads;
  };
  for (const Shape& s : {Shape{1, 1, 1, 2, 1}, {3, 5, 2, 6, 2}, {5, 3, 3, 14, 3}, {16, 16, 4, 24, 4}}) {
    for (const bool is_vertical : {false, true}) {
      INFO(s.first << " x " << s.second << ", vertical " << is_vertical);
      const monet::Parts parts(is_vertical, s.first, s.second, s.m, s.hidden_size, 1);
      const std::vector<float> hidden = random_floats(9 * as_size(s.hidden_size), 1.0f, 2);
      const ConstRows x(hidden.data(), 9, s.hidden_size);
      FactoredPlan plan = monet::random_plan(9, s.heads, s.first, s.second, 3);
      Context ctx;
      for (const bool has_removed : {false, true}) {
        if (has_removed) {
          for (ExpertId e = 0; e < s.first * s.second; e += 2) plan.removed.push_back(e);
        }
        RoutingPlan flat;
        REQUIRE(flatten(plan, flat).ok());
        const std::vector<double> expected = parts.enumerated(flat, x);
        const auto check = [&](const auto& bank) {
          CHECK(bank.side(0) == s.first);
          CHECK(bank.side(1) == s.second);
          CHECK(bank.hidden_size() == s.hidden_size);
          CHECK(difference(applied(bank, plan, x, ctx), expected) < 2e-6);
        };
        with_bank(parts, check);
        with_bank<Scalar>(parts, check);
      }
    }
  }
}

TEST_CASE("a removed expert takes its own output away and nothing else") {
  for (const bool is_vertical : {false, true}) {
    const monet::Parts parts(is_vertical, 4, 3, 2, 10, 5);
    const std::vector<float> hidden = random_floats(6 * 10, 1.0f, 6);
    const ConstRows x(hidden.data(), 6, 10);
    const FactoredPlan plan = monet::random_plan(6, 2, 4, 3, 7);
    RoutingPlan flat;
    REQUIRE(flatten(plan, flat).ok());
    with_bank(parts, [&](const auto& bank) {
      Context ctx;
      const std::vector<float> whole = applied(bank, plan, x, ctx);
      for (ExpertId e = 0; e < 12; ++e) {
        FactoredPlan without;
        REQUIRE(edit(plan, {.removed = {&e, 1}}, without).ok());
        const std::vector<float> left = applied(bank, without, x, ctx);
        for (index_t t = 0; t < 6; ++t) {
          double weight = 0.0;
          for (std::size_t i = 0; i < flat.experts(t).size(); ++i) {
            weight += flat.experts(t)[i] == e ? static_cast<double>(flat.weights(t)[i]) : 0.0;
          }
          const std::vector<double> own = parts.expert(e / 3, e % 3, x.row_data(t));
          for (std::size_t c = 0; c < 10; ++c) {
            const std::size_t at = as_size(t) * 10 + c;
            CHECK(static_cast<double>(whole[at] - left[at]) == Catch::Approx(weight * own[c]).margin(2e-5));
          }
        }
      }
      // Without any of them nothing is left, in bits: they are left out, not taken off again.
      FactoredPlan none = plan;
      for (ExpertId e = 0; e < 12; ++e) none.removed.push_back(e);
      CHECK(applied(bank, none, x, ctx) == std::vector<float>(60));
    });
  }
}

TEST_CASE("Monet's layers of both kinds give what the official ones do") {
  for (const auto& c : golden("monet")) {
    const auto& options = c["options"];
    INFO(options.dump());
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
    const std::vector<float> hidden = values(c["hidden"]);
    const ConstRows x(hidden.data(), static_cast<index_t>(hidden.size()) / width, width);
    FactoredPlan plan;
    Context ctx;
    REQUIRE(router.route(x, 0, plan, ctx).ok());

    std::map<std::string, std::vector<float>> tensors;
    for (const auto& [name, value] : c["experts"].items()) tensors[name] = values(value);
    const auto matrix = [&](const std::string& name, index_t rows) {
      const std::vector<float>& of = tensors.at(name);
      return ConstRows(of.data(), rows, static_cast<index_t>(of.size()) / rows);
    };
    const auto rows_of = [&](const std::string& name) { return static_cast<index_t>(tensors.at(name).size()); };
    const auto check = [&](const auto& bank) {
      const std::vector<float> y = applied(bank, plan, x, ctx);
      const std::vector<float> expected = values(c["y"]);
      for (std::size_t i = 0; i < y.size(); ++i) CHECK(y[i] == Catch::Approx(expected[i]).epsilon(1e-5).margin(1e-5));
    };
    if (options["moe_decompose"] == "horizontal") {
      check(HorizontalExperts<>::create({matrix("u.weight", rows_of("u.bias")), tensors.at("u.bias"),
                                         matrix("v.weight", width), matrix("b", parts)},
                                        parts, relu2)
                .value());
    } else {
      const VerticalWeights weights{
          .u = {matrix("u1.weight", rows_of("u1.bias")), matrix("u2.weight", rows_of("u2.bias"))},
          .u_bias = {tensors.at("u1.bias"), tensors.at("u2.bias")},
          .v11 = matrix("v11.weight", width / 2),
          .v12 = matrix("v12.weight", width / 2),
          .v21 = matrix("v21.weight", width / 2),
          .v22 = matrix("v22.weight", width / 2),
          .b = {matrix("b1", parts), matrix("b2", parts)}};
      check(VerticalExperts<>::create(weights, relu2).value());
    }
  }
}

TEST_CASE("experts that are pairs give the same bits for any threads and batch, and add to what is there") {
  for (const bool is_vertical : {false, true}) {
    const monet::Parts parts(is_vertical, 7, 5, 3, 14, 8);
    const std::vector<float> hidden = random_floats(23 * 14, 1.0f, 9);
    const ConstRows x(hidden.data(), 23, 14);
    const FactoredPlan plan = monet::random_plan(23, 2, 7, 5, 10);
    with_bank(parts, [&](const auto& bank) {
      Context serial;
      const std::vector<float> y = applied(bank, plan, x, serial);
      for (const index_t threads : {2, 3, 8}) {
        ThreadExecutor executor(threads);
        Context ctx(executor);
        CHECK(applied(bank, plan, x, ctx) == y);
        FactoredPlan one{.heads = 2};
        for (const index_t s : {0, 1}) REQUIRE(one.side[s].copy_rows(plan.side[s], 2 * 17, 2).ok());
        const std::vector<float> alone = applied(bank, one, x.middle_rows(17, 1), ctx);
        CHECK(std::equal(alone.begin(), alone.end(), y.begin() + 17 * 14));
      }
      std::vector<float> given(y.size(), 0.25f);
      REQUIRE(bank.apply(plan, x, {given.data(), 23, 14}, serial).ok());
      for (std::size_t i = 0; i < y.size(); ++i) CHECK(given[i] == y[i] + 0.25f);
      CHECK(applied(bank, monet::random_plan(0, 2, 7, 5, 1), {nullptr, 0, 14}, serial).empty());
    });
  }
}

TEST_CASE("parts of pairs that do not fit, and what is not finite, are refused") {
  const monet::Parts h(false, 4, 3, 2, 10, 11);
  const auto horizontal = [&](auto change, index_t first = 4, Activation activation = relu2) {
    HorizontalWeights w = h.horizontal();
    change(w);
    return refused(HorizontalExperts<>::create(w, first, activation));
  };
  const auto nothing = [](auto&) {};
  CHECK(horizontal(nothing) == "made");
  CHECK(horizontal(nothing, 3) == "rows of u, which are a multiple of its side, (got 8, allowed 3)");
  CHECK(horizontal(nothing, 0) == "side of a bank, at least (got 0, allowed 1)");
  CHECK(horizontal(nothing, 2) == "columns of v against J m (got 6, allowed 12)");
  CHECK(horizontal(nothing, 4, {ActivationKind::clamped_swiglu}) == "experts of Monet have no gate for clamped_swiglu");
  CHECK(horizontal([](HorizontalWeights& w) { w.u_bias = w.u_bias.first(7); }) ==
        "bias of u against its rows (got 7, allowed 8)");
  CHECK(horizontal([](HorizontalWeights& w) { w.v.rows = 9; }) == "rows of v against outputs (got 9, allowed 10)");
  CHECK(horizontal([](HorizontalWeights& w) { w.b.cols = 9; }) == "columns of b against outputs (got 9, allowed 10)");
  CHECK(horizontal([](HorizontalWeights& w) { w.u.cols = 0; }) == "hidden_size, at least (got 0, allowed 1)");
  CHECK(horizontal([](HorizontalWeights& w) { w.u.data = nullptr; }) == "rows of a matrix without data");
  const std::vector<float> many(1 << 16);
  CHECK(refused(HorizontalExperts<>::create(
            {{many.data(), 1 << 16, 1}, many, {many.data(), 1, 1 << 16}, {many.data(), 1 << 16, 1}}, 1 << 16, relu2)) ==
        "number of experts (got 4294967296, allowed 2147483647)");

  const monet::Parts v(true, 4, 3, 2, 10, 12);
  const auto vertical = [&](auto change) {
    VerticalWeights w = v.vertical_weights();
    change(w);
    return refused(VerticalExperts<>::create(w, relu2));
  };
  CHECK(vertical(nothing) == "made");
  CHECK(vertical([](VerticalWeights& w) { w.u[0].cols = 9; }) ==
        "hidden_size of two halves, which is even, (got 9, allowed 2)");
  CHECK(vertical([](VerticalWeights& w) { w.u[1].cols = 9; }) ==
        "columns of u against hidden_size (got 9, allowed 10)");
  CHECK(vertical([](VerticalWeights& w) { w.v11 = {}; }) == "rows of v against outputs (got 0, allowed 5)");
  CHECK(vertical([](VerticalWeights& w) { w.v21.cols = 5; }) == "columns of v against rows of u (got 5, allowed 6)");
  CHECK(vertical([](VerticalWeights& w) { w.b[1].rows = 0; }) == "side of a bank, at least (got 0, allowed 1)");
  CHECK(vertical([](VerticalWeights& w) { w.b[1].rows = 2; }) ==
        "m of the second side against the first (got 3, allowed 2)");

  const auto bank = HorizontalExperts<>::create(h.horizontal(), 4, relu2).value();
  FactoredPlan plan = monet::random_plan(5, 2, 4, 3, 13);
  std::vector<float> x(50, 1.0f), y(50);
  Context ctx;
  const auto apply = [&](index_t rows = 5) {
    return said(bank.apply(plan, {x.data(), rows, 10}, {y.data(), rows, 10}, ctx));
  };
  CHECK(apply() == "ok");
  CHECK(apply(4) == "usage: rows of x against tokens of the plan (got 4, allowed 5)");
  CHECK(said(bank.apply(plan, {x.data(), 5, 10}, {x.data(), 5, 10}, ctx)) == "usage: output that overlaps its input");
  x[33] = std::numeric_limits<float>::infinity();
  CHECK(apply() == "numeric: input of an expert is not finite, token 3");
  x[33] = 1e30f;
  CHECK(apply() == "numeric: output of an expert is not finite, token 3");
  plan = monet::random_plan(5, 2, 3, 4, 13);
  CHECK(apply() == "usage: first side of the plan against the bank (got 3, allowed 4)");
  plan = monet::random_plan(5, 2, 4, 4, 13);
  CHECK(apply() == "usage: second side of the plan against the bank (got 4, allowed 3)");
  plan.heads = 0;
  CHECK(apply() == "usage: heads of a factored plan, at least (got 0, allowed 1)");
}
