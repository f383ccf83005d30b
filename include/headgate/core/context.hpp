// Context: what a caller lends to one call at a time: threads and scratch memory.
#pragma once

#include "headgate/core/executor.hpp"
#include "headgate/core/float_modes.hpp"
#include "headgate/core/status.hpp"
#include "headgate/core/workspace.hpp"

namespace headgate::inline HEADGATE_ABI {

class Context {
 public:
  Context() = default;  // serial
  explicit Context(ExecutorRef threads) noexcept : executor(threads) {}

  ExecutorRef executor;
  Workspace workspace;

  // Calls task(0) ... task(n - 1) on the executor's threads, each in our floating-point modes.
  template <class F>
  void parallel(index_t n, F&& task) {
    executor.run(n, [&task](index_t i) {
      const FloatModes modes;
      task(i);
    });
  }
  // The same with tasks that may fail: task(i) -> Status. The failure that names the lowest token, the first of these.
  template <class F>
  Status try_parallel(index_t n, F&& task) {
    const Workspace::Mark mark(workspace);
    const std::span<Status> outcomes = workspace.take<Status>(n);
    parallel(n, [&](index_t i) { outcomes[static_cast<std::size_t>(i)] = task(i); });
    Status first;
    for (const Status& outcome : outcomes) {
      if (!outcome.ok() && (first.ok() || outcome.token < first.token)) first = outcome;
    }
    return first;
  }
  // How many slices work of `units` indivisible parts should be cut into: one a thread, none of them empty.
  index_t slices(index_t units) const noexcept {
    const index_t size = executor.size();
    return units < size ? units : size;
  }
};

// Part i of `count` units cut into n nearly equal slices: [first, last).
struct Slice {
  index_t first;
  index_t last;
  static constexpr Slice of(index_t count, index_t n, index_t i) noexcept {
    const auto cut = [&](std::int64_t j) { return static_cast<index_t>(j * count / n); };
    return {cut(i), cut(i + 1)};
  }
};

}  // namespace headgate::inline HEADGATE_ABI
