#include "headgate/core/thread_pool.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#include <sys/resource.h>
#endif
#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "support/catch.hpp"

using namespace headgate;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif
#else
constexpr bool sanitized = false;
#endif

std::vector<int> times_called(ThreadPool& pool, index_t n) {
  std::vector<int> times(as_size(n), 0);
  pool.run(n, [&](index_t i) { ++times[as_size(i)]; });
  return times;
}

// Where Linux says whether this thread sleeps; elsewhere nothing.
std::string state_file_of_this_thread() {
#if defined(__linux__)
  return "/proc/self/task/" + std::to_string(gettid()) + "/stat";
#else
  return "";
#endif
}
bool sleeps(const std::string& state_file) {
  std::ifstream file(state_file);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return !file || text.find(") S ") != std::string::npos;
}

#if !defined(_WIN32)
// What a forked child that ends with code() returns; -1 where a signal ended it.
template <class Code>
int exit_code_of_child(Code code) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(60);  // a child that hangs fails
    _exit(code());
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
#endif

}  // namespace

TEST_CASE("a pool calls every task once, for any number of threads and tasks") {
  for (const index_t threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    CHECK(pool.size() == threads);
    for (const index_t n : {0, 1, 2, 3, 7, 8, 9, 1000}) CHECK(times_called(pool, n) == std::vector<int>(as_size(n), 1));
  }
}

TEST_CASE("a pool of no thread or fewer runs on the caller's") {
  for (const index_t threads : {1, 0, -3}) {
    ThreadPool pool(threads);
    CHECK(pool.size() == 1);
    const std::thread::id self = std::this_thread::get_id();
    bool same = true;
    pool.run(5, [&](index_t) { same = same && std::this_thread::get_id() == self; });
    CHECK(same);
  }
}

TEST_CASE("what a task wrote is seen by the caller, and what the caller wrote by the next run") {
  ThreadPool pool(3);
  std::vector<index_t> values(64, 0);
  for (index_t round = 0; round < 2000; ++round) {
    pool.run(64, [&](index_t i) { values[as_size(i)] += values[as_size(i)] == round ? 1 : 1000000; });
  }
  CHECK(values == std::vector<index_t>(64, 2000));
}

TEST_CASE("threads that fell asleep wake up for the next run") {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    // Every task waits for the others, so that each thread must take one.
    std::atomic<int> arrived{0};
    pool.run(3, [&](index_t) {
      ++arrived;
      while (arrived.load() < 3) std::this_thread::yield();
    });
    CHECK(arrived == 3);
  }
}

TEST_CASE("a caller that waits long for another thread's task sleeps and is woken") {
  const auto sleep_and_wake = [] {
    ThreadPool pool(2);
    const std::thread::id caller = std::this_thread::get_id();
    const std::string stat = state_file_of_this_thread();
    std::atomic<int> arrived{0};
    pool.run(2, [&](index_t) {
      ++arrived;
      while (arrived.load() < 2) std::this_thread::yield();
      if (std::this_thread::get_id() == caller) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      while (!sleeps(stat)) std::this_thread::sleep_for(std::chrono::milliseconds(10));  // a busy machine takes longer
    });
    return times_called(pool, 10) == std::vector<int>(10, 1) ? 0 : 1;
  };
#if defined(_WIN32)
  CHECK(sleep_and_wake() == 0);
#else
  CHECK(exit_code_of_child(sleep_and_wake) == 0);  // one that nobody wakes is ended
#endif
}

TEST_CASE("the first exception of a task reaches the caller and the pool stays usable") {
  ThreadPool pool(3);
  for (int round = 0; round < 100; ++round) {
    std::atomic<int> called{0};
    try {
      pool.run(50, [&](index_t i) {
        ++called;
        if (i % 2 == 1) throw std::runtime_error("task " + std::to_string(i));
      });
      FAIL("nothing was thrown");
    } catch (const std::runtime_error& error) {
      CHECK(std::string(error.what()).starts_with("task "));
    }
    CHECK(called.load() >= 1);  // task 0's thread may stop before it begins, until another's has thrown
    CHECK(times_called(pool, 20) == std::vector<int>(20, 1));
  }
}

TEST_CASE("a run from inside a task does its tasks there") {
  ThreadPool pool(3);
  std::atomic<int> count{0};
  pool.run(6, [&](index_t) {
    const std::thread::id self = std::this_thread::get_id();
    pool.run(5, [&](index_t) {
      if (std::this_thread::get_id() == self) ++count;
    });
  });
  CHECK(count == 30);
}

