// Version, ABI namespace and the few facts about the compiler that the library depends on.
//
// Every public name lives in an inline namespace that is named after the version, the instruction set that the kernels
// of this translation unit are written for, and what else changes their code: fused multiply-adds, HEADGATE_DISPATCH,
// -fno-exceptions. The name is also an ABI tag. So a function or variable whose type, parameters or result name a type
// of ours has another symbol in a unit built with other such flags, and the two do not link.
//
// Nothing catches a type of yours that holds one of ours, an extern "C" function, or flags that are not in the name:
// what else the compiler may use (-mbmi2, -msse4.2), -ffp-contract, -D_GLIBCXX_DEBUG. Build all units with the same of
// those.
#pragma once

#include <bit>
#include <exception>

#define HEADGATE_VERSION_MAJOR 0
#define HEADGATE_VERSION_MINOR 1
#define HEADGATE_VERSION_PATCH 0

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "headgate: -ffast-math removes the NaN checks this library promises; build without it"
#endif

// Macros that bear names of ours. Undefined behind the message, so that it is the only one.
#if defined(Status)
#error "headgate: Status is a macro here, as X11 defines it; include headgate before Xlib.h, or #undef Status"
#undef Status
#endif
#if defined(min) || defined(max)
#error "headgate: min or max is a macro here, as windows.h defines them; define NOMINMAX before it, or #undef both"
#undef min
#undef max
#endif

// HEADGATE_DISPATCH=1 makes NativeBackend choose its instruction set at run time (kernels/dispatched.hpp).
#ifndef HEADGATE_DISPATCH
#define HEADGATE_DISPATCH 0
#endif

// What AVX-512 means here: the parts that every processor from Skylake-X on has, as xsimd's avx512bw wants them.
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512CD__) && defined(__AVX512DQ__) && \
    defined(__AVX512VL__) && defined(__FMA__)
#define HEADGATE_AVX512 1
#else
#define HEADGATE_AVX512 0
#endif

// kernels/simd/arch.hpp says which of xsimd's architectures each is. Where compilers may fuse, they fuse, also in code
// that is no kernel.
#if HEADGATE_AVX512 && defined(__AVX512VNNI__) && defined(__AVX512BF16__)
#define HEADGATE_ISA avx512_bf16
#elif HEADGATE_AVX512 && defined(__AVX512VNNI__)
#define HEADGATE_ISA avx512_vnni
#elif HEADGATE_AVX512
#define HEADGATE_ISA avx512
#elif defined(__AVX512F__) && defined(__FMA__)
#define HEADGATE_ISA avx512f
#elif defined(__AVX512F__)
#define HEADGATE_ISA avx512f_alone
#elif defined(__AVX2__) && defined(__FMA__) && defined(__AVXVNNI__)
#define HEADGATE_ISA avx_vnni
#elif defined(__AVX2__) && defined(__FMA__)
#define HEADGATE_ISA avx2
#elif defined(__FMA__)
#define HEADGATE_ISA avx_fma
#elif defined(__FMA4__)
#define HEADGATE_ISA avx_fma4
#elif defined(__AVX2__)
#define HEADGATE_ISA avx2_unfused
#elif defined(__AVX__)
#define HEADGATE_ISA avx
#elif defined(__SSE4_1__)
#define HEADGATE_ISA sse4
#elif defined(__SSE2__)
#define HEADGATE_ISA sse2
#elif defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
#define HEADGATE_ISA neon_dotprod
#elif defined(__aarch64__)
#define HEADGATE_ISA neon
#else
#define HEADGATE_ISA base
#endif

#if HEADGATE_DISPATCH
#define HEADGATE_ABI_DISPATCH _dispatch
#else
#define HEADGATE_ABI_DISPATCH
#endif
#if defined(__cpp_exceptions)
#define HEADGATE_ABI_EXCEPTIONS
#define HEADGATE_THROW(error) throw error
#else
#define HEADGATE_ABI_EXCEPTIONS _no_exceptions
// Reached only through Expected::value() on an error, which is a broken precondition without exceptions.
#define HEADGATE_THROW(error) std::terminate()
#endif

#define HEADGATE_ABI_NAME(...) HEADGATE_ABI_PASTE(__VA_ARGS__)
#define HEADGATE_ABI_PASTE(major, minor, isa, dispatch, exceptions) v##major##_##minor##_##isa##dispatch##exceptions
#define HEADGATE_ABI                                                                                     \
  HEADGATE_ABI_NAME(HEADGATE_VERSION_MAJOR, HEADGATE_VERSION_MINOR, HEADGATE_ISA, HEADGATE_ABI_DISPATCH, \
                    HEADGATE_ABI_EXCEPTIONS)
#define HEADGATE_ABI_TEXT(...) HEADGATE_ABI_QUOTE(__VA_ARGS__)
#define HEADGATE_ABI_QUOTE(name) #name

#define HEADGATE_INLINE __attribute__((always_inline)) inline
#define HEADGATE_NOINLINE __attribute__((noinline))

namespace headgate {
inline namespace HEADGATE_ABI __attribute__((abi_tag(HEADGATE_ABI_TEXT(HEADGATE_ABI)))) {}
}  // namespace headgate

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
