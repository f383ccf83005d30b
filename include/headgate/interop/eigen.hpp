// rows_of(matrix): the rows of an Eigen matrix, without a copy, as everything here takes them: row r of the view is row
// r of the matrix. The matrix is row-major, of float, and outlives the view:
//   Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> gate(experts, width);
//   mixtral_router({.gate = rows_of(gate)}, k)
// Also Map, Ref and blocks, an outer stride included. Eigen's default order is column-major: such a matrix does not
// compile, nor does a temporary, an expression, or a matrix whose elements have gaps.
#pragma once

#include <Eigen/Core>

#include <concepts>
#include <type_traits>

#include "headgate/core/error.hpp"
#include "headgate/core/matrix_view.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class M>
concept EigenDense = std::derived_from<std::remove_const_t<M>, Eigen::DenseBase<std::remove_const_t<M>>>;

// Rows where the matrix can be written through, else ConstRows. Throws Error, usage: more rows or columns than index_t
// counts.
template <EigenDense M>
auto rows_of(M& matrix) {
  static_assert(std::same_as<typename M::Scalar, float>, "rows_of takes matrices of float");
  static_assert(
      M::IsRowMajor,
      "rows_of takes row-major matrices: Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>");
  static_assert((Eigen::internal::traits<std::remove_const_t<M>>::Flags & Eigen::DirectAccessBit) != 0,
                "rows_of takes matrices that lie in memory, no expressions");
  static_assert(M::InnerStrideAtCompileTime == 1, "rows_of takes matrices whose rows have no gaps");
  const auto count = [](Eigen::Index n) {
    if (n > max_index) throw_if_error(Status::mismatch("rows or columns of an Eigen matrix, at most", n, max_index));
    return static_cast<index_t>(n);
  };
  using Element = std::remove_pointer_t<decltype(matrix.data())>;
  return MatrixView<Element>(matrix.data(), count(matrix.rows()), count(matrix.cols()), matrix.outerStride());
}
// A temporary would be gone before its rows are read.
template <EigenDense M>
void rows_of(const M&& matrix) = delete;

}  // namespace headgate::inline HEADGATE_ABI
