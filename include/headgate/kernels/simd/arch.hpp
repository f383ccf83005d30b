// The only door to xsimd. An Arch is one of xsimd's architecture tags; Floats<Arch> one register of floats. What xsimd
// 8.1 (Debian 12) and later versions spell differently, or lack, is here: partial loads and stores, horizontal sums,
// casts and a multiply-add that is always fused.
//
// Everything is inlined into kernels that carry Arch in their names. Where nothing is, as in a debug build, the names
// here still differ by register type and by the namespace's instruction set.
#pragma once

#include <cmath>
#include <cstring>
#include <type_traits>

#include <xsimd/xsimd.hpp>

#include "headgate/core/types.hpp"
#include "headgate/kernels/fused_multiply_add.hpp"

namespace headgate::inline HEADGATE_ABI {

// HEADGATE_ISA, what the flags of this translation unit allow, as xsimd spells it. Not xsimd::default_arch, which
// depends on xsimd's version.
namespace detail::isa {
using avx512_bf16 = xsimd::avx512bw;  // dot products of bytes and pairs are no matter of xsimd's: simd/dot.hpp
using avx512_vnni = xsimd::avx512bw;
using avx512 = xsimd::avx512bw;
using avx512f = xsimd::fma3<xsimd::avx2>;
using avx512f_alone = xsimd::avx2;
using avx_vnni = xsimd::fma3<xsimd::avx2>;
using avx2 = xsimd::fma3<xsimd::avx2>;
using avx_fma = xsimd::fma3<xsimd::avx>;
using avx_fma4 = xsimd::avx;
using avx2_unfused = xsimd::avx2;
using avx = xsimd::avx;
using sse4 = xsimd::sse4_1;
using sse2 = xsimd::sse2;
using neon_dotprod = xsimd::neon64;
using neon = xsimd::neon64;
using base = xsimd::default_arch;
}  // namespace detail::isa
using NativeArch = detail::isa::HEADGATE_ISA;

template <class Arch>
using Floats = xsimd::batch<float, Arch>;
template <class Arch>
inline constexpr index_t lanes = static_cast<index_t>(Floats<Arch>::size);
template <class Arch>
struct Words {
  typedef std::uint32_t type __attribute__((vector_size(4 * Floats<Arch>::size)));
};

// Whether the architecture has a fused multiply-add.
template <class Arch>
inline constexpr bool has_fma = std::is_base_of_v<xsimd::avx512f, Arch> || std::is_base_of_v<xsimd::neon64, Arch>;
template <class Base>
inline constexpr bool has_fma<xsimd::fma3<Base>> = true;

namespace detail {

#if defined(__AVX512F__)
HEADGATE_INLINE __m512 fused(__m512 a, __m512 b, __m512 c) noexcept { return _mm512_fmadd_ps(a, b, c); }
HEADGATE_INLINE __m512 load_part(const float* from, index_t n, __m512) noexcept {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), from);
}
HEADGATE_INLINE void store_part(float* to, __m512 x, index_t n) noexcept {
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << n) - 1u), x);
}
#endif

#if defined(__FMA__)
HEADGATE_INLINE __m256 fused(__m256 a, __m256 b, __m256 c) noexcept { return _mm256_fmadd_ps(a, b, c); }
HEADGATE_INLINE __m128 fused(__m128 a, __m128 b, __m128 c) noexcept { return _mm_fmadd_ps(a, b, c); }
#endif

#if defined(__SSE2__)
HEADGATE_INLINE float sum_lanes(__m128 x) noexcept {
  const __m128 pairs = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}
HEADGATE_INLINE float max_lanes(__m128 x) noexcept {
  const __m128 pairs = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}
#endif

