#include "machine.hpp"

#include <cstdlib>
#include <string_view>

#include "headgate/core/thread_pool.hpp"
#include "headgate/kernels/native.hpp"
#include "numbers.hpp"

void choose_kernels() {
  const char* const cap = std::getenv("HEADGATE_ISA");
  if (cap == nullptr || headgate::select_kernels(cap).ok()) return;
  throw_usage("HEADGATE_ISA", "got '" + headgate::escaped(cap) + "', allowed are avx512, avx2, neon and scalar");
}

const char* kernels_name() { return headgate::NativeBackend::name(); }

int thread_count(std::int64_t asked) { return asked > 0 ? static_cast<int>(asked) : headgate::available_threads(); }
