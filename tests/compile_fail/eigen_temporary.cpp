// The rows of a temporary would be gone before they are read.
// expect: deleted function
#include "headgate/interop/eigen.hpp"

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
Matrix make();

headgate::index_t count() {
#ifdef HEADGATE_COMPILE_FAIL
  return headgate::rows_of(make()).rows;
#else
  Matrix matrix = make();
  return headgate::rows_of(matrix).rows;
#endif
}
