// A matrix whose format is chosen at run time has no format until one is given; nothing is f32 in silence.
// expect: AnyFormat
#include "headgate/kernels/panel16.hpp"

headgate::Panel16<headgate::AnyFormat> zeros(headgate::index_t rows, headgate::index_t cols) {
#ifdef HEADGATE_COMPILE_FAIL
  return {rows, cols};
#else
  return {rows, cols, headgate::Bf16{}};
#endif
}
