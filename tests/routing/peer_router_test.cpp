#include "headgate/routing/peer_router.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "headgate/experts/single_neuron_experts.hpp"
#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

namespace {

using namespace headgate;

struct Shape {
  index_t first, second, heads, k, key_size, hidden_size;
  index_t num_experts() const { return first * second; }
};
constexpr Shape shapes[] = {{5, 5, 1, 3, 4, 6},   {3, 7, 2, 4, 5, 9},   {1, 1, 1, 1, 1, 1},
                            {1, 11, 3, 5, 3, 14}, {8, 8, 4, 16, 6, 24}, {2, 2, 2, 4, 3, 5}};

// Random parameters, and the router by enumeration of all experts.
struct Example {
  explicit Example(const Shape& of_shape, PeerScore of_score = PeerScore::softmax)
      : shape(of_shape),
        score(of_score),
        query(random_floats(as_size(columns()) * as_size(shape.hidden_size), 0.5f, 1)),
        first(random_floats(as_size(shape.heads * shape.first * shape.key_size), 1.0f, 2)),
        second(random_floats(as_size(shape.heads * shape.second * shape.key_size), 1.0f, 3)),
        mean(random_floats(as_size(columns()), 0.5f, 4)),
        variance(random_floats(as_size(columns()), 0.5f, 5)),
        gain(random_floats(as_size(columns()), 1.0f, 6)),
        bias(random_floats(as_size(columns()), 0.5f, 7)) {
    for (float& v : variance) v += 1.0f;
  }
  index_t columns() const { return 2 * shape.heads * shape.key_size; }
  PeerWeights weights() const {
    return {{query.data(), columns(), shape.hidden_size},
            {first.data(), shape.heads * shape.first, shape.key_size},
            {second.data(), shape.heads * shape.second, shape.key_size}};
  }
  QueryNorm norm() const { return {mean, variance, 1e-3f, gain, bias}; }
  template <class Backend = NativeBackend>
  PeerRouter<Backend> router(bool normed = false) const {
    const QueryNorm of_queries = norm();
    PeerWeights parts = weights();
    if (normed) parts.norm = &of_queries;
    return PeerRouter<Backend>::create(parts, {shape.heads, shape.k, score}).value();
  }

  // Every head's ids, best first, and weights by expert, of all scores that the mask leaves.
  struct Row {
    std::vector<ExpertId> ids;
    std::vector<double> weights;
  };
  Row enumerated(const float* x, bool normed, std::span<const std::uint8_t> mask = {}) const {
    Row row;
    row.weights.resize(as_size(shape.num_experts()));
    std::vector<float> q;
    for (index_t c = 0; c < columns(); ++c) {
      q.push_back(Scalar::dot(query.data() + c * shape.hidden_size, x, shape.hidden_size));
      if (normed) q.back() = fused_multiply_add(norm().scale(c), q.back(), norm().shift(c));
    }
    for (index_t h = 0; h < shape.heads; ++h) {
      std::vector<float> all;
      for (index_t i = 0; i < shape.first; ++i) {
        for (index_t j = 0; j < shape.second; ++j) {
          const index_t n = shape.key_size;
          all.push_back(Scalar::dot(first.data() + (h * shape.first + i) * n, q.data() + h * n, n) +
                        Scalar::dot(second.data() + (h * shape.second + j) * n, q.data() + (shape.heads + h) * n, n));
        }
      }
      std::vector<ExpertId> ids;
      for (ExpertId e = 0; e < shape.num_experts(); ++e) {
        if (mask.empty() || mask[as_size(e)] != 0) ids.push_back(e);
      }
      std::stable_sort(ids.begin(), ids.end(),
                       [&](ExpertId e, ExpertId f) { return all[as_size(e)] > all[as_size(f)]; });
      ids.resize(std::min(as_size(shape.k), ids.size()));
      double total = 0.0;
      for (const ExpertId e : ids) total += std::exp(static_cast<double>(all[as_size(e)]));
      for (const ExpertId e : ids) {
        const double s = static_cast<double>(all[as_size(e)]);
        if (score == PeerScore::relu && s <= 0.0) continue;
        row.weights[as_size(e)] += score == PeerScore::relu ? s : std::exp(s) / total;
        if (std::find(row.ids.begin(), row.ids.end(), e) == row.ids.end()) row.ids.push_back(e);
      }
    }
    return row;
  }

