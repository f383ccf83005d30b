// Log-probabilities refer to their logits.
// expect: use of deleted function|call to deleted
#include "headgate/sampling/log_softmax.hpp"

using namespace headgate;

std::vector<float> logits() { return {1.0f, 2.0f}; }

double best() {
#ifdef HEADGATE_COMPILE_FAIL
  const LogSoftmax log_softmax(logits());
#else
  const std::vector<float> kept = logits();
  const LogSoftmax log_softmax(kept);
#endif
  return log_softmax[1];
}
