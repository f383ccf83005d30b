// ThreadPool: an executor of our own. The calling thread takes part, so a pool of n starts n - 1 threads, when it is
// made and never later. Tasks are tickets on one counter: whoever is free takes the next, and a run is over when its
// tasks are, whether or not every thread woke up for it. Idle threads spin, then yield, then sleep.
//
// A run from inside a task, or while another thread's run is under way, does its tasks on its own thread. The first
// exception that leaves a task reaches the caller; tasks not yet begun are then left out. The pool stays usable.
//
// fork() copies a pool without its threads: in the child a run does its tasks on its own thread, and nothing is joined.
// Only a child that was forked from inside a task must not return from that task: the run has lost its other threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif
#if !defined(__linux__)
#include <chrono>
#endif

#include "headgate/core/available_threads.hpp"
#include "headgate/core/executor.hpp"

namespace headgate::inline HEADGATE_ABI {

class ThreadPool {
 public:
  // At least one thread, the caller's, at most 65,536. Where the system refuses more, the pool is smaller, as size()
  // says (without exceptions, the standard library ends the program there).
  explicit ThreadPool(index_t threads) {
    threads = std::min(threads, most_threads);
    workers_.reserve(as_size(threads > 1 ? threads - 1 : 0));
    for (index_t i = 1; i < threads; ++i) {
      if (!start()) break;
    }
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() {
    tickets_.store(closing);
    tickets_.notify_all();
    for (std::thread& worker : workers_) {
      if (process_ == process_id()) {
        worker.join();
      } else {
        std::construct_at(&worker);  // names a thread of another process: neither to be joined nor detached
      }
    }
  }

  index_t size() const noexcept { return static_cast<index_t>(workers_.size()) + 1; }

  void run(index_t n, TaskRef task) {
    if (n <= 1 || workers_.empty() || busy_.exchange(true)) {
      SerialExecutor{}.run(n, task);
      return;
    }
    // No thread looks at these before it holds a ticket.
    task_ = &task;
    n_ = n;
    unfinished_.store(n);
    tickets_.store(n);
    tickets_.notify_all();
    work();
    wait_until(unfinished_, [](index_t left) { return left == 0; });
    const std::exception_ptr error = std::exchange(error_, nullptr);
    failed_.store(false);
    busy_.store(false);
    if (error) std::rethrow_exception(error);
  }

 private:
  static constexpr index_t closing = -1;
  static constexpr index_t most_threads = 1 << 16;  // no context counts more (ExecutorRef)
  // A plain loop: with the processor's pause instruction in it, a run of two tasks of 2.4 us took 2.77 us instead
  // of 2.84, with yields alone 3.30 (medians, two processors, Zen 4).
  static constexpr int spins = 6000;  // some 5 us
  static constexpr int yields = 100;  // some 100 us on an idle machine

  // False where no thread is to be had.
  bool start() noexcept {
#if defined(__cpp_exceptions)
    try {
      workers_.emplace_back([this] { serve(); });  // reserved
    } catch (...) {
      return false;
    }
#else
    workers_.emplace_back([this] { serve(); });
#endif
    return true;
  }

  void serve() {
    while (wait_until(tickets_, [](index_t left) { return left != 0; }) != closing) work();
  }

  // Takes tickets while there are any. Whoever holds one keeps the run alive.
  void work() {
    index_t left = tickets_.load();
    while (left > 0) {
      if (!tickets_.compare_exchange_weak(left, left - 1)) continue;
      call(n_ - left);
      if (unfinished_.fetch_sub(1) == 1) unfinished_.notify_one();
      left = tickets_.load();
    }
  }

  void call(index_t i) {
#if defined(__cpp_exceptions)
    if (failed_.load()) return;
    try {
      (*task_)(i);
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
#else
    (*task_)(i);
#endif
  }

  // The first value of word that is ready.
  template <class Ready>
  static index_t wait_until(const std::atomic<index_t>& word, Ready ready) {
    index_t value = word.load();
    for (int tries = 0; !ready(value); value = word.load()) {
      if (tries == spins + yields) {
#if defined(__GLIBCXX__) && !defined(__linux__)
        // Without futexes, libstdc++ 12's wait looks at the word and then goes to sleep: a notify between the two is
        // lost.
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
#else
        word.wait(value);
#endif
      } else if (tries++ >= spins) {
        std::this_thread::yield();
      }
    }
    return value;
  }

  static long process_id() noexcept {
#if defined(__unix__) || defined(__APPLE__)
    return getpid();
#else
    return 0;  // no fork
#endif
  }

  // Lines of their own: those that spin on one must not be disturbed by another.
  alignas(64) std::atomic<index_t> tickets_{0};     // tasks nobody has taken
  alignas(64) std::atomic<index_t> unfinished_{0};  // tasks not done
  alignas(64) std::atomic<bool> busy_{false};       // a run is under way
  std::atomic<bool> failed_{false};                 // a task of it threw
  const TaskRef* task_ = nullptr;
  index_t n_ = 0;
  std::exception_ptr error_;
  std::vector<std::thread> workers_;
  long process_ = process_id();  // that has the workers
};
static_assert(Executor<ThreadPool>);

}  // namespace headgate::inline HEADGATE_ABI
