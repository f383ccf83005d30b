// Version, ABI namespace and the few facts about the compiler that the library depends on.
//
// Every public name lives in an inline namespace whose name holds the version and the instruction set of the
// translation unit. Two units built with different flags that exchange our types fail to link instead of crashing.
#pragma once

#include <bit>

#define HEADGATE_VERSION_MAJOR 0
#define HEADGATE_VERSION_MINOR 1
#define HEADGATE_VERSION_PATCH 0

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "headgate: -ffast-math removes the NaN checks this library promises; build without it"
#endif

// HEADGATE_DISPATCH=1 makes NativeBackend choose its instruction set at run time (kernels/dispatched.hpp).
#ifndef HEADGATE_DISPATCH
#define HEADGATE_DISPATCH 0
#endif

// What AVX-512 means here: the parts that every processor from Skylake-X on has, as xsimd's avx512bw wants them.
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512CD__) && defined(__AVX512DQ__) && \
    defined(__AVX512VL__)
#define HEADGATE_AVX512 1
#else
#define HEADGATE_AVX512 0
#endif

#if HEADGATE_DISPATCH
#define HEADGATE_ABI v0_1_dispatch
#elif HEADGATE_AVX512
#define HEADGATE_ABI v0_1_avx512
#elif defined(__AVX2__) && defined(__FMA__)
#define HEADGATE_ABI v0_1_avx2
#elif defined(__aarch64__)
#define HEADGATE_ABI v0_1_neon
#else
#define HEADGATE_ABI v0_1_base
#endif

#if defined(__cpp_exceptions)
#define HEADGATE_THROW(error) throw error
#else
// Reached only through Expected::value() on an error, which is a broken precondition without exceptions.
#define HEADGATE_THROW(error) __builtin_trap()
#endif

#define HEADGATE_NOINLINE __attribute__((noinline))

namespace headgate::inline HEADGATE_ABI {

// Constructors that throw are constrained on this; without exceptions only T::create() remains.
#if defined(__cpp_exceptions)
inline constexpr bool has_exceptions = true;
#else
inline constexpr bool has_exceptions = false;
#endif

static_assert(std::endian::native == std::endian::little, "headgate supports little-endian machines only");
static_assert(sizeof(void*) == 8, "headgate supports 64-bit machines only");

}  // namespace headgate::inline HEADGATE_ABI