  Shape shape;
  PeerScore score;
  std::vector<float> query, first, second, mean, variance, gain, bias;
};

void check_row(const RoutingPlan& plan, index_t t, const Example::Row& expected) {
  CHECK(experts_of(plan, t) == expected.ids);
  const std::vector<float> dense = dense_weights(plan, t);
  double worst = 0.0;
  for (std::size_t e = 0; e < dense.size(); ++e) {
    const double error = std::fabs(static_cast<double>(dense[e]) - expected.weights[e]);
    worst = std::max(worst, error / std::max(1.0, expected.weights[e]));
  }
  CHECK(worst <= 1e-6);
}

}  // namespace

TEST_CASE("paper_peer: product keys choose and weigh what enumerating all experts does") {
  for (const Shape& shape : shapes) {
    const std::vector<float> x = random_floats(29 * as_size(shape.hidden_size), 2.0f, 8);
    const ConstRows rows(x.data(), 29, shape.hidden_size);
    for (const PeerScore score : {PeerScore::softmax, PeerScore::relu}) {
      for (const bool normed : {false, true}) {
        INFO(shape.first << " x " << shape.second << ", heads " << shape.heads << ", k " << shape.k << ", norm "
                         << normed << ", relu " << (score == PeerScore::relu));
        const Example example(shape, score);
        for (const RoutingPlan& plan :
             {routed(example.router(normed), rows), routed(example.router<Scalar>(normed), rows)}) {
          for (index_t t = 0; t < plan.tokens(); ++t) check_row(plan, t, example.enumerated(rows.row_data(t), normed));
        }
      }
    }
  }
}

TEST_CASE("PEER-pytorch's layer: experts, weights and outputs") {
  for (const auto& c : golden("peer")) {
    const auto& options = c["options"];
    const index_t heads = options["heads"], side = options["side"], key_size = options["key_size"], k = options["k"];
    const index_t hidden_size = options["hidden_size"];
    INFO(options.dump());
    REQUIRE(c["margin"].get<double>() > 1e-4);
    const std::vector<float> query = values(c["query"]), keys = values(c["keys"]), hidden = values(c["hidden"]);
    const std::vector<float> down = values(c["down"]), up = values(c["up"]), y = values(c["y"]);
    const PeerWeights weights{{query.data(), 2 * heads * key_size, hidden_size},
                              {keys.data(), heads * side, key_size, 2 * key_size},
                              {keys.data() + key_size, heads * side, key_size, 2 * key_size}};
    const PeerScore score = options["relu"].get<bool>() ? PeerScore::relu : PeerScore::softmax;
    const PeerRouter<> router = PeerRouter<>::create(weights, {heads, k, score}).value();
    const ConstRows x(hidden.data(), static_cast<index_t>(hidden.size()) / hidden_size, hidden_size);
    const RoutingPlan plan = routed(router, x);

    const auto ids = values<ExpertId>(c["experts"]);
    const std::vector<float> given = values(c["weights"]);
    for (index_t t = 0; t < x.rows; ++t) {
      std::vector<float> expected(as_size(side * side), 0.0f);
      for (std::size_t i = as_size(t * heads * k); i < as_size((t + 1) * heads * k); ++i) {
        expected[as_size(ids[i])] += given[i];
      }
      const std::vector<float> dense = dense_weights(plan, t);
      for (std::size_t e = 0; e < dense.size(); ++e) {
        CHECK((dense[e] > 0.0f) == (expected[e] > 0.0f));
        CHECK(dense[e] == Catch::Approx(expected[e]).epsilon(1e-5));
      }
    }
    const SingleNeuronExperts<> experts({down.data(), side * side, hidden_size}, {up.data(), side * side, hidden_size},
                                        {ActivationKind::gelu});
    std::vector<float> out(y.size(), 0.0f);
    Context ctx;
    REQUIRE(experts.apply(plan, x, {out.data(), x.rows, hidden_size}, ctx).ok());
    for (std::size_t i = 0; i < y.size(); ++i) CHECK(out[i] == Catch::Approx(y[i]).epsilon(1e-5).margin(1e-5));
  }
}

