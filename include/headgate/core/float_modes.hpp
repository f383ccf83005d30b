// FloatModes: round to nearest, denormals as zero, on this thread, for the life of the object. Held by every task, so
// the caller's modes change no result, and restored, so ours never reach the caller. Denormals cost up to 30x in time.
#pragma once

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

class FloatModes {
 public:
  FloatModes() noexcept : saved_(read()) { write(ours); }
  ~FloatModes() { write(saved_); }
  FloatModes(const FloatModes&) = delete;
  FloatModes& operator=(const FloatModes&) = delete;

 private:
#if defined(__SSE2__)
  using Register = unsigned;
  static constexpr Register ours = 0x1f80u | 0x8040u;  // all exceptions masked, FTZ, DAZ, nearest
  static Register read() noexcept { return _mm_getcsr(); }
  static void write(Register value) noexcept { _mm_setcsr(value); }
#elif defined(__aarch64__)
  using Register = std::uint64_t;
  static constexpr Register ours = std::uint64_t{1} << 24;  // FZ, nearest
  static Register read() noexcept {
    Register value;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(value));
    return value;
  }
  static void write(Register value) noexcept { __asm__ __volatile__("msr fpcr, %0" : : "r"(value)); }
#else
#error "headgate: FloatModes is written for x86-64 and AArch64"
#endif
  Register saved_;
};

}  // namespace headgate::inline HEADGATE_ABI
