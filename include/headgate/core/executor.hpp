// Executor: how a caller lends threads. size() says how many tasks may run at once; run(n, task) calls task(0) ...
// task(n - 1), each once, and returns when all are done. Results never depend on size() or on who runs what.
// An exception that leaves a task reaches the caller of run.
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

// A callable task(index_t) that outlives the call it is passed to. Two pointers, no allocation.
class TaskRef {
 public:
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, TaskRef> && std::invocable<F&, index_t>)
  TaskRef(F&& task) noexcept  // NOLINT(google-explicit-constructor)
      : object_(const_cast<void*>(static_cast<const void*>(&task))),
        call_([](void* object, index_t i) { (*static_cast<std::remove_reference_t<F>*>(object))(i); }) {}
  void operator()(index_t i) const { call_(object_, i); }

 private:
  void* object_;
  void (*call_)(void*, index_t);
};

template <class E>
concept Executor = requires(E& executor, const E& constant, index_t n, TaskRef task) {
  { constant.size() } noexcept -> std::integral;
  executor.run(n, task);
};

struct SerialExecutor {
  index_t size() const noexcept { return 1; }
  void run(index_t n, TaskRef task) {
    for (index_t i = 0; i < n; ++i) task(i);
  }
};
static_assert(Executor<SerialExecutor>);

// Any executor, by reference: the executor outlives the reference.
class ExecutorRef {
 public:
  ExecutorRef() noexcept = default;  // serial
  template <Executor E>
    requires(!std::same_as<E, ExecutorRef>)
  ExecutorRef(E& executor) noexcept  // NOLINT(google-explicit-constructor)
      : object_(&executor),
        size_([](const void* object) { return limited(static_cast<const E*>(object)->size()); }),
        run_([](void* object, index_t n, TaskRef task) { static_cast<E*>(object)->run(n, task); }) {}

  // 1 to 65,536, whatever the executor says: work is cut into so many slices, and must not vanish between them.
  index_t size() const noexcept { return object_ == nullptr ? 1 : size_(object_); }
  void run(index_t n, TaskRef task) const {
    if (object_ == nullptr || n <= 1) {
      SerialExecutor{}.run(n, task);
    } else {
      run_(object_, n, task);
    }
  }

 private:
  static constexpr index_t limited(std::integral auto size) noexcept {
    constexpr index_t most = 1 << 16;
    return std::cmp_less(size, 1) ? 1 : std::cmp_greater(size, most) ? most : static_cast<index_t>(size);
  }

  void* object_ = nullptr;
  index_t (*size_)(const void*) = nullptr;
  void (*run_)(void*, index_t, TaskRef) = nullptr;
};

}  // namespace headgate::inline HEADGATE_ABI
