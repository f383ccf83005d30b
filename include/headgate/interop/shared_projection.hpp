// share_projection: matrices W_1 ... W_n (rows, width) as products A_i B with one B (rank, width) for all, the nearest
// there are (Liu et al. 2025, "Mixture of Latent Experts", arXiv 2503.23100, section 3.3): B is the first right
// singular vectors of the W one above the other, A_i = W_i B^T. The error is the sum of the squared singular values
// left out (Eckart and Young 1936). Computed in double.
#pragma once

#include <Eigen/SVD>

#include <algorithm>
#include <span>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/core/matrix_view.hpp"

namespace headgate::inline HEADGATE_ABI {

struct SharedProjection {
  index_t rank = 0;
  std::vector<float> projection;            // B (rank, width)
  std::vector<std::vector<float>> factors;  // A_i (rows, rank) each
  std::vector<double> singular_values;      // of all W, descending
  double error = 0.0;                       // sum of all squared differences of A_i B and W_i, before rounding to float
};

// matrices: of one width, at least one. 1 <= rank <= width.
inline Expected<SharedProjection> share_projection(std::span<const ConstRows> matrices, index_t rank) {
  if (matrices.empty()) return Status{ErrorCode::usage, "no matrices to share a projection"};
  const index_t width = matrices.front().cols;
  Eigen::Index rows = 0;
  for (const ConstRows& matrix : matrices) {
    if (Status status = check_view(matrix); !status.ok()) return status;
    if (matrix.cols != width)
      return Status::mismatch("columns of matrices that share a projection", matrix.cols, width);
    rows += matrix.rows;
  }
  if (rank < 1 || rank > width) return Status::mismatch("rank of a shared projection against columns", rank, width);
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Matrix all = Matrix::Zero(std::max<Eigen::Index>(rows, width), width);  // zeros below change no right vector
  Eigen::Index at = 0;
  for (const ConstRows& matrix : matrices) {
    for (index_t r = 0; r < matrix.rows; ++r, ++at) {
      for (index_t c = 0; c < width; ++c) all(at, c) = static_cast<double>(matrix.row_data(r)[c]);
    }
  }
  const Eigen::BDCSVD<Matrix> svd(all, Eigen::ComputeThinV);
  const Matrix basis = svd.matrixV().leftCols(rank).transpose();

  SharedProjection shared;
  shared.rank = rank;
  for (Eigen::Index i = 0; i < svd.singularValues().size(); ++i) {
    shared.singular_values.push_back(svd.singularValues()(i));
    if (i >= rank) shared.error += svd.singularValues()(i) * svd.singularValues()(i);
  }
  for (Eigen::Index i = 0; i < basis.size(); ++i) shared.projection.push_back(static_cast<float>(basis.data()[i]));
  at = 0;
  for (const ConstRows& matrix : matrices) {
    const Matrix factor = all.middleRows(at, matrix.rows) * basis.transpose();
    at += matrix.rows;
    std::vector<float>& out = shared.factors.emplace_back();
    for (Eigen::Index i = 0; i < factor.size(); ++i) out.push_back(static_cast<float>(factor.data()[i]));
  }
  return shared;
}

}  // namespace headgate::inline HEADGATE_ABI
