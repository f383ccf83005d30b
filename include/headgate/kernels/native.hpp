// NativeBackend: the kernels for the instruction set of this translation unit, or, in a program that is built with
// HEADGATE_DISPATCH=1, those chosen when it starts. What has it as a default includes this header. Without xsimd on the
// include path it stays incomplete, and Scalar (kernels/scalar.hpp) must be named instead.
#pragma once

#include "headgate/core/config.hpp"

#if HEADGATE_DISPATCH
#include "headgate/kernels/dispatched.hpp"
#elif __has_include(<xsimd/xsimd.hpp>)
#include "headgate/kernels/simd.hpp"
#else
#include "headgate/kernels/kernel_backend.hpp"
#endif

namespace headgate::inline HEADGATE_ABI {

#if HEADGATE_DISPATCH
struct NativeBackend : Dispatched {};
static_assert(KernelBackend<NativeBackend>);
#elif __has_include(<xsimd/xsimd.hpp>)
struct NativeBackend : Simd<NativeArch> {};
static_assert(KernelBackend<NativeBackend>);
#endif

}  // namespace headgate::inline HEADGATE_ABI