TEST_CASE("heads that choose alike give one row with the sum of their weights") {
  const Shape one{6, 6, 1, 5, 4, 7};
  const Example example(one);
  std::vector<float> query, first, second;
  const auto twice = [](const std::vector<float>& values, std::size_t of_head) {
    std::vector<float> all;
    for (std::size_t begin = 0; begin < values.size(); begin += of_head) {
      for (int copy = 0; copy < 2; ++copy) {
        all.insert(all.end(), values.begin() + static_cast<std::ptrdiff_t>(begin),
                   values.begin() + static_cast<std::ptrdiff_t>(begin + of_head));
      }
    }
    return all;
  };
  query = twice(example.query, 4 * 7);  // a half after the other
  first = twice(example.first, 6 * 4);
  second = twice(example.second, 6 * 4);
  const PeerRouter<> both =
      PeerRouter<>::create({{query.data(), 16, 7}, {first.data(), 12, 4}, {second.data(), 12, 4}}, {2, 5}).value();
  const std::vector<float> x = random_floats(9 * 7, 2.0f, 8);
  const RoutingPlan plan = routed(both, {x.data(), 9, 7});
  const RoutingPlan single = routed(example.router(), {x.data(), 9, 7});
  for (index_t t = 0; t < 9; ++t) {
    CHECK(experts_of(plan, t) == experts_of(single, t));
    for (std::size_t i = 0; i < 5; ++i) CHECK(plan.weights(t)[i] == 2.0f * single.weights(t)[i]);
  }
  CHECK(both.traits().k_min == 5);
  CHECK(both.traits().k_max == 10);
  CHECK(both.traits().row_sum == RowSum::constant);
  CHECK(both.traits().row_sum_value == 2.0f);
}

TEST_CASE("masks of a call leave product keys what enumeration leaves, and k of a call is for one head") {
  for (const Shape& shape : shapes) {
    const Example example(shape);
    const PeerRouter<> router = example.router();
    const std::vector<float> x = random_floats(7 * as_size(shape.hidden_size), 2.0f, 9);
    const ConstRows rows(x.data(), 7, shape.hidden_size);
    std::vector<std::uint8_t> mask(as_size(shape.num_experts()));
    for (std::size_t e = 0; e < mask.size(); ++e) mask[e] = e % 3 == 1 ? 1 : 0;
    for (const MaskMeaning meaning : {MaskMeaning::select, MaskMeaning::prune}) {
      const RoutingPlan plan = routed(router, rows, {.expert_mask = mask, .mask_meaning = meaning});
      for (index_t t = 0; t < 7; ++t) check_row(plan, t, example.enumerated(rows.row_data(t), false, mask));
    }
    std::fill(mask.begin(), mask.end(), std::uint8_t{0});
    CHECK(routed(router, rows, {.expert_mask = mask}).entries() == 0);

    RoutingPlan plan;
    Context ctx;
    NoState state;
    const Status of_call = router.route({.hidden = rows, .edits = {.k = 1}}, state, plan, ctx);
    if (shape.heads == 1) {
      CHECK(of_call.ok());
      for (index_t t = 0; t < 7; ++t) {
        CHECK(experts_of(plan, t)[0] == example.enumerated(rows.row_data(t), false).ids[0]);
      }
      CHECK(router.route({.hidden = rows, .edits = {.k = shape.num_experts() + 1}}, state, plan, ctx).allowed ==
            shape.num_experts());
    } else {
      CHECK(said(of_call) == "usage: k of the call for a router of several heads");
    }
    CHECK((router.traits().takes & takes_k) == (shape.heads == 1 ? takes_k : 0u));
  }
}

TEST_CASE("product keys give the same bits for any threads and batch") {
  const Example example({7, 5, 3, 6, 9, 14});
  const PeerRouter<> router = example.router(true);
  const std::vector<float> x = random_floats(40 * 14, 2.0f, 10);
  const ConstRows rows(x.data(), 40, 14);
  const RoutingPlan plan = routed(router, rows);
  for (const index_t threads : {2, 3, 8}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    CHECK(routed(router, rows, ctx) == plan);
    for (index_t t = 0; t < 40; t += 7) {
      const RoutingPlan alone = routed(router, rows.middle_rows(t, 1), ctx);
      CHECK(experts_of(alone, 0) == experts_of(plan, t));
      CHECK(weights_of(alone, 0) == weights_of(plan, t));
    }
  }
  CHECK(routed(router, {nullptr, 0, 14}).tokens() == 0);
}

