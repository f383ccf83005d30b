// The program's kernels for neon. The only file compiled with its flags; nothing but this function leaves it.
#include "headgate/kernels/kernel_table.hpp"
#include "headgate/kernels/simd.hpp"

extern "C" const headgate::KernelTableV2* headgate_kernels_neon_v2() noexcept {
  using namespace headgate;
  static constexpr KernelTableV2 table = make_kernel_table<Simd<NativeArch>>("neon");
  return &table;
}
