#include "headgate/core/executor.hpp"

#include <stdexcept>
#include <vector>

#include "support/catch.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;

namespace {

// Runs tasks backwards, and counts its runs.
struct Backwards {
  int runs = 0;
  index_t size() const noexcept { return 5; }
  void run(index_t n, TaskRef task) {
    ++runs;
    for (index_t i = n; i > 0; --i) task(i - 1);
  }
};

std::vector<index_t> order_of(ExecutorRef executor, index_t n) {
  std::vector<index_t> order;
  executor.run(n, [&](index_t i) { order.push_back(i); });
  return order;
}

}  // namespace

TEST_CASE("without an executor tasks run in order on the calling thread") {
  CHECK(ExecutorRef().size() == 1);
  CHECK(order_of({}, 4) == std::vector<index_t>{0, 1, 2, 3});
  CHECK(order_of({}, 0).empty());
  SerialExecutor serial;
  CHECK(ExecutorRef(serial).size() == 1);
  CHECK(order_of(serial, 3) == std::vector<index_t>{0, 1, 2});
}

TEST_CASE("a caller's executor runs the tasks, except a single one, for which no thread is woken") {
  Backwards backwards;
  const ExecutorRef reference = backwards;
  CHECK(reference.size() == 5);
  CHECK(order_of(reference, 3) == std::vector<index_t>{2, 1, 0});
  CHECK(backwards.runs == 1);
  CHECK(order_of(reference, 1) == std::vector<index_t>{0});
  CHECK(backwards.runs == 1);
}

TEST_CASE("tasks may be const or not, and what they throw arrives") {
  int sum = 0;
  const auto add = [&sum](index_t i) { sum += i; };
  const TaskRef adding(add);
  adding(3);
  auto count = [calls = 0](index_t) mutable { ++calls; };
  const TaskRef task(count);
  task(0);
  task(1);
  CHECK(sum == 3);
  ThreadExecutor threads(2);
  CHECK_THROWS_WITH(ExecutorRef(threads).run(4,
                                             [](index_t i) {
                                               if (i == 3) throw std::runtime_error("third");
                                             }),
                    "third");
}

TEST_CASE("an executor is asked for two tasks and more, and for none nobody is") {
  Backwards backwards;
  const ExecutorRef reference = backwards;
  CHECK(order_of(reference, 0).empty());
  CHECK(backwards.runs == 0);
  CHECK(order_of(reference, 2) == std::vector<index_t>{1, 0});
  CHECK(backwards.runs == 1);
}
