#include "headgate/layers/compressed_experts.hpp"

#include "headgate/experts/glu_experts.hpp"
#include "support/applied.hpp"

using namespace headgate;
using reference::applied;
using reference::Matrix;

namespace {

constexpr GluShape shape{.num_experts = 5, .hidden_size = 26, .ffn_size = 7};

GluExperts<> bank() { return GluExperts<>(shape, reference::Bank(shape, 1).matrices()); }
CompressedExperts<GluExperts<>> compressed(index_t main_k, const Matrix& theta) {
  return CompressedExperts<GluExperts<>>::create(bank(), main_k, theta.view()).value();
}
// Rows of 0 to 5 experts with positive weights.
RoutingPlan some_plan() {
  RoutingPlan plan;
  const RoutingPlan signs = reference::random_plan(11, 5, [](index_t t) { return t % 6; }, 3);
  plan.clear(5);
  for (index_t t = 0; t < signs.tokens(); ++t) {
    std::vector<float> weights(signs.weights(t).begin(), signs.weights(t).end());
    for (float& w : weights) w += 0.75f;
    throw_if_error(plan.append_row(signs.experts(t), weights));
  }
  return plan;
}

}  // namespace

TEST_CASE("paper_ compressed experts scale the input of the main ones, element by element") {
  std::mt19937 rng(5);
  const Matrix theta = Matrix::random(5, 26, 2.0f, rng);
  const Matrix x = Matrix::random(11, 26, 1.0f, rng);
  const RoutingPlan plan = some_plan();
  for (const index_t main_k : {1, 2, 4}) {
    CAPTURE(main_k);
    const Matrix y = applied(compressed(main_k, theta), plan, x);
    // Each row by itself, in double up to the experts.
    for (index_t t = 0; t < x.rows; ++t) {
      const auto ids = plan.experts(t);
      const auto weights = plan.weights(t);
      Matrix one(1, 26);
      double total = 0.0;
      for (std::size_t i = as_size(main_k); i < ids.size(); ++i) total += static_cast<double>(weights[i]);
      for (index_t c = 0; c < 26; ++c) {
        double factor = ids.size() > as_size(main_k) ? 0.0 : 1.0;
        for (std::size_t i = as_size(main_k); i < ids.size(); ++i) {
          factor += static_cast<double>(weights[i]) / total * static_cast<double>(theta.view().row_data(ids[i])[c]);
        }
        one.values[as_size(c)] = static_cast<float>(factor * static_cast<double>(x.view().row_data(t)[c]));
      }
      RoutingPlan main_plan;
      main_plan.clear(5);
      const std::size_t k = std::min(ids.size(), as_size(main_k));
      throw_if_error(main_plan.append_row(ids.first(k), weights.first(k)));
      const Matrix wanted = applied(bank(), main_plan, one);
      for (index_t c = 0; c < 26; ++c) {
        CHECK(y.view().row_data(t)[c] == Catch::Approx(wanted.values[as_size(c)]).margin(2e-6));
      }
    }
  }
}

TEST_CASE("compressed experts of ones, and none at all, are the layer of the main experts") {
  std::mt19937 rng(6);
  const Matrix x = Matrix::random(11, 26, 1.0f, rng);
  const RoutingPlan plan = some_plan();
  RoutingPlan main_plan;
  RoutingPlan others;
  throw_if_error(split_by_rank(plan, 2, main_plan, others));
  const Matrix wanted = applied(bank(), main_plan, x);
  const Matrix ones = applied(compressed(2, Matrix(5, 26, 1.0f)), plan, x);
  for (std::size_t i = 0; i < wanted.values.size(); ++i) {
    CHECK(ones.values[i] == Catch::Approx(wanted.values[i]).margin(1e-6));
  }
  const Matrix theta = Matrix::random(5, 26, 2.0f, rng);
  CHECK(applied(compressed(5, theta), plan, x) == applied(bank(), plan, x));
  CHECK(applied(compressed(2, theta), main_plan, x) == wanted);
  RoutingPlan empty;
  empty.clear(5);
  CHECK(applied(compressed(1, theta), empty, Matrix(0, 26)) == Matrix(0, 26));
}

TEST_CASE("compressed experts give the same bits for any number of threads, and for rows alone") {
  std::mt19937 rng(7);
  const Matrix theta = Matrix::random(5, 26, 2.0f, rng);
  const Matrix x = Matrix::random(11, 26, 1.0f, rng);
  const RoutingPlan plan = some_plan();
  const auto experts = compressed(2, theta);
  reference::check_rows_and_threads(experts, plan, x);
}

TEST_CASE("compressed experts that fit no bank, or weigh nothing, are refused") {
  using Bank = CompressedExperts<GluExperts<>>;
  const Matrix theta(5, 26, 1.0f);
  CHECK_FALSE(Bank::create(bank(), 0, theta.view()).has_value());
  CHECK_FALSE(Bank::create(bank(), 1, Matrix(4, 26, 1.0f).view()).has_value());
  CHECK_FALSE(Bank::create(bank(), 1, Matrix(5, 25, 1.0f).view()).has_value());
  CHECK_FALSE(Bank::create(bank(), 1, Matrix(5, 26, std::numeric_limits<float>::infinity()).view()).has_value());
  RoutingPlan plan;
  plan.clear(5);
  throw_if_error(plan.append_row(std::vector<ExpertId>{1}, std::vector<float>{1.0f}));
  throw_if_error(plan.append_row(std::vector<ExpertId>{3, 1, 2}, std::vector<float>{1.0f, 0.5f, -0.5f}));
  Context ctx;
  const Matrix x(2, 26, 1.0f);
  Matrix y(2, 26);
  const Status status = compressed(1, theta).apply(plan, x.view(), y.view(), ctx);
  CHECK(status.code == ErrorCode::usage);
  CHECK(status.token == 1);
}
