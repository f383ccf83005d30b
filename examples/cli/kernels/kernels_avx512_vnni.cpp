// The program's kernels for avx512_vnni. The only file compiled with its flags; nothing but this function leaves it.
#include "headgate/kernels/kernel_table.hpp"
#include "headgate/kernels/simd.hpp"

extern "C" const headgate::KernelTableV2* headgate_kernels_avx512_vnni_v2() noexcept {
  using namespace headgate;
  static constexpr KernelTableV2 table = make_kernel_table<Simd<NativeArch>>("avx512_vnni");
  return &table;
}
