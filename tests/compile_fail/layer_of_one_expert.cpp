// The second half of a layer is a bank: something that applies a plan. One expert is none; PerExpert makes one of many.
// expect: bank\.apply\(
#include "headgate/experts/experts.hpp"

struct Twice {
  headgate::index_t num_experts() const noexcept { return 1; }
  headgate::index_t hidden_size() const noexcept { return 1; }
  std::int64_t expert_bytes() const noexcept { return 0; }
#ifdef HEADGATE_COMPILE_FAIL
  void forward(headgate::ConstRows in, headgate::Rows out) const { out.data[0] = 2.0f * in.data[0]; }
#else
  headgate::Status apply(const headgate::RoutingPlan&, headgate::ConstRows x, headgate::Rows y,
                         headgate::Context&) const {
    y.data[0] += 2.0f * x.data[0];
    return headgate::Status::success();
  }
#endif
};

static_assert(headgate::Experts<Twice>);
