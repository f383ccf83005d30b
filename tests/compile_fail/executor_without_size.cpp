// An executor says how many tasks may run at once.
// expect: size
#include "headgate/core/executor.hpp"

struct Threads {
#ifndef HEADGATE_COMPILE_FAIL
  headgate::index_t size() const noexcept { return 1; }
#endif
  void run(headgate::index_t n, headgate::TaskRef task) {
    for (headgate::index_t i = 0; i < n; ++i) task(i);
  }
};

headgate::index_t lend(Threads& threads) { return headgate::ExecutorRef(threads).size(); }