#if defined(__AVX__)
HEADGATE_INLINE float sum_lanes(__m256 x) noexcept {
  return sum_lanes(_mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
}
HEADGATE_INLINE float max_lanes(__m256 x) noexcept {
  return max_lanes(_mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
}
#endif

#if defined(__AVX512F__)
// Not the intrinsics, which g++ 12 calls uninitialised.
HEADGATE_INLINE __m256 low_half(__m512 x) noexcept { return __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7); }
HEADGATE_INLINE __m256 high_half(__m512 x) noexcept {
  return __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
}
HEADGATE_INLINE float sum_lanes(__m512 x) noexcept { return sum_lanes(_mm256_add_ps(low_half(x), high_half(x))); }
HEADGATE_INLINE float max_lanes(__m512 x) noexcept { return max_lanes(_mm256_max_ps(low_half(x), high_half(x))); }
#endif

#if defined(__aarch64__)
HEADGATE_INLINE float32x4_t fused(float32x4_t a, float32x4_t b, float32x4_t c) noexcept { return vfmaq_f32(c, a, b); }
HEADGATE_INLINE float sum_lanes(float32x4_t x) noexcept { return vaddvq_f32(x); }
HEADGATE_INLINE float max_lanes(float32x4_t x) noexcept { return vmaxvq_f32(x); }
#endif

#if defined(__SSE2__)
// The lower, or the upper, words of four doubles.
HEADGATE_INLINE __m128i lower_words(__m128d a, __m128d b) noexcept {
  return _mm_castps_si128(_mm_shuffle_ps(_mm_castpd_ps(a), _mm_castpd_ps(b), 0x88));
}
HEADGATE_INLINE __m128i upper_words(__m128d a, __m128d b) noexcept {
  return _mm_castps_si128(_mm_shuffle_ps(_mm_castpd_ps(a), _mm_castpd_ps(b), 0xdd));
}
// Whether product + c, which became sum, was rounded (Knuth's two-sum).
HEADGATE_INLINE __m128d was_rounded(__m128d product, __m128d c, __m128d sum) noexcept {
  const __m128d part = _mm_sub_pd(sum, product);
  const __m128d error = _mm_add_pd(_mm_sub_pd(product, _mm_sub_pd(sum, part)), _mm_sub_pd(c, part));
  return _mm_cmpneq_pd(error, _mm_setzero_pd());
}
// A fused multiply-add for processors without one, in double. The product is exact, and rounding the sum twice is
// rounding it once, unless the first rounding ends in the middle between two floats or below the normal ones.
template <class Register>
HEADGATE_INLINE Register fused_in_double(Register a, Register b, Register c) noexcept {
  const __m128d low_product = _mm_mul_pd(_mm_cvtps_pd(a), _mm_cvtps_pd(b));
  const __m128d high_product = _mm_mul_pd(_mm_cvtps_pd(_mm_movehl_ps(a, a)), _mm_cvtps_pd(_mm_movehl_ps(b, b)));
  const __m128d low_c = _mm_cvtps_pd(c);
  const __m128d high_c = _mm_cvtps_pd(_mm_movehl_ps(c, c));
  const __m128d low_sum = _mm_add_pd(low_product, low_c);
  const __m128d high_sum = _mm_add_pd(high_product, high_c);
  const __m128i lower = lower_words(low_sum, high_sum);
  const __m128i upper = _mm_and_si128(upper_words(low_sum, high_sum), _mm_set1_epi32(0x7fffffff));
  const __m128i middle = _mm_cmpeq_epi32(_mm_and_si128(lower, _mm_set1_epi32(0x1fffffff)), _mm_set1_epi32(0x10000000));
  const __m128i tiny = _mm_cmplt_epi32(upper, _mm_set1_epi32(0x38100000));  // below 2^-126
  const __m128i doubtful = _mm_or_si128(middle, tiny);
  if (_mm_movemask_epi8(doubtful) != 0) [[unlikely]] {
    const __m128i rounded =
        lower_words(was_rounded(low_product, low_c, low_sum), was_rounded(high_product, high_c, high_sum));
    if (_mm_movemask_epi8(_mm_and_si128(doubtful, rounded)) != 0) {
      Register y;
      for (std::size_t i = 0; i < 4; ++i) y[i] = fused_multiply_add(a[i], b[i], c[i]);
      return y;
    }
  }
  return _mm_movelh_ps(_mm_cvtpd_ps(low_sum), _mm_cvtpd_ps(high_sum));
}
#endif

// What a register cannot do goes by way of memory.
template <class Register>
HEADGATE_INLINE Register fused(Register a, Register b, Register c) noexcept {
#if defined(__SSE2__)
  constexpr std::size_t n = sizeof(Register) / sizeof(__m128);
  __m128 x[n];
  __m128 y[n];
  __m128 z[n];
  std::memcpy(x, &a, sizeof(Register));
  std::memcpy(y, &b, sizeof(Register));
  std::memcpy(z, &c, sizeof(Register));
#pragma GCC unroll 4
  for (std::size_t i = 0; i < n; ++i) z[i] = fused_in_double(x[i], y[i], z[i]);
  std::memcpy(&c, z, sizeof(Register));
  return c;
#else
  for (std::size_t i = 0; i < sizeof(Register) / sizeof(float); ++i) c[i] = fused_multiply_add(a[i], b[i], c[i]);
  return c;
#endif
}
template <class Register>
HEADGATE_INLINE Register load_part(const float* from, index_t n, Register) noexcept {
  Register x{};
  std::memcpy(&x, from, sizeof(float) * as_size(n));
  return x;
}
template <class Register>
HEADGATE_INLINE void store_part(float* to, Register x, index_t n) noexcept {
  std::memcpy(to, &x, sizeof(float) * as_size(n));
}

}  // namespace detail

