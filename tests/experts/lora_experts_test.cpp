#include "headgate/experts/lora_experts.hpp"

#include "headgate/kernels/formats/bf16.hpp"
#include "support/applied.hpp"

using namespace headgate;
using reference::applied;
using reference::Matrix;

namespace {

constexpr index_t in_size = 26;
constexpr index_t out_size = 14;
constexpr index_t tokens = 23;

// Five experts of ranks 1, 3, 16, 17, 4.
struct Adapters {
  explicit Adapters(unsigned seed, index_t out = out_size) {
    std::mt19937 rng(seed);
    for (const index_t rank : {1, 3, 16, 17, 4}) {
      a.push_back(Matrix::random(rank, in_size, 0.4f, rng));
      b.push_back(Matrix::random(out, rank, 0.4f, rng));
    }
  }
  std::vector<LoraMatrices> matrices() const {
    std::vector<LoraMatrices> all;
    for (std::size_t e = 0; e < a.size(); ++e) {
      all.push_back({a[e].view(), b[e].view(), 0.5f + 0.25f * static_cast<float>(e)});
    }
    return all;
  }
  std::vector<Matrix> a;
  std::vector<Matrix> b;
};
RoutingPlan some_plan(unsigned seed) {
  return reference::random_plan(tokens, 5, [](index_t t) { return t % 6; }, seed);
}
Matrix some_rows(unsigned seed) {
  std::mt19937 rng(seed);
  return Matrix::random(tokens, in_size, 1.0f, rng);
}
double entry(const Matrix& m, index_t r, index_t c) { return static_cast<double>(m.view().row_data(r)[c]); }

}  // namespace

TEST_CASE("low-rank experts add weight times scale times B A x to rows of another width") {
  const Adapters adapters(1);
  const std::vector<LoraMatrices> matrices = adapters.matrices();
  const LoraExperts<> bank(in_size, out_size, matrices);
  CHECK(bank.num_experts() == 5);
  CHECK(bank.rank(3) == 17);
  CHECK(bank.bytes() >= bank.expert_bytes());
  const Matrix x = some_rows(2);
  const RoutingPlan plan = some_plan(3);
  std::mt19937 rng(4);
  const Matrix base = Matrix::random(tokens, out_size, 1.0f, rng);
  const Matrix y = applied(bank, plan, x, base);
  for (index_t t = 0; t < tokens; ++t) {
    for (index_t o = 0; o < out_size; ++o) {
      double wanted = entry(base, t, o);
      for (std::size_t i = 0; i < plan.experts(t).size(); ++i) {
        const auto e = as_size(plan.experts(t)[i]);
        double sum = 0.0;
        for (index_t j = 0; j < adapters.a[e].rows; ++j) {
          double h = 0.0;
          for (index_t c = 0; c < in_size; ++c) h += entry(adapters.a[e], j, c) * entry(x, t, c);
          sum += entry(adapters.b[e], o, j) * h;
        }
        wanted += static_cast<double>(plan.weights(t)[i]) * static_cast<double>(matrices[e].scale) * sum;
      }
      CHECK(static_cast<double>(y.view().row_data(t)[o]) == Catch::Approx(wanted).margin(1e-5));
    }
  }
}

TEST_CASE("low-rank experts with B of zeros, and those of empty rows, leave every bit as it was") {
  Adapters adapters(5);
  for (Matrix& b : adapters.b) b = Matrix(b.rows, b.cols);
  std::mt19937 rng(6);
  const Matrix base = Matrix::random(tokens, out_size, 1.0f, rng);
  CHECK(applied(LoraExperts<>(in_size, out_size, adapters.matrices()), some_plan(7), some_rows(8), base) == base);
  RoutingPlan empty;
  empty.clear(5);
  for (index_t t = 0; t < tokens; ++t) throw_if_error(empty.append_row({}, {}));
  CHECK(applied(LoraExperts<>(in_size, out_size, Adapters(9).matrices()), empty, some_rows(8), base) == base);
  empty.clear(5);
  const LoraExperts<> bank(in_size, out_size, Adapters(9).matrices());
  CHECK(applied(bank, empty, Matrix(0, in_size), Matrix(0, out_size)) == Matrix(0, out_size));
}

