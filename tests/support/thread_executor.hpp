// An executor that starts its threads anew for every run: slow, and with nothing to hide behind. Task i runs on thread
// i % size, thread 0 being the caller's; the first exception reaches the caller.
#pragma once

#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "headgate/core/executor.hpp"

class ThreadExecutor {
 public:
  explicit ThreadExecutor(headgate::index_t size) : size_(size) {}
  headgate::index_t size() const noexcept { return size_; }
  void run(headgate::index_t n, headgate::TaskRef task) {
    std::exception_ptr error;
    std::mutex mutex;
    const auto work = [&](headgate::index_t thread) {
      try {
        for (headgate::index_t i = thread; i < n; i += size_) task(i);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!error) error = std::current_exception();
      }
    };
    std::vector<std::thread> threads;
    for (headgate::index_t i = 1; i < size_; ++i) threads.emplace_back(work, i);
    work(0);
    for (std::thread& thread : threads) thread.join();
    if (error) std::rethrow_exception(error);
  }

 private:
  headgate::index_t size_;
};
