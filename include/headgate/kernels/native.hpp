// NativeBackend: the kernels for the instruction set of this translation unit, or, in a program that is built with
// HEADGATE_DISPATCH=1, those chosen when it starts.
#pragma once

#include "headgate/core/config.hpp"

#if HEADGATE_DISPATCH
#include "headgate/kernels/dispatched.hpp"
#else
#include "headgate/kernels/simd.hpp"
#endif

namespace headgate::inline HEADGATE_ABI {

#if HEADGATE_DISPATCH
struct NativeBackend : Dispatched {};
#else
struct NativeBackend : Simd<NativeArch> {};
#endif
static_assert(KernelBackend<NativeBackend>);

}  // namespace headgate::inline HEADGATE_ABI