TEST_CASE("low-rank experts that are merged into a matrix give what they give beside it") {
  const LoraExperts<> bank(in_size, out_size, Adapters(10).matrices());
  std::mt19937 rng(11);
  Matrix w = Matrix::random(out_size, in_size, 0.3f, rng);
  const Matrix x = some_rows(12);
  const std::vector<ExpertId> ids{0, 1, 2, 3, 4};
  const std::vector<float> weights{0.5f, -1.0f, 0.25f, 2.0f, 1.0f};
  RoutingPlan plan;
  plan.clear(5);
  for (index_t t = 0; t < tokens; ++t) throw_if_error(plan.append_row(ids, weights));
  Matrix y(tokens, out_size);
  Context ctx;
  product(Panel16<F32>(w.view()).view(), x.view(), y.view(), ctx);
  y = applied(bank, plan, x, y);
  for (const ExpertId e : ids) throw_if_error(bank.merge(e, weights[as_size(e)], w.view()));
  Matrix merged(tokens, out_size);
  product(Panel16<F32>(w.view()).view(), x.view(), merged.view(), ctx);
  for (std::size_t i = 0; i < y.values.size(); ++i) {
    CHECK(merged.values[i] == Catch::Approx(y.values[i]).margin(3e-5));
  }
  CHECK_FALSE(bank.merge(5, 1.0f, w.view()).ok());
  CHECK_FALSE(bank.merge(0, 1.0f, y.view()).ok());
}

TEST_CASE("low-rank experts give the same bits for any number of threads, and for rows alone") {
  const LoraExperts<> bank(in_size, out_size, Adapters(13).matrices());
  const Matrix x = some_rows(14);
  const RoutingPlan plan = some_plan(15);
  const Matrix wanted = applied(bank, plan, x, Matrix(tokens, out_size));
  for (const index_t n : {2, 3, 8}) {
    ThreadExecutor threads(n);
    CHECK(applied(bank, plan, x, Matrix(tokens, out_size), threads) == wanted);
  }
  for (index_t t = 0; t < tokens; ++t) {
    RoutingPlan one;
    throw_if_error(one.copy_rows(plan, t, 1));
    Matrix row(1, in_size);
    std::copy_n(x.view().row_data(t), in_size, row.values.begin());
    const Matrix y = applied(bank, one, row, Matrix(1, out_size));
    CHECK(std::equal(y.values.begin(), y.values.end(), wanted.view().row_data(t)));
  }
}

TEST_CASE("low-rank experts as wide as their input are a bank of a layer, and take bfloat16") {
  STATIC_REQUIRE(Experts<LoraExperts<>>);
  const Adapters adapters(16, in_size);
  const Matrix x = some_rows(17);
  const RoutingPlan plan = some_plan(18);
  const Matrix y = applied(LoraExperts<>(in_size, in_size, adapters.matrices()), plan, x, Matrix(tokens, in_size));
  const Matrix rounded =
      applied(LoraExperts<Bf16>(in_size, in_size, adapters.matrices()), plan, x, Matrix(tokens, in_size));
  float most = 0.0f;
  for (std::size_t i = 0; i < y.values.size(); ++i) most = std::max(most, std::abs(y.values[i] - rounded.values[i]));
  CHECK(most > 0.0f);
  CHECK(most < 0.1f);
}

TEST_CASE("low-rank experts that fit nothing are refused, numbers that are not finite are named") {
  const Adapters adapters(19);
  const auto refused = [](std::vector<LoraMatrices> m, index_t in = in_size, index_t out = out_size) {
    return !LoraExperts<>::create(in, out, m).has_value();
  };
  std::vector<LoraMatrices> m = adapters.matrices();
  CHECK_FALSE(refused(m));
  CHECK(refused(m, in_size + 1));
  CHECK(refused(m, in_size, out_size + 1));
  CHECK(refused({}, 0));
  std::swap(m[1].b, m[2].b);
  CHECK(std::string(LoraExperts<>::create(in_size, out_size, m).error().what()).ends_with("expert 1"));
  m = adapters.matrices();
  m[4].scale = std::numeric_limits<float>::infinity();
  CHECK(LoraExperts<>::create(in_size, out_size, m).error().code() == ErrorCode::numeric);
  m[4].a.rows = m[4].b.cols = 0;
  CHECK(refused(m));

  Matrix x = some_rows(20);
  x.values[as_size(3 * in_size + 1)] = std::numeric_limits<float>::quiet_NaN();
  Matrix y(tokens, out_size);
  Context ctx;
  const LoraExperts<> bank(in_size, out_size, adapters.matrices());
  Status status = bank.apply(some_plan(21), x.view(), y.view(), ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.token == 3);
  x = Matrix(tokens, in_size, 3e38f);
  status = bank.apply(some_plan(21), x.view(), y.view(), ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.expert >= 0);
  x = some_rows(20);
  CHECK(bank.apply(some_plan(21), x.view(), Matrix(tokens, in_size).view(), ctx).code == ErrorCode::usage);
}
