// The program's kernels for neon_dotprod. The only file compiled with its flags; nothing but these two functions leave
// it.
#include "headgate/kernels/kernel_table.hpp"
#include "headgate/kernels/simd.hpp"
#include "limit_probes.hpp"

extern "C" const headgate::KernelTableV2* headgate_kernels_neon_dotprod_v2() noexcept {
  using namespace headgate;
  static constexpr KernelTableV2 table = make_kernel_table<Simd<NativeArch>>("neon_dotprod");
  return &table;
}

extern "C" const LimitProbesV1* headgate_limits_neon_dotprod_v1() noexcept {
  static constexpr LimitProbesV1 probes = headgate::make_limit_probes<headgate::NativeArch>();
  return &probes;
}