// a b + c with one rounding, whatever the machine.
template <class Arch>
HEADGATE_INLINE Floats<Arch> fused(Floats<Arch> a, Floats<Arch> b, Floats<Arch> c) noexcept {
  using Register = typename Floats<Arch>::register_type;
  if constexpr (has_fma<Arch>) {
    return detail::fused(static_cast<Register>(a), static_cast<Register>(b), static_cast<Register>(c));
  } else {
    return detail::fused<Register>(a, b, c);
  }
}
// a b + c, fused where the machine can.
template <class Arch>
HEADGATE_INLINE Floats<Arch> multiply_add(Floats<Arch> a, Floats<Arch> b, Floats<Arch> c) noexcept {
  if constexpr (has_fma<Arch>) {
    return fused<Arch>(a, b, c);
  } else {
    return a * b + c;
  }
}

// The first n floats, n <= lanes; the other lanes are 0. Touches no other memory.
template <class Arch>
HEADGATE_INLINE Floats<Arch> load(const float* from, index_t n) noexcept {
  if (n >= lanes<Arch>) return Floats<Arch>::load_unaligned(from);
  return detail::load_part(from, n, typename Floats<Arch>::register_type{});
}
template <class Arch>
HEADGATE_INLINE void store(float* to, Floats<Arch> x, index_t n) noexcept {
  if (n >= lanes<Arch>) return x.store_unaligned(to);
  detail::store_part(to, static_cast<typename Floats<Arch>::register_type>(x), n);
}

// a where a > b, else b.
template <class Arch>
HEADGATE_INLINE Floats<Arch> larger(Floats<Arch> a, Floats<Arch> b) noexcept {
  return xsimd::select(a > b, a, b);
}

// In a fixed order.
template <class Arch>
HEADGATE_INLINE float sum_lanes(Floats<Arch> x) noexcept {
  return detail::sum_lanes(static_cast<typename Floats<Arch>::register_type>(x));
}
template <class Arch>
HEADGATE_INLINE float max_lanes(Floats<Arch> x) noexcept {
  return detail::max_lanes(static_cast<typename Floats<Arch>::register_type>(x));
}

// Bits of floats as whole numbers: the compilers' own vectors, whose shifts and masks are plain operators. (xsimd's, by
// way of g++ 12's AVX-512 intrinsics, warn of uninitialised values wherever they are inlined.)
template <class Arch>
HEADGATE_INLINE Floats<Arch> as_floats(typename Words<Arch>::type words) noexcept {
  return __builtin_bit_cast(typename Floats<Arch>::register_type, words);
}
template <class Arch>
HEADGATE_INLINE typename Words<Arch>::type as_words(Floats<Arch> x) noexcept {
  return __builtin_bit_cast(typename Words<Arch>::type, static_cast<typename Floats<Arch>::register_type>(x));
}

}  // namespace headgate::inline HEADGATE_ABI
