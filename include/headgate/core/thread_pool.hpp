// ThreadPool: an executor of our own. The calling thread takes part, so a pool of n starts n - 1 threads, when it is
// made and never later. Tasks are tickets on one counter: whoever is free takes the next, and a run is over when its
// tasks are, whether or not every thread woke up for it. Idle threads spin, then yield, then sleep in the kernel.
//
// A run from inside a task, or while another thread's run is under way, does its tasks on its own thread. The first
// exception that leaves a task reaches the caller; tasks not yet begun are then left out. The pool stays usable.
#pragma once

#include <bit>
#include <exception>
#include <utility>
#include <vector>

// POSIX threads: <thread> would be a third of what core and routing compile.
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/syscall.h>
#endif

#include "headgate/core/atomic_word.hpp"
#include "headgate/core/executor.hpp"

namespace headgate::inline HEADGATE_ABI {

// The processors this process may run on, at least 1.
inline index_t available_threads() noexcept {
#if defined(__linux__)
  unsigned long mask[1024];  // 65,536 processors
  const long bytes = syscall(SYS_sched_getaffinity, 0, sizeof(mask), mask);
  index_t count = 0;
  for (long i = 0; i < bytes / static_cast<long>(sizeof(mask[0])); ++i) count += std::popcount(mask[i]);
  if (count > 0) return count;
#endif
  const long known = sysconf(_SC_NPROCESSORS_ONLN);
  return known < 1 ? 1 : static_cast<index_t>(known);
}

class ThreadPool {
 public:
  // At least one thread, the caller's. Where the system refuses more, the pool is smaller: size() says how large.
  explicit ThreadPool(index_t threads) {
    workers_.reserve(as_size(threads > 1 ? threads - 1 : 0));
    for (index_t i = 1; i < threads; ++i) {
      if (!start()) break;
    }
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() {
    tickets_.store(closing);
    tickets_.wake();
    for (const pthread_t worker : workers_) pthread_join(worker, nullptr);
  }

  index_t size() const noexcept { return static_cast<index_t>(workers_.size()) + 1; }

  void run(index_t n, TaskRef task) {
    if (n <= 1 || workers_.empty() || busy_.exchange(1) != 0) {
      SerialExecutor{}.run(n, task);
      return;
    }
    // No thread looks at these before it holds a ticket.
    task_ = &task;
    n_ = n;
    unfinished_.store(static_cast<Word>(n));
    tickets_.store(static_cast<Word>(n));
    if (sleepers_.load() != 0) tickets_.wake();
    work();
    wait_while([this] { return unfinished_.load() != 0; }, unfinished_, caller_sleeps_);
    const std::exception_ptr error = std::exchange(error_, nullptr);
    failed_.store(0);
    busy_.store(0);
    if (error) std::rethrow_exception(error);
  }

 private:
  using Word = AtomicWord::Word;
  static constexpr Word closing = ~Word{0};
  static constexpr int spins = 300;   // 5 to 20 us
  static constexpr int yields = 100;  // some 100 us on an idle machine

  // False where no thread is to be had.
  bool start() noexcept {
    pthread_t worker;
    const auto entry = [](void* pool) -> void* {
      static_cast<ThreadPool*>(pool)->serve();
      return nullptr;
    };
    if (pthread_create(&worker, nullptr, entry, this) != 0) return false;
    workers_.push_back(worker);  // reserved
    return true;
  }

  void serve() {
    for (;;) {
      wait_while([this] { return tickets_.load() == 0; }, tickets_, sleepers_);
      if (tickets_.load() == closing) return;
      work();
    }
  }

  // Takes tickets while there are any. Whoever holds one keeps the run alive.
  void work() {
    Word left = tickets_.load();
    while (left != 0 && left != closing) {
      if (!tickets_.compare_exchange(left, left - 1)) continue;
      call(n_ - static_cast<index_t>(left));
      if (unfinished_.subtract(1) == 1 && caller_sleeps_.load() != 0) unfinished_.wake();
      left = tickets_.load();
    }
  }

  void call(index_t i) {
#if defined(__cpp_exceptions)
    if (failed_.load() != 0) return;
    try {
      (*task_)(i);
    } catch (...) {
      if (failed_.exchange(1) == 0) error_ = std::current_exception();
    }
#else
    (*task_)(i);
#endif
  }

  // Returns once idle() is false. Idle: word has the value that it had when idle() was asked.
  template <class Idle>
  static void wait_while(Idle idle, AtomicWord& word, AtomicWord& sleepers) {
    for (int i = 0; i < spins; ++i) {
      if (!idle()) return;
      pause();
    }
    for (int i = 0; i < yields; ++i) {
      if (!idle()) return;
      sched_yield();
    }
    // Counted before the word is looked at for the last time; who changes it looks at the count afterwards.
    sleepers.add(1);
    for (Word seen = word.load(); idle(); seen = word.load()) word.sleep(seen);
    sleepers.subtract(1);
  }

  static void pause() noexcept {
#if defined(__SSE2__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
  }

  // Lines of their own: those that spin on one must not be disturbed by another.
  alignas(64) AtomicWord tickets_{0};     // tasks nobody has taken
  alignas(64) AtomicWord unfinished_{0};  // tasks not done
  alignas(64) AtomicWord sleepers_{0};
  AtomicWord caller_sleeps_{0};
  AtomicWord busy_{0};    // a run is under way
  AtomicWord failed_{0};  // a task of it threw
  const TaskRef* task_ = nullptr;
  index_t n_ = 0;
  std::exception_ptr error_;
  std::vector<pthread_t> workers_;
};
static_assert(Executor<ThreadPool>);

}  // namespace headgate::inline HEADGATE_ABI