TEST_CASE("runs from two threads at once both finish") {
  ThreadPool pool(3);
  constexpr int rounds = sanitized ? 2'000 : 20'000;
  // Each round's tasks are called once: a task of another thread's run would be missed in one and double in the other.
  const auto rounds_that_went_wrong = [&] {
    int wrong = 0;
    for (int round = 0; round < rounds; ++round) {
      std::array<std::atomic<int>, 7> times{};
      pool.run(7, [&](index_t i) { ++times[as_size(i)]; });
      for (const std::atomic<int>& count : times) wrong += count.load() == 1 ? 0 : 1;
    }
    return wrong;
  };
  int others = -1;
  std::thread other([&] { others = rounds_that_went_wrong(); });
  CHECK(rounds_that_went_wrong() == 0);
  other.join();
  CHECK(others == 0);
}

TEST_CASE("pools come and go") {
  for (int round = 0; round < 100; ++round) {
    ThreadPool pool(4);
    if (round % 2 == 0) CHECK(times_called(pool, 4) == std::vector<int>(4, 1));
  }
}

#if defined(__linux__)
TEST_CASE("a pool with more threads than processors finishes its runs") {
  cpu_set_t before;
  REQUIRE(sched_getaffinity(0, sizeof(before), &before) == 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  REQUIRE(sched_setaffinity(0, sizeof(one), &one) == 0);
  {
    ThreadPool pool(4);
    CHECK(times_called(pool, 100) == std::vector<int>(100, 1));
  }
  REQUIRE(sched_setaffinity(0, sizeof(before), &before) == 0);
}

TEST_CASE("a pool is smaller where the system refuses threads") {
  if (sanitized) return;  // sanitizers need the address space that this takes away
  constexpr int no_limits = 77;
  const int code = exit_code_of_child([] {
    // Room for some stacks of 8 MiB, not for 63.
    long pages = 0;
    if (std::FILE* const file = std::fopen("/proc/self/statm", "r")) {
      if (std::fscanf(file, "%ld", &pages) != 1) pages = 0;
      std::fclose(file);
    }
    const rlimit limit{as_size(pages) * 4096 + (rlim_t{200} << 20), RLIM_INFINITY};
    if (pages == 0 || setrlimit(RLIMIT_AS, &limit) != 0) return 2;
    rlimit found{};
    if (getrlimit(RLIMIT_AS, &found) != 0 || found.rlim_cur != limit.rlim_cur) return no_limits;
    for (const index_t threads : {64, std::numeric_limits<index_t>::max()}) {
      ThreadPool pool(threads);
      const bool smaller = pool.size() > 1 && pool.size() < 64;
      if (!smaller || times_called(pool, 64) != std::vector<int>(64, 1)) return 1;
    }
    return 0;
  });
  if (code == no_limits) {
    WARN("skipped: an emulator that sets no limits");  // qemu-user
    return;
  }
  CHECK(code == 0);
}
#endif

#if !defined(_WIN32)
TEST_CASE("a forked child destroys its copy of a pool") {
  for (const index_t runs : {0, 3}) {
    auto pool = std::make_unique<ThreadPool>(4);
    for (index_t i = 0; i < runs; ++i) CHECK(times_called(*pool, 8) == std::vector<int>(8, 1));
    CHECK(exit_code_of_child([&] {
            pool.reset();
            return 0;
          }) == 0);
    CHECK(times_called(*pool, 8) == std::vector<int>(8, 1));
  }
}

TEST_CASE("in a forked child a run does its tasks on its own thread") {
  auto pool = std::make_unique<ThreadPool>(4);
  CHECK(exit_code_of_child([&] {
          const std::thread::id self = std::this_thread::get_id();
          bool same = true;
          for (int round = 0; round < 3; ++round) {
            std::vector<int> times(100, 0);
            pool->run(100, [&](index_t i) {
              same = same && std::this_thread::get_id() == self;
              ++times[as_size(i)];
            });
            if (times != std::vector<int>(100, 1)) return 1;
          }
          pool.reset();
          return same ? 0 : 2;
        }) == 0);
  CHECK(times_called(*pool, 100) == std::vector<int>(100, 1));
}

TEST_CASE("a child forked while another thread's run is under way has a pool that works") {
  auto pool = std::make_unique<ThreadPool>(4);
  std::atomic<int> begun{0};
  std::atomic<bool> forked{false};
  std::thread other([&] {
    pool->run(4, [&](index_t) {
      ++begun;
      while (!forked.load()) std::this_thread::yield();
    });
  });
  while (begun.load() < 4) std::this_thread::yield();
  const int code = exit_code_of_child([&] {
    if (times_called(*pool, 100) != std::vector<int>(100, 1)) return 1;
    pool.reset();
    return 0;
  });
  forked = true;
  other.join();
  CHECK(code == 0);
  CHECK(times_called(*pool, 100) == std::vector<int>(100, 1));
}
#endif
