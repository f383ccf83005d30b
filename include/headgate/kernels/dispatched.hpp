// Dispatched: the backend of a program that runs on every machine of its architecture and uses what each one has. It
// calls the best table of kernels among those linked (kernel_table.hpp) that this processor can run, by its feature
// bits alone; without any, Scalar. select_kernels, called before threads start, may cap the choice.
#pragma once

#include <array>
#include <atomic>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "headgate/core/status.hpp"
#include "headgate/kernels/kernel_table.hpp"
#include "headgate/kernels/scalar.hpp"

// Defined by the kernel objects that a program links; one that is not linked has a null address.
extern "C" {
__attribute__((weak)) const headgate::KernelTableV2* headgate_kernels_avx2_v2() noexcept;
__attribute__((weak)) const headgate::KernelTableV2* headgate_kernels_avx_vnni_v2() noexcept;
__attribute__((weak)) const headgate::KernelTableV2* headgate_kernels_avx512_v2() noexcept;
__attribute__((weak)) const headgate::KernelTableV2* headgate_kernels_avx512_vnni_v2() noexcept;
__attribute__((weak)) const headgate::KernelTableV2* headgate_kernels_avx512_bf16_v2() noexcept;
__attribute__((weak)) const headgate::KernelTableV2* headgate_kernels_neon_v2() noexcept;
__attribute__((weak)) const headgate::KernelTableV2* headgate_kernels_neon_dotprod_v2() noexcept;
}

namespace headgate::inline HEADGATE_ABI {

namespace detail {

inline constexpr KernelTableV2 scalar_table = make_kernel_table<Scalar>("scalar");

#if defined(__x86_64__)
enum class CpuRegister : std::uint8_t { eax, ebx, ecx, edx };
// A feature whose name compilers do not all know, or know by different names.
inline bool cpu_has_bit(unsigned leaf, unsigned part, CpuRegister which, unsigned bit) noexcept {
  unsigned found[4] = {};
  return __get_cpuid_count(leaf, part, found, found + 1, found + 2, found + 3) != 0 &&
         (found[static_cast<std::size_t>(which)] >> bit & 1u) != 0;
}
#endif

// With conversions of halves.
inline bool cpu_has_avx2() noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && cpu_has_bit(1, 0, CpuRegister::ecx, 29);
#else
  return false;
#endif
}
inline bool cpu_has_avx_vnni() noexcept {
#if defined(__x86_64__)
  return cpu_has_avx2() && cpu_has_bit(7, 1, CpuRegister::eax, 4);
#else
  return false;
#endif
}
inline bool cpu_has_avx512() noexcept {
#if defined(__x86_64__)
  return cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}
inline bool cpu_has_avx512_vnni() noexcept {
#if defined(__x86_64__)
  return cpu_has_avx512() && __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}
inline bool cpu_has_avx512_bf16() noexcept {
#if defined(__x86_64__)
  return cpu_has_avx512_vnni() && cpu_has_bit(7, 1, CpuRegister::eax, 5);
#else
  return false;
#endif
}
inline bool cpu_has_neon() noexcept {
#if defined(__aarch64__)
  return true;
#else
  return false;
#endif
}
inline bool cpu_has_neon_dotprod() noexcept {
#if defined(__aarch64__) && defined(__linux__)
  return (::getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
  return false;
#endif
}

struct KernelChoice {
  std::string_view name;
  const KernelTableV2* table;  // null: not linked, or this processor cannot run it
};

// Best first.
inline std::array<KernelChoice, 8> kernel_choices() noexcept {
  const auto table = [](const KernelTableV2* (*get)() noexcept, bool runs) { return get && runs ? get() : nullptr; };
  return {{{"avx512_bf16", table(headgate_kernels_avx512_bf16_v2, cpu_has_avx512_bf16())},
           {"avx512_vnni", table(headgate_kernels_avx512_vnni_v2, cpu_has_avx512_vnni())},
           {"avx512", table(headgate_kernels_avx512_v2, cpu_has_avx512())},
           {"avx_vnni", table(headgate_kernels_avx_vnni_v2, cpu_has_avx_vnni())},
           {"avx2", table(headgate_kernels_avx2_v2, cpu_has_avx2())},
           {"neon_dotprod", table(headgate_kernels_neon_dotprod_v2, cpu_has_neon_dotprod())},
           {"neon", table(headgate_kernels_neon_v2, cpu_has_neon())},
           {"scalar", &scalar_table}}};
}

inline std::atomic<const KernelTableV2*> active_table{nullptr};

}  // namespace detail

// The names of all kernels, best first, whether they are there or not.
inline auto kernel_names() noexcept {
  const auto choices = detail::kernel_choices();
  std::array<std::string_view, std::tuple_size_v<decltype(detail::kernel_choices())>> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = choices[i].name;
  return names;
}

// Chooses the best kernels no better than cap, one of kernel_names(); empty: the best.
inline Status select_kernels(std::string_view cap = {}) noexcept {
  bool allowed = cap.empty();
  for (const detail::KernelChoice& choice : detail::kernel_choices()) {
    allowed = allowed || choice.name == cap;
    if (allowed && choice.table != nullptr) {
      detail::active_table.store(choice.table, std::memory_order_relaxed);
      return Status::success();
    }
  }
  return Status::mismatch(
      "instruction set is none of avx512_bf16, avx512_vnni, avx512, avx_vnni, avx2, neon_dotprod, neon, scalar", 0, 0);
}

struct Dispatched {
  static const KernelTableV2& table() noexcept {
    const KernelTableV2* active = detail::active_table.load(std::memory_order_relaxed);
    if (active == nullptr) [[unlikely]] {
      static_cast<void>(select_kernels());
      active = detail::active_table.load(std::memory_order_relaxed);
    }
    return *active;
  }
  static const char* name() noexcept { return table().name; }

