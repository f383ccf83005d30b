#include "machine_limits.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <string_view>

#include <unistd.h>

#include "headgate/core/error.hpp"
#include "machine.hpp"

using headgate::index_t;

// Of the kernel objects that are linked, as in kernels/dispatched.hpp.
extern "C" {
__attribute__((weak)) const LimitProbesV1* headgate_limits_avx2_v1() noexcept;
__attribute__((weak)) const LimitProbesV1* headgate_limits_avx_vnni_v1() noexcept;
__attribute__((weak)) const LimitProbesV1* headgate_limits_avx512_v1() noexcept;
__attribute__((weak)) const LimitProbesV1* headgate_limits_avx512_vnni_v1() noexcept;
__attribute__((weak)) const LimitProbesV1* headgate_limits_avx512_bf16_v1() noexcept;
__attribute__((weak)) const LimitProbesV1* headgate_limits_neon_v1() noexcept;
__attribute__((weak)) const LimitProbesV1* headgate_limits_neon_dotprod_v1() noexcept;
}

namespace {

using Probes = const LimitProbesV1* (*)() noexcept;

constexpr LimitProbesV1 baseline_probes = headgate::make_limit_probes<headgate::NativeArch>();

// Those of the kernels in use.
const LimitProbesV1& probes_in_use() {
  const struct {
    std::string_view name;
    Probes get;
  } all[] = {{"avx512_bf16", headgate_limits_avx512_bf16_v1},
             {"avx512_vnni", headgate_limits_avx512_vnni_v1},
             {"avx512", headgate_limits_avx512_v1},
             {"avx_vnni", headgate_limits_avx_vnni_v1},
             {"avx2", headgate_limits_avx2_v1},
             {"neon_dotprod", headgate_limits_neon_dotprod_v1},
             {"neon", headgate_limits_neon_v1}};
  const std::string_view used = kernels_name();
  if (used == "scalar") return baseline_probes;
  for (const auto& [name, get] : all) {
    if (name == used && get != nullptr) return *get();
  }
  throw headgate::Error(headgate::ErrorCode::failure,
                        {"", "", -1, "nothing measures the limits of the kernels " + std::string(used)});
}

// Floats of memory: four times the last cache, where the system says how large it is.
std::int64_t memory_floats() {
  constexpr std::int64_t mib = std::int64_t{1} << 20;
  std::int64_t cache = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
  const std::int64_t memory = std::int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGE_SIZE);
  const std::int64_t bytes = std::min(std::clamp(4 * cache, 128 * mib, 2048 * mib), memory / 8);
  return bytes / std::int64_t{sizeof(float)};
}

double seconds_of(headgate::ExecutorRef threads, headgate::TaskRef task) {
  const auto start = std::chrono::steady_clock::now();
  threads.run(threads.size(), task);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void use(float value) noexcept { [[maybe_unused]] const volatile float kept = value; }

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

MachineLimits::MachineLimits()
    : probes_(probes_in_use()), memory_(headgate::as_size(memory_floats() * std::int64_t{sizeof(float)})) {
  std::memset(memory_.data(), 1, memory_.size());  // pages that nobody has written are all one, in the cache
  rounds_.fill(1 << 12);
}

void MachineLimits::sample(headgate::ExecutorRef threads) {
  const auto* const floats = reinterpret_cast<const float*>(memory_.data());
  const std::int64_t share =
      static_cast<std::int64_t>(memory_.size() / sizeof(float)) / pieces / threads.size() / 128 * 128;
  for (std::size_t i = 0; i < read_.size(); ++i) {
    for (std::int64_t piece = 0; piece < pieces; ++piece) {
      const double seconds = seconds_of(threads, [&](index_t thread) {
        use(probes_.read[i](floats + (piece * threads.size() + thread) * share, share));
      });
      read_[i].push_back(static_cast<double>(share) * sizeof(float) * threads.size() / seconds);
    }
  }
  for (std::size_t i = 0; i < units_.size(); ++i) {
    const LimitProbesV1::Unit& unit = probes_.units[i];
    const auto run = [&] { return seconds_of(threads, [&](index_t) { use(unit.run(rounds_[i])); }); };
    // Whoever is interrupted is not slow.
    while (std::min({run(), run(), run()}) < 4e-4) rounds_[i] *= 2;
    for (std::int64_t piece = 0; piece < pieces; ++piece) {
      units_[i].push_back(static_cast<double>(rounds_[i] * unit.operations) * threads.size() / run());
    }
  }
}

void MachineLimits::clear() {
  for (Samples& samples : read_) samples.clear();
  for (Samples& samples : units_) samples.clear();
}

double MachineLimits::read_rate() const {
  double best = 0.0;
  for (const Samples& samples : read_) best = std::max(best, median(samples));
  return best;
}

double MachineLimits::operation_rate(headgate::Compute compute) const {
  return median(units_[static_cast<std::size_t>(compute)]);
}
