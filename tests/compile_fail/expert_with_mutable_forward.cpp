// Experts are shared by threads and sessions: forward is const.
// expect: expert\.forward\(
#include "headgate/experts/per_expert.hpp"

struct Twice {
#ifdef HEADGATE_COMPILE_FAIL
  void forward(headgate::ConstRows in, headgate::Rows out) { out.data[0] = 2.0f * in.data[0]; }
#else
  void forward(headgate::ConstRows in, headgate::Rows out) const { out.data[0] = 2.0f * in.data[0]; }
#endif
};

headgate::index_t size(const headgate::PerExpert<Twice>& bank) { return bank.num_experts(); }