  template <WeightFormat Format>
  static void multiply(Format, const std::byte* panels, index_t k, index_t num_panels,
                       const typename Format::Tile::Element* tile, index_t m, float* y, std::int64_t stride) noexcept {
    table().formats[WeightFormats::index_of<Format>()].multiply(panels, k, num_panels, tile, m, y, stride);
  }
  template <ActivationTile Tile>
  static void make_tile(Tile, const float* const* rows, index_t m, index_t k, typename Tile::Element* tile) noexcept {
    table().formats[WeightFormats::index_of_tile<Tile>()].make_tile(rows, m, k, tile);
  }

  static float sum(const float* x, index_t n) noexcept { return table().sum(x, n); }
  static float max(const float* x, index_t n) noexcept { return table().max(x, n); }
  static float dot(const float* x, const float* y, index_t n) noexcept { return table().dot(x, y, n); }
  static bool all_finite(const float* x, index_t n) noexcept { return table().all_finite(x, n); }
  static void axpy(float a, const float* x, index_t n, float* y) noexcept { table().axpy(a, x, n, y); }
  static void gather_dots(const float* const* rows, index_t count, const float* x, index_t n, float* out) noexcept {
    table().gather_dots(rows, count, x, n, out);
  }
  static void gather_axpy(const float* a, const float* const* rows, index_t count, index_t n, float* y) noexcept {
    table().gather_axpy(a, rows, count, n, y);
  }
  template <class Format>
  static void score(Format, const std::byte* panels, index_t channels, index_t num_panels, const float* tile, index_t m,
                    float* scores, std::int64_t stride) noexcept {
    table().caches[static_cast<std::size_t>(Format::type)].score(panels, channels, num_panels, tile, m, scores, stride);
  }
  template <class Format>
  static void weigh(Format, const std::byte* values, index_t channels, index_t count, const float* weights,
                    std::int64_t stride, index_t m, float* sums) noexcept {
    table().caches[static_cast<std::size_t>(Format::type)].weigh(values, channels, count, weights, stride, m, sums);
  }

  static float exp_sum(float* x, index_t n, float largest) noexcept { return table().exp_sum(x, n, largest); }
  static void softmax(float* x, index_t n) noexcept { table().softmax(x, n); }
  static void sigmoid(float* x, index_t n) noexcept { table().sigmoid(x, n); }
  static void rms_norm(const float* x, const float* weight, float epsilon, index_t n, float* y) noexcept {
    table().rms_norm(x, weight, epsilon, n, y);
  }
  static void rope(float* x, const float* cosine, const float* sine, index_t half) noexcept {
    table().rope(x, cosine, sine, half);
  }
  static void activate(Activation activation, const float* x, index_t n, float* y) noexcept {
    table().activate(static_cast<std::uint8_t>(activation.kind), x, n, y);
  }
  static void glu(Activation activation, const float* gate, const float* up, index_t n, float* y) noexcept {
    table().glu(static_cast<std::uint8_t>(activation.kind), activation.alpha, activation.limit, gate, up, n, y);
  }
  static index_t top_k(const float* keys, index_t n, index_t k, index_t* order) noexcept {
    return table().top_k(keys, n, k, order);
  }
};
static_assert(KernelBackend<Dispatched>);

}  // namespace headgate::inline HEADGATE_ABI
