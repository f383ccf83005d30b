// A sum that is not computed yet lies nowhere.
// expect: no expressions
#include "headgate/interop/eigen.hpp"

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

headgate::index_t count(const Matrix& a, const Matrix& b) {
#ifdef HEADGATE_COMPILE_FAIL
  const auto sum = a + b;
#else
  const Matrix sum = a + b;
#endif
  return headgate::rows_of(sum).rows;
}
