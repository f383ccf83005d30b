#include "headgate/interop/shared_projection.hpp"

#include <random>

#include "support/catch.hpp"
#include "support/reference_moe.hpp"

using namespace headgate;
using reference::Matrix;

namespace {

std::vector<Matrix> random_matrices(index_t count, index_t rows, index_t width, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<Matrix> all;
  for (index_t i = 0; i < count; ++i) all.push_back(Matrix::random(rows, width, 1.0f, rng));
  return all;
}
std::vector<ConstRows> views(const std::vector<Matrix>& matrices) {
  std::vector<ConstRows> all;
  for (const Matrix& matrix : matrices) all.push_back(matrix.view());
  return all;
}
// Sum of the squared differences of A_i B and W_i, of the floats.
double difference(const SharedProjection& shared, const std::vector<Matrix>& matrices) {
  double sum = 0.0;
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    const Matrix& w = matrices[i];
    for (index_t r = 0; r < w.rows; ++r) {
      for (index_t c = 0; c < w.cols; ++c) {
        double value = 0.0;
        for (index_t j = 0; j < shared.rank; ++j) {
          value += static_cast<double>(shared.factors[i][as_size(r * shared.rank + j)]) *
                   static_cast<double>(shared.projection[as_size(j * w.cols + c)]);
        }
        const double d = value - static_cast<double>(w.view().row_data(r)[c]);
        sum += d * d;
      }
    }
  }
  return sum;
}

}  // namespace

TEST_CASE("the error of a shared projection is the spectrum that it leaves out, and falls with its rank") {
  for (const auto& [count, rows, width] : {std::array{5, 7, 13}, {1, 20, 13}, {2, 3, 13}}) {
    const std::vector<Matrix> matrices = random_matrices(count, rows, width, 3);
    double before = std::numeric_limits<double>::infinity();
    for (index_t rank = 1; rank <= 13; ++rank) {
      CAPTURE(count, rows, rank);
      const SharedProjection shared = share_projection(views(matrices), rank).value();
      double left_out = 0.0;
      for (std::size_t i = as_size(rank); i < shared.singular_values.size(); ++i) {
        left_out += shared.singular_values[i] * shared.singular_values[i];
      }
      CHECK(shared.error == Catch::Approx(left_out).margin(1e-20));
      CHECK(difference(shared, matrices) == Catch::Approx(shared.error).epsilon(1e-5).margin(1e-10));
      CHECK(shared.error <= before);
      before = shared.error;
    }
    CHECK(before < 1e-20);  // of the whole width nothing is lost
  }
}

TEST_CASE("the rows of a shared projection are orthonormal, and all of the matrices' squares are in the spectrum") {
  const std::vector<Matrix> matrices = random_matrices(3, 9, 11, 4);
  const SharedProjection shared = share_projection(views(matrices), 5).value();
  for (index_t a = 0; a < 5; ++a) {
    for (index_t b = 0; b < 5; ++b) {
      double dot = 0.0;
      for (index_t c = 0; c < 11; ++c) {
        dot += static_cast<double>(shared.projection[as_size(a * 11 + c)]) *
               static_cast<double>(shared.projection[as_size(b * 11 + c)]);
      }
      CHECK(dot == Catch::Approx(a == b ? 1.0 : 0.0).margin(1e-6));
    }
  }
  double squares = 0.0;
  for (const Matrix& matrix : matrices) {
    for (const float value : matrix.values) squares += static_cast<double>(value) * static_cast<double>(value);
  }
  double spectrum = 0.0;
  for (const double s : shared.singular_values) spectrum += s * s;
  CHECK(spectrum == Catch::Approx(squares).epsilon(1e-12));
}

TEST_CASE("a projection that cannot be shared is refused") {
  const std::vector<Matrix> matrices = random_matrices(2, 3, 4, 5);
  CHECK_FALSE(share_projection({}, 1).has_value());
  CHECK_FALSE(share_projection(views(matrices), 0).has_value());
  CHECK_FALSE(share_projection(views(matrices), 5).has_value());
  std::vector<ConstRows> odd = views(matrices);
  odd[1].cols = 3;
  CHECK_FALSE(share_projection(odd, 1).has_value());
}
