// A column-major matrix has no rows to look at.
// expect: rows_of takes row-major matrices
#include "headgate/interop/eigen.hpp"

#ifdef HEADGATE_COMPILE_FAIL
using Matrix = Eigen::MatrixXf;
#else
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
#endif

headgate::ConstRows look_at(const Matrix& matrix) { return headgate::rows_of(matrix); }