TEST_CASE("a million experts take no memory of that size to choose from") {
  const Example example({1024, 1024, 2, 16, 4, 6});
  const PeerRouter<> router = example.router();
  CHECK(router.num_experts() == 1 << 20);
  const std::vector<float> x = random_floats(3 * 6, 2.0f, 11);
  Context ctx;
  const RoutingPlan plan = routed(router, {x.data(), 3, 6}, ctx);
  for (index_t t = 0; t < 3; ++t) check_row(plan, t, example.enumerated(x.data() + 6 * t, false));
  CHECK(ctx.workspace.capacity() < std::size_t{1} << 18);
}

TEST_CASE("product keys that do not fit, and scores that are not finite, are refused") {
  const Example example({3, 7, 2, 4, 5, 9});
  const auto error = [&](auto change, PeerOptions options = {2, 4}) {
    PeerWeights weights = example.weights();
    change(weights);
    return refused(PeerRouter<>::create(weights, options));
  };
  const auto nothing = [](PeerWeights&) {};
  CHECK(error(nothing) == "made");
  CHECK(error(nothing, {0, 4}) == "heads of product keys, at least (got 0, allowed 1)");
  CHECK(error(nothing, {4, 4}) == "rows of product keys, which are a multiple of the heads, (got 6, allowed 4)");
  CHECK(error(nothing, {1, 4}) == "rows of the query against 2 heads key_size (got 20, allowed 10)");
  CHECK(error(nothing, {2, 0}) == "k of product keys, at least (got 0, allowed 1)");
  CHECK(error(nothing, {2, 22}) == "k of product keys against experts (got 22, allowed 21)");
  CHECK(error([](PeerWeights& w) { w.second_keys.cols = 4; }) ==
        "columns of the second product keys against the first (got 4, allowed 5)");
  CHECK(error([](PeerWeights& w) { w.first_keys.data = nullptr; }) == "rows of a matrix without data");
  CHECK(error([](PeerWeights& w) { w.query.cols = 0; }) ==
        "columns of a query (hidden_size), at least (got 0, allowed 1)");
  CHECK(error([](PeerWeights& w) { w.first_keys.cols = w.second_keys.cols = 0; }) ==
        "columns of product keys, at least (got 0, allowed 1)");
  QueryNorm norm = example.norm();
  const auto normed = [&] { return error([&](PeerWeights& w) { w.norm = &norm; }); };
  CHECK(normed() == "made");
  norm.gain = norm.gain.first(3);
  CHECK(normed() == "numbers of a query norm against rows of the query (got 3, allowed 20)");
  norm.gain = {};
  CHECK(normed() == "made");
  norm.mean = {};
  CHECK(normed() == "numbers of a query norm against rows of the query (got 0, allowed 20)");
  norm.mean = example.mean;
  norm.epsilon = -2.0f;
  CHECK(normed() == "variance and epsilon of a query norm do not add up to a positive number");
  std::vector<float> bad = example.mean;
  bad[3] = std::numeric_limits<float>::infinity();
  norm.bias = bad;
  CHECK(normed() == "a number of a query norm is not finite");
  const std::vector<float> many(1 << 17);
  CHECK(refused(PeerRouter<>::create({{many.data(), 2, 1}, {many.data(), 1 << 17, 1}, {many.data(), 1 << 17, 1}},
                                     {1, 1})) == "number of product keys (got 17179869184, allowed 2147483647)");

  std::vector<float> x = random_floats(30 * 9, 2.0f, 12);
  x[20 * 9 + 3] = std::numeric_limits<float>::quiet_NaN();
  x[17 * 9 + 1] = std::numeric_limits<float>::infinity();
  for (const index_t threads : {1, 3}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    NoState state;
    RoutingPlan plan;
    const Status status = example.router().route({.hidden = {x.data(), 30, 9}, .layer = 2}, state, plan, ctx);
    CHECK(status.code == ErrorCode::numeric);
    CHECK(status.layer == 2);
    CHECK(status.token == 17);
    CHECK(status.expert >= 0);
    CHECK(plan.tokens() == 0);
  }
  // Halves that are finite, sums that are not.
  const float large[] = {3e38f};
  const float ones[] = {1.0f, 1.0f};
  const PeerRouter<> sums = PeerRouter<>::create({{ones, 2, 1}, {large, 1, 1}, {large, 1, 1}}, {1, 1}).value();
  NoState state;
  RoutingPlan plan;
  Context ctx;
  CHECK(said(sums.route({.hidden = {ones, 1, 1}}, state, plan, ctx)) ==
        "numeric: score of a product key is not finite, layer 0, token 0, expert 0");
}
