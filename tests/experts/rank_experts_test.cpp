#include "headgate/experts/rank_experts.hpp"

#include <numeric>

#include "headgate/layers/routed_linear.hpp"
#include "headgate/routing/mora_router.hpp"
#include "support/applied.hpp"

using namespace headgate;
using reference::applied;
using reference::Matrix;

namespace {

constexpr index_t in_size = 14;
constexpr index_t out_size = 37;
constexpr index_t ranks = 8;
constexpr index_t tokens = 21;

// Two LoRAs, of ranks 3 and 5.
struct Loras {
  explicit Loras(unsigned seed) {
    std::mt19937 rng(seed);
    for (const index_t rank : {3, 5}) {
      a.push_back(Matrix::random(rank, in_size, 0.4f, rng));
      b.push_back(Matrix::random(out_size, rank, 0.4f, rng));
    }
  }
  std::vector<LoraMatrices> matrices() const {
    return {{a[0].view(), b[0].view(), 0.5f}, {a[1].view(), b[1].view(), 2.0f}};
  }
  std::vector<Matrix> a;
  std::vector<Matrix> b;
};
RoutingPlan all_at_one(index_t experts) {
  std::vector<ExpertId> ids(as_size(experts));
  std::iota(ids.begin(), ids.end(), 0);
  RoutingPlan plan;
  plan.clear(experts);
  for (index_t t = 0; t < tokens; ++t) throw_if_error(plan.append_row(ids, std::vector<float>(ids.size(), 1.0f)));
  return plan;
}
RoutingPlan some_plan(unsigned seed) {
  return reference::random_plan(tokens, ranks, [](index_t t) { return t % 9; }, seed);
}
Matrix some_rows(unsigned seed, index_t width = in_size) {
  std::mt19937 rng(seed);
  return Matrix::random(tokens, width, 1.0f, rng);
}

}  // namespace

TEST_CASE("ranks as experts, all of them at weight one, are plain LoRA") {
  const Loras loras(1);
  const RankExperts<> bank(in_size, out_size, loras.matrices());
  CHECK(bank.num_experts() == ranks);
  const Matrix x = some_rows(2);
  const Matrix base = some_rows(3, out_size);
  const Matrix y = applied(bank, all_at_one(ranks), x, base);
  const Matrix wanted = applied(LoraExperts<>(in_size, out_size, loras.matrices()), all_at_one(2), x, base);
  for (std::size_t i = 0; i < y.values.size(); ++i) {
    CHECK(y.values[i] == Catch::Approx(wanted.values[i]).margin(1e-5));
  }
}

TEST_CASE("paper_ a linear layer with self-activated ranks, in double") {
  const Loras loras(4);
  const Matrix w = [] {
    std::mt19937 rng(5);
    return Matrix::random(out_size, in_size, 0.3f, rng);
  }();
  const RankExperts<> bank(in_size, out_size, loras.matrices());
  const RoutedLinear layer(Linear<>(w.view()),
                           mora_router(bank.a(), {.k = 4, .temperature = 0.3f, .at_least = 0.05f}).value(), bank);
  const Matrix x = some_rows(6);
  decltype(layer)::State state;
  state.reset(tokens);
  Context ctx;
  Matrix y(tokens, out_size);
  throw_if_error(layer.forward({.hidden = x.view()}, state, y.view(), ctx));
  const auto at = [](const Matrix& m, index_t r, index_t c) { return static_cast<double>(m.view().row_data(r)[c]); };
  for (index_t t = 0; t < tokens; ++t) {
    const auto dot = [&](const Matrix& m, index_t r) {
      double sum = 0.0;
      for (index_t c = 0; c < in_size; ++c) sum += at(m, r, c) * at(x, t, c);
      return sum;
    };
    std::vector<double> u, s;
    for (const Matrix& a : loras.a) {
      for (index_t r = 0; r < a.rows; ++r) u.push_back(dot(a, r));
    }
    const double length = std::sqrt(std::inner_product(u.begin(), u.end(), u.begin(), 0.0));
    double total = 0.0;
    for (const double value : u) {
      s.push_back(value / length);
      total += std::exp(s.back() / 0.3f);
    }
    for (index_t o = 0; o < out_size; ++o) {
      double wanted = dot(w, o);
      for (std::size_t i = 0; i < u.size(); ++i) {
        const auto better = std::count_if(s.begin(), s.end(), [&](double other) { return other > s[i]; });
        if (better >= 4 || s[i] < 0.05f) continue;
        const bool is_first = i < 3;
        const double b = at(loras.b[is_first ? 0 : 1], o, static_cast<index_t>(is_first ? i : i - 3));
        wanted += std::exp(s[i] / 0.3f) / total * (is_first ? 0.5 : 2.0) * u[i] * b;
      }
      CHECK(at(y, t, o) == Catch::Approx(wanted).margin(1e-5));
    }
  }
}

TEST_CASE("ranks as experts give the same bits for any number of threads, and for rows alone") {
  STATIC_REQUIRE(Experts<RankExperts<>>);
  const RankExperts<> bank(in_size, out_size, Loras(7).matrices());
  CHECK(bank.expert_bytes() == 4 * (in_size + out_size));
  const Matrix x = some_rows(8);
  const RoutingPlan plan = some_plan(9);
  const Matrix base = some_rows(10, out_size);
  const Matrix wanted = applied(bank, plan, x, base);
  for (const index_t n : {2, 3, 8}) {
    ThreadExecutor threads(n);
    CHECK(applied(bank, plan, x, base, threads) == wanted);
  }
  for (index_t t = 0; t < tokens; ++t) {
    RoutingPlan one;
    throw_if_error(one.copy_rows(plan, t, 1));
    Matrix row(1, in_size);
    std::copy_n(x.view().row_data(t), in_size, row.values.begin());
    Matrix y(1, out_size);
    std::copy_n(base.view().row_data(t), out_size, y.values.begin());
    y = applied(bank, one, row, y);
    CHECK(std::equal(y.values.begin(), y.values.end(), wanted.view().row_data(t)));
  }
  RoutingPlan empty;
  empty.clear(ranks);
  CHECK(applied(bank, empty, Matrix(0, in_size), Matrix(0, out_size)) == Matrix(0, out_size));
}

TEST_CASE("ranks as experts that fit nothing are refused, outputs that are not finite are named") {
  const Loras loras(11);
  CHECK_FALSE(RankExperts<>::create(in_size, out_size, {}).has_value());
  CHECK_FALSE(RankExperts<>::create(0, out_size, loras.matrices()).has_value());
  CHECK_FALSE(RankExperts<>::create(in_size, out_size - 1, loras.matrices()).has_value());
  std::vector<LoraMatrices> m = loras.matrices();
  std::swap(m[0].b, m[1].b);
  CHECK_FALSE(RankExperts<>::create(in_size, out_size, m).has_value());

  const RankExperts<> bank(in_size, out_size, loras.matrices());
  Matrix x = some_rows(12);
  std::fill_n(x.view().row_data(5), in_size, 3e38f);
  Matrix y(tokens, out_size);
  Context ctx;
  const Status status = bank.apply(all_at_one(ranks), x.view(), y.view(), ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.token == 5);
  CHECK(y == Matrix(tokens, out_size));
}
