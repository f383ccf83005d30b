// AtomicWord: 32 bits that threads share, sequentially consistent, and may sleep on: what a thread pool needs of
// std::atomic, whose header would be a tenth of what core and routing compile.
#pragma once

#include <cstdint>
#include <limits>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <sched.h>
#endif

#include "headgate/core/config.hpp"

namespace headgate::inline HEADGATE_ABI {

class AtomicWord {
 public:
  using Word = std::uint32_t;  // what a futex is

  explicit AtomicWord(Word value) noexcept : value_(value) {}
  AtomicWord(const AtomicWord&) = delete;
  AtomicWord& operator=(const AtomicWord&) = delete;

  Word load() const noexcept { return __atomic_load_n(&value_, __ATOMIC_SEQ_CST); }
  void store(Word value) noexcept { __atomic_store_n(&value_, value, __ATOMIC_SEQ_CST); }
  // These give the value before.
  Word exchange(Word value) noexcept { return __atomic_exchange_n(&value_, value, __ATOMIC_SEQ_CST); }
  Word add(Word n) noexcept { return __atomic_fetch_add(&value_, n, __ATOMIC_SEQ_CST); }
  Word subtract(Word n) noexcept { return __atomic_fetch_sub(&value_, n, __ATOMIC_SEQ_CST); }
  // Makes it `wanted` if it is `expected`; if not, or by chance, false, and `expected` is what it is.
  bool compare_exchange(Word& expected, Word wanted) noexcept {
    return __atomic_compare_exchange_n(&value_, &expected, wanted, /*weak=*/true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  }

  // Sleeps until woken, unless the value is no longer `seen`; may return at any time.
  void sleep(Word seen) noexcept {
#if defined(__linux__)
    syscall(SYS_futex, &value_, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
#else
    if (load() == seen) sched_yield();
#endif
  }
  // Wakes all who sleep on it.
  void wake() noexcept {
#if defined(__linux__)
    syscall(SYS_futex, &value_, FUTEX_WAKE_PRIVATE, std::numeric_limits<int>::max(), nullptr, nullptr, 0);
#endif
  }

 private:
  Word value_;
};

}  // namespace headgate::inline HEADGATE_ABI
