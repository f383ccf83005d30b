#include "machine.hpp"

#include <ctime>

#include <cstdlib>
#include <string_view>

#include "headgate/core/thread_pool.hpp"
#include "headgate/kernels/native.hpp"
#include "numbers.hpp"

void choose_kernels() {
  const char* const cap = std::getenv("HEADGATE_ISA");
  if (cap == nullptr || headgate::select_kernels(cap).ok()) return;
  throw_usage("HEADGATE_ISA",
              "got '" + headgate::escaped(cap) + "', allowed are avx512_vnni, avx512, avx_vnni, avx2, neon and scalar");
}

const char* kernels_name() { return headgate::NativeBackend::name(); }

int thread_count(std::int64_t asked) { return asked > 0 ? static_cast<int>(asked) : headgate::available_threads(); }

std::chrono::year_month_day today() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  return {std::chrono::year(local.tm_year + 1900), std::chrono::month(static_cast<unsigned>(local.tm_mon + 1)),
          std::chrono::day(static_cast<unsigned>(local.tm_mday))};
}
