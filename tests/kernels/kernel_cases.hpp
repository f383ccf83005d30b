// What the tests of kernels share: the backends that this build can run, numbers, and buffers that notice what they
// should not.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "headgate/kernels/simd.hpp"

namespace headgate {

// Simd<NativeArch> and the narrower instruction sets that these flags allow.
#if HEADGATE_AVX512
#define HEADGATE_SIMD_BACKENDS \
  Simd<xsimd::avx512bw>, Simd<xsimd::fma3<xsimd::avx2>>, Simd<xsimd::avx2>, Simd<xsimd::sse2>
#elif defined(__AVX2__) && defined(__FMA__)
#define HEADGATE_SIMD_BACKENDS Simd<xsimd::fma3<xsimd::avx2>>, Simd<xsimd::avx2>, Simd<xsimd::sse2>
#elif defined(__SSE4_1__)
#define HEADGATE_SIMD_BACKENDS Simd<NativeArch>, Simd<xsimd::sse2>
#elif defined(__SSE2__)
#define HEADGATE_SIMD_BACKENDS Simd<xsimd::sse2>
#else
#define HEADGATE_SIMD_BACKENDS Simd<NativeArch>
#endif

template <class Backend>
struct ArchOf;
template <class Arch>
struct ArchOf<Simd<Arch>> {
  using type = Arch;
};

// 0 to 2 registers and one of the widest instruction set, and a few longer ones.
inline std::vector<index_t> lengths() {
  std::vector<index_t> all;
  for (index_t n = 0; n <= 33; ++n) all.push_back(n);
  all.insert(all.end(), {63, 64, 65, 100, 127, 128, 131, 300, 1000});
  return all;
}
inline constexpr index_t shifts[] = {0, 1, 3};  // floats off alignment

inline std::vector<float> random_floats(index_t n, unsigned seed, float low = -2.0f, float high = 2.0f) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> number(low, high);
  std::vector<float> values(as_size(n));
  for (float& value : values) value = number(engine);
  return values;
}

// Copies of numbers, off alignment, that end where the allocation ends (one of nothing is not null), so that the
// address sanitizer sees a step beyond.
class Input {
 public:
  HEADGATE_NOINLINE Input(const std::vector<float>& values, index_t shift)
      : storage_(std::max(values.size() + as_size(shift), std::size_t{1})), shift_(shift) {
    for (std::size_t i = 0; i < values.size(); ++i) storage_[as_size(shift) + i] = values[i];
  }
  const float* data() const { return storage_.data() + shift_; }

 private:
  std::vector<float> storage_;
  index_t shift_;
};

// A place for n results, off alignment, between guards.
class Output {
 public:
  Output(index_t n, index_t shift) : storage_(as_size(n + 2 * guard + shift), mark), first_(guard + shift), n_(n) {}
  Output(const std::vector<float>& values, index_t shift) : Output(static_cast<index_t>(values.size()), shift) {
    for (std::size_t i = 0; i < values.size(); ++i) data()[i] = values[i];
  }
  float* data() { return storage_.data() + first_; }
  float operator[](index_t i) const { return storage_[as_size(first_ + i)]; }
  HEADGATE_NOINLINE std::vector<float> values() const {
    return {storage_.begin() + first_, storage_.begin() + first_ + n_};
  }
  bool guards_intact() const {
    const auto end = static_cast<index_t>(storage_.size());
    for (index_t i = 0; i < end; ++i) {
      if ((i < first_ || i >= first_ + n_) && storage_[as_size(i)] != mark) return false;
    }
    return true;
  }

 private:
  static constexpr index_t guard = 32;
  static constexpr float mark = -12345.5f;
  std::vector<float> storage_;
  index_t first_;
  index_t n_;
};

inline bool same_bits(float a, float b) { return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b); }
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// The largest |a_i - b_i| / (absolute + |b_i|), NaN where only one is finite.
inline double distance(const std::vector<float>& a, const std::vector<float>& b, double absolute) {
  double largest = a.size() == b.size() ? 0.0 : NAN;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (same_bits(a[i], b[i])) continue;
    const double off = std::abs(double{a[i]} - double{b[i]}) / (absolute + std::abs(double{b[i]}));
    if (!(off <= largest)) largest = off;
  }
  return largest;
}

// How far a float32 sum of `count` products may be from the sum in double; magnitude is the sum of their absolute
// values.
inline double sum_bound(index_t count, double magnitude) {
  return 4.0 * std::sqrt(static_cast<double>(count)) * 0x1p-24 * magnitude;
}

}  // namespace headgate
