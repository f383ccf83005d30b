// KernelTableV2: the kernels of one instruction set as plain functions on plain data. An object file that is compiled
// beyond the program's baseline exports one function that returns its table, and nothing else that the linker could mix
// up: the type and that function are the only names outside the ABI namespace, and hold no type that depends on flags.
#pragma once

#include "headgate/kernels/kernel_backend.hpp"

namespace headgate {

// Of one weight format, with tiles of its own kind.
struct FormatKernelsV2 {
  void (*multiply)(const std::byte* panels, std::int32_t k, std::int32_t num_panels, const void* tile, std::int32_t m,
                   float* y, std::int64_t stride) noexcept;
  void (*make_tile)(const float* const* rows, std::int32_t m, std::int32_t k, void* tile) noexcept;
};

// Of one type of cache.
struct CacheKernelsV2 {
  void (*score)(const std::byte* panels, std::int32_t channels, std::int32_t num_panels, const float* tile,
                std::int32_t m, float* scores, std::int64_t stride) noexcept;
  void (*weigh)(const std::byte* values, std::int32_t channels, std::int32_t count, const float* weights,
                std::int64_t stride, std::int32_t m, float* sums) noexcept;
};

struct KernelTableV2 {
  const char* name;
  FormatKernelsV2 formats[WeightFormats::size];    // in the order of the list
  CacheKernelsV2 caches[cache_type_names.size()];  // in the order of CacheType
  float (*sum)(const float* x, std::int32_t n) noexcept;
  float (*max)(const float* x, std::int32_t n) noexcept;
  float (*dot)(const float* x, const float* y, std::int32_t n) noexcept;
  bool (*all_finite)(const float* x, std::int32_t n) noexcept;
  void (*axpy)(float a, const float* x, std::int32_t n, float* y) noexcept;
  void (*gather_dots)(const float* const* rows, std::int32_t count, const float* x, std::int32_t n,
                      float* out) noexcept;
  void (*gather_axpy)(const float* a, const float* const* rows, std::int32_t count, std::int32_t n, float* y) noexcept;
  float (*exp_sum)(float* x, std::int32_t n, float largest) noexcept;
  void (*softmax)(float* x, std::int32_t n) noexcept;
  void (*sigmoid)(float* x, std::int32_t n) noexcept;
  void (*rms_norm)(const float* x, const float* weight, float epsilon, std::int32_t n, float* y) noexcept;
  void (*rope)(float* x, const float* cosine, const float* sine, std::int32_t half) noexcept;
  // kind is the value of an ActivationKind.
  void (*activate)(std::uint8_t kind, const float* x, std::int32_t n, float* y) noexcept;
  void (*glu)(std::uint8_t kind, float alpha, float limit, const float* gate, const float* up, std::int32_t n,
              float* y) noexcept;
  std::int32_t (*top_k)(const float* keys, std::int32_t n, std::int32_t k, std::int32_t* order) noexcept;
};

inline namespace HEADGATE_ABI {

// The entries whose arguments differ from the backend's.
template <class B>
struct TableEntries {
  template <class Format>
  static void multiply(const std::byte* panels, index_t k, index_t num_panels, const void* tile, index_t m, float* y,
                       std::int64_t stride) noexcept {
    B::multiply(Format{}, panels, k, num_panels, static_cast<const typename Format::Tile::Element*>(tile), m, y,
                stride);
  }
  template <class Tile>
  static void make_tile(const float* const* rows, index_t m, index_t k, void* tile) noexcept {
    B::make_tile(Tile{}, rows, m, k, static_cast<typename Tile::Element*>(tile));
  }
  template <class Format>
  static void score(const std::byte* panels, index_t channels, index_t num_panels, const float* tile, index_t m,
                    float* scores, std::int64_t stride) noexcept {
    B::score(Format{}, panels, channels, num_panels, tile, m, scores, stride);
  }
  template <class Format>
  static void weigh(const std::byte* values, index_t channels, index_t count, const float* weights, std::int64_t stride,
                    index_t m, float* sums) noexcept {
    B::weigh(Format{}, values, channels, count, weights, stride, m, sums);
  }
  template <class Format>
  static constexpr CacheKernelsV2 cache() noexcept {
    return {score<Format>, weigh<Format>};
  }
  static void activate(std::uint8_t kind, const float* x, index_t n, float* y) noexcept {
    B::activate(Activation{.kind = static_cast<ActivationKind>(kind)}, x, n, y);
  }
  static void glu(std::uint8_t kind, float alpha, float limit, const float* gate, const float* up, index_t n,
                  float* y) noexcept {
    B::glu(Activation{static_cast<ActivationKind>(kind), alpha, limit}, gate, up, n, y);
  }
};

template <KernelBackend B, class... Formats>
constexpr KernelTableV2 make_kernel_table(const char* name, FormatList<Formats...>) noexcept {
  using Entries = TableEntries<B>;
  return {.name = name,
          .formats = {{Entries::template multiply<Formats>, Entries::template make_tile<typename Formats::Tile>}...},
          .caches = {Entries::template cache<CacheF32>(), Entries::template cache<CacheF16>(),
                     Entries::template cache<CacheQ8>()},
          .sum = B::sum,
          .max = B::max,
          .dot = B::dot,
          .all_finite = B::all_finite,
          .axpy = B::axpy,
          .gather_dots = B::gather_dots,
          .gather_axpy = B::gather_axpy,
          .exp_sum = B::exp_sum,
          .softmax = B::softmax,
          .sigmoid = B::sigmoid,
          .rms_norm = B::rms_norm,
          .rope = B::rope,
          .activate = Entries::activate,
          .glu = Entries::glu,
          .top_k = B::top_k};
}
template <KernelBackend B>
constexpr KernelTableV2 make_kernel_table(const char* name) noexcept {
  return make_kernel_table<B>(name, WeightFormats{});
}

}  // namespace HEADGATE_ABI
}  // namespace headgate
