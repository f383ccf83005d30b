#include "headgate/experts/latent_experts.hpp"

#include "headgate/experts/glu_experts.hpp"
#include "support/applied.hpp"

using namespace headgate;
using reference::applied;
using reference::Matrix;

namespace {

constexpr LatentShape shape{
    .num_experts = 6, .group_size = 3, .hidden_size = 26, .latent_size = 11, .ffn_size = 7, .activation = {}};

struct Weights {
  explicit Weights(const LatentShape& s, unsigned seed) {
    std::mt19937 rng(seed);
    for (index_t g = 0; g < 2 * s.num_experts / s.group_size; ++g) {
      projections.push_back(Matrix::random(s.latent_size, s.hidden_size, 0.4f, rng));
    }
    for (index_t e = 0; e < s.num_experts; ++e) {
      matrices.push_back(Matrix::random(s.ffn_size, s.latent_size, 0.5f, rng));
      matrices.push_back(Matrix::random(s.ffn_size, s.latent_size, 0.5f, rng));
      matrices.push_back(Matrix::random(s.hidden_size, s.ffn_size, 0.5f, rng));
    }
  }
  std::vector<LatentProjections> groups() const {
    std::vector<LatentProjections> all;
    for (std::size_t g = 0; g < projections.size(); g += 2) {
      all.push_back({projections[g].view(), projections[g + 1].view()});
    }
    return all;
  }
  std::vector<LatentMatrices> experts() const {
    std::vector<LatentMatrices> all;
    for (std::size_t e = 0; e < matrices.size(); e += 3) {
      all.push_back({matrices[e].view(), matrices[e + 1].view(), matrices[e + 2].view()});
    }
    return all;
  }
  std::vector<Matrix> projections;
  std::vector<Matrix> matrices;
};
LatentExperts<> bank_of(const LatentShape& s, const Weights& weights) {
  return LatentExperts<>::create(s, weights.groups(), weights.experts()).value();
}
RoutingPlan some_plan(index_t tokens) {
  return reference::random_plan(tokens, 6, [](index_t t) { return t % 7; }, 3);
}
// W v in double.
std::vector<double> product_of(const Matrix& w, const std::vector<double>& v) {
  std::vector<double> out;
  for (index_t r = 0; r < w.rows; ++r) {
    double sum = 0.0;
    for (index_t c = 0; c < w.cols; ++c) sum += static_cast<double>(w.view().row_data(r)[c]) * v[as_size(c)];
    out.push_back(sum);
  }
  return out;
}

}  // namespace

TEST_CASE("paper_ latent experts are gated experts behind the projections of their group") {
  const Weights weights(shape, 1);
  std::mt19937 rng(2);
  const Matrix x = Matrix::random(15, 26, 1.0f, rng);
  const RoutingPlan plan = some_plan(15);
  const Matrix y = applied(bank_of(shape, weights), plan, x);
  for (index_t t = 0; t < x.rows; ++t) {
    std::vector<double> row;
    for (index_t c = 0; c < 26; ++c) row.push_back(static_cast<double>(x.view().row_data(t)[c]));
    std::vector<double> wanted(26, 0.0);
    for (std::size_t i = 0; i < plan.experts(t).size(); ++i) {
      const auto e = as_size(plan.experts(t)[i]);
      const std::size_t g = e / 3;
      std::vector<double> h = product_of(weights.matrices[3 * e], product_of(weights.projections[2 * g], row));
      const std::vector<double> up =
          product_of(weights.matrices[3 * e + 1], product_of(weights.projections[2 * g + 1], row));
      for (std::size_t j = 0; j < h.size(); ++j) h[j] = reference::activate({}, h[j]) * up[j];
      const std::vector<double> out = product_of(weights.matrices[3 * e + 2], h);
      for (std::size_t c = 0; c < out.size(); ++c) wanted[c] += static_cast<double>(plan.weights(t)[i]) * out[c];
    }
    for (std::size_t c = 0; c < wanted.size(); ++c) {
      CHECK(static_cast<double>(y.view().row_data(t)[c]) == Catch::Approx(wanted[c]).margin(2e-5));
    }
  }
}

TEST_CASE("latent experts of full size behind identities are plain experts") {
  const LatentShape full{
      .num_experts = 4, .group_size = 2, .hidden_size = 13, .latent_size = 13, .ffn_size = 5, .activation = {}};
  Weights weights(full, 4);
  for (Matrix& projection : weights.projections) {
    projection = Matrix(13, 13);
    for (std::size_t i = 0; i < 13; ++i) projection.values[14 * i] = 1.0f;
  }
  std::vector<GluMatrices> plain;
  for (const LatentMatrices& m : weights.experts()) plain.push_back({m.gate, m.up, m.down});
  const GluExperts<> bank(GluShape{.num_experts = 4, .hidden_size = 13, .ffn_size = 5}, plain);
  std::mt19937 rng(5);
  const Matrix x = Matrix::random(8, 13, 1.0f, rng);
  const RoutingPlan plan = reference::random_plan(8, 4, [](index_t t) { return t % 5; }, 6);
  CHECK(applied(bank_of(full, weights), plan, x) == applied(bank, plan, x));
}

TEST_CASE("latent experts give the same bits for any number of threads, and for rows alone") {
  const LatentExperts<> bank = bank_of(shape, Weights(shape, 7));
  STATIC_REQUIRE(Experts<LatentExperts<>>);
  CHECK(bank.expert_bytes() > 0);
  std::mt19937 rng(8);
  const Matrix x = Matrix::random(29, 26, 1.0f, rng);
  const RoutingPlan plan = some_plan(29);
  reference::check_rows_and_threads(bank, plan, x);
}

TEST_CASE("latent experts that do not fit their shape are refused, numbers that are not finite are named") {
  const Weights weights(shape, 9);
  const auto refused = [&](LatentShape s) {
    return !LatentExperts<>::create(s, weights.groups(), weights.experts()).has_value();
  };
  LatentShape other = shape;
  other.group_size = 4;
  CHECK(refused(other));
  other = shape;
  other.latent_size = 12;
  CHECK(refused(other));
  other = shape;
  other.ffn_size = 0;
  CHECK(refused(other));
  other = shape;
  other.num_experts = 9;
  CHECK(refused(other));
  const std::vector<LatentProjections> groups = weights.groups();
  CHECK_FALSE(LatentExperts<>::create(shape, std::span(groups).first(1), weights.experts()).has_value());

  Matrix x(2, 26, 1.0f);
  x.values[27] = std::numeric_limits<float>::quiet_NaN();
  Matrix y(2, 26);
  Context ctx;
  RoutingPlan plan;
  plan.clear(6);
  throw_if_error(plan.append_row(std::vector<ExpertId>{0}, std::vector<float>{1.0f}));
  throw_if_error(plan.append_row(std::vector<ExpertId>{5}, std::vector<float>{1.0f}));
  const Status status = bank_of(shape, weights).apply(plan, x.view(), y.view(), ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.token == 1);
}
