#include "headgate/core/context.hpp"

#include <atomic>
#include <cfenv>
#include <stdexcept>

#include "support/catch.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;

namespace {

// Whether float additions round up; std::fegetround need not know the register that they obey.
bool rounds_up() {
  volatile float one = 1.0f;
  volatile float tiny = 1e-10f;
  volatile float sum = one + tiny;  // stored, so that the addition is not moved to where the modes are others
  return sum > 1.0f;
}

}  // namespace

TEST_CASE("a context is serial unless threads are lent") {
  Context ctx;
  CHECK(ctx.slices(5) == 1);
  CHECK(ctx.slices(0) == 0);
  ThreadExecutor threads(3);
  Context parallel(threads);
  CHECK(parallel.slices(5) == 3);
  CHECK(parallel.slices(2) == 2);
}

TEST_CASE("every task runs once, in our floating-point modes, whatever the caller's are") {
  ThreadExecutor threads(3);
  for (const bool parallel : {false, true}) {
    Context ctx = parallel ? Context(threads) : Context();
    std::vector<std::atomic<int>> runs(10);
    std::fesetround(FE_UPWARD);
    ctx.parallel(10, [&](index_t i) { runs[as_size(i)] += rounds_up() ? 100 : 1; });
    const bool still_up = rounds_up();
    std::fesetround(FE_TONEAREST);
    CHECK(still_up);
    for (const std::atomic<int>& count : runs) CHECK(count == 1);
  }
}

TEST_CASE("an exception of a task reaches the caller") {
  ThreadExecutor threads(3);
  Context ctx(threads);
  CHECK_THROWS_AS(ctx.parallel(7,
                               [](index_t i) {
                                 if (i == 5) throw std::runtime_error("task 5");
                               }),
                  std::runtime_error);
}

TEST_CASE("slices cover everything once, in order, and differ by one at most") {
  for (const index_t count : {0, 1, 7, 100, std::numeric_limits<index_t>::max()}) {
    for (const index_t n : {1, 2, 3, 7, 64}) {
      index_t next = 0;
      for (index_t i = 0; i < n; ++i) {
        const Slice slice = Slice::of(count, n, i);
        CHECK(slice.first == next);
        const index_t more = slice.last - slice.first - count / n;
        CHECK((more == 0 || more == 1));
        next = slice.last;
      }
      CHECK(next == count);
    }
  }
}
