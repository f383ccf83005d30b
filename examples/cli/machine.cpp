#include "machine.hpp"

#include <ctime>

#include <cstdlib>

#include <fmt/ranges.h>

#include "headgate/core/thread_pool.hpp"
#include "headgate/kernels/native.hpp"
#include "numbers.hpp"

void choose_kernels(const std::optional<std::string>& isa) {
  const char* const variable = std::getenv("HEADGATE_ISA");
  const std::string cap = isa ? *isa : variable != nullptr ? variable : "";
  // An empty variable is one that is not set.
  if ((!isa || !isa->empty()) && headgate::select_kernels(cap).ok()) return;
  const auto names = headgate::kernel_names();
  throw_usage(isa ? "--isa" : "HEADGATE_ISA",
              fmt::format("got '{}', allowed are {} and {}", headgate::escaped(cap),
                          fmt::join(names.begin(), names.end() - 1, ", "), names.back()));
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
