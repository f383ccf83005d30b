// A context refers to its executor.
// expect: no matching (function|constructor)|cannot bind
#include "headgate/core/context.hpp"
#include "headgate/core/thread_pool.hpp"

using namespace headgate;

void make() {
#ifdef HEADGATE_COMPILE_FAIL
  const Context ctx(ThreadPool(4));
  static_cast<void>(ctx.slices(2));
#else
  ThreadPool pool(4);
  const Context ctx(pool);
  static_cast<void>(ctx.slices(2));
#endif
}
