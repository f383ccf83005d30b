// LimitProbesV1: what shows how fast this machine can read memory and multiply with one instruction set, as plain
// functions beside the kernels that are compiled for it (kernel_table.hpp): an object exports one function that returns
// its probes. What headgate bench compares with.
#pragma once

#include <iterator>

#include "headgate/core/compute.hpp"
#include "headgate/kernels/simd/dot.hpp"
#include "headgate/kernels/simd/pairs.hpp"

struct LimitProbesV1 {
  // Multiply-adds in registers alone; what it returns depends on all of them.
  struct Unit {
    float (*run)(std::int64_t rounds) noexcept;
    std::int64_t operations;  // of a round, a multiply-add counted as two
  };

  // Adds `count` floats, a multiple of 128, read as 1, 4 or 8 streams side by side.
  float (*read[3])(const float* from, std::int64_t count) noexcept;
  Unit units[3];  // by Compute
};
static_assert(std::size(headgate::all_computes) == std::extent_v<decltype(LimitProbesV1::units)>);

namespace headgate::inline HEADGATE_ABI {

template <class Arch, index_t streams>
HEADGATE_NOINLINE float read_streams(const float* from, std::int64_t count) noexcept {
  constexpr index_t width = lanes<Arch>;
  Floats<Arch> sums[as_size(streams)];
#pragma GCC unroll 16
  for (index_t s = 0; s < streams; ++s) sums[s] = Floats<Arch>(0.0f);
  const std::int64_t length = count / streams;
  for (std::int64_t i = 0; i + 16 <= length; i += 16) {
#pragma GCC unroll 8
    for (index_t s = 0; s < streams; ++s) {
#pragma GCC unroll 4
      for (index_t part = 0; part < 16; part += width) {
        sums[s] = sums[s] + Floats<Arch>::load_unaligned(from + s * length + i + part);
      }
    }
  }
#pragma GCC unroll 16
  for (index_t s = 1; s < streams; ++s) sums[0] = sums[0] + sums[s];
  return sum_lanes<Arch>(sums[0]);
}

// A compiler cannot know what is in the register any more: neither that two hold the same, nor that it stays so.
template <class Register>
HEADGATE_INLINE void forget(Register& x) noexcept {
#if defined(__aarch64__)
  __asm__ volatile("" : "+w"(x));
#elif defined(__x86_64__)
  __asm__ volatile("" : "+v"(x));
#else
  static_cast<void>(x);
#endif
}

// So many chains, which every machine overlaps fully: the latency of a multiply-add times how many it starts in a
// cycle.
template <class Arch>
HEADGATE_NOINLINE float multiply_add_floats(std::int64_t rounds) noexcept {
  constexpr index_t chains = 12;
  using Register = typename Floats<Arch>::register_type;
  Register x = Floats<Arch>(0.999f);
  Floats<Arch> sums[as_size(chains)];
#pragma GCC unroll 16
  for (index_t i = 0; i < chains; ++i) sums[i] = Floats<Arch>(static_cast<float>(i));
  for (; rounds > 0; --rounds) {
    forget(x);
#pragma GCC unroll 16
    for (index_t i = 0; i < chains; ++i) sums[i] = multiply_add<Arch>(sums[i], Floats<Arch>(x), Floats<Arch>(x));
  }
#pragma GCC unroll 16
  for (index_t i = 1; i < chains; ++i) sums[0] = sums[0] + sums[i];
  return sum_lanes<Arch>(sums[0]);
}
template <class Arch>
HEADGATE_NOINLINE float multiply_add_bytes(std::int64_t rounds) noexcept {
  constexpr index_t chains = 10;
  using Int = typename Ints<Arch>::type;
  using Word = typename Words<Arch>::type;
  const Word q = Word{} + 0x01020304u;
  Word x = Word{} + 0x7f3f1f0fu;
  Int sums[as_size(chains)];
#pragma GCC unroll 16
  for (index_t i = 0; i < chains; ++i) sums[i] = Int{} + i;
  for (; rounds > 0; --rounds) {
#pragma GCC unroll 16
    for (index_t i = 0; i < chains; ++i) {
      forget(x);  // or else one product would do for all chains
      sums[i] = dot<Arch, false>(sums[i], q, x);
    }
  }
#pragma GCC unroll 16
  for (index_t i = 1; i < chains; ++i) sums[0] += sums[i];
  return static_cast<float>(sums[0][0]);
}

template <class Arch>
HEADGATE_NOINLINE float multiply_add_pairs(std::int64_t rounds) noexcept {
  constexpr index_t chains = 12;
  typename Floats<Arch>::register_type x = Floats<Arch>(0.999f);
  Floats<Arch> sums[as_size(chains)];
#pragma GCC unroll 16
  for (index_t i = 0; i < chains; ++i) sums[i] = Floats<Arch>(static_cast<float>(i));
  for (; rounds > 0; --rounds) {
    forget(x);
#pragma GCC unroll 16
    for (index_t i = 0; i < chains; ++i) sums[i] = dot_pairs<Arch>(Floats<Arch>(x), Floats<Arch>(x), sums[i]);
  }
#pragma GCC unroll 16
  for (index_t i = 1; i < chains; ++i) sums[0] = sums[0] + sums[i];
  return sum_lanes<Arch>(sums[0]);
}

template <class Arch>
constexpr LimitProbesV1 make_limit_probes() noexcept {
  constexpr std::int64_t width = lanes<Arch>;
  const LimitProbesV1::Unit floats{multiply_add_floats<Arch>, 2 * 12 * width};
  LimitProbesV1 probes{{read_streams<Arch, 1>, read_streams<Arch, 4>, read_streams<Arch, 8>}, {floats, floats, floats}};
  if constexpr (has_pair_dots) probes.units[2] = {multiply_add_pairs<Arch>, 2 * 12 * 2 * width};
  if constexpr (has_dot<Arch>) probes.units[1] = {multiply_add_bytes<Arch>, 2 * 10 * 4 * width};
  return probes;
}

}  // namespace headgate::inline HEADGATE_ABI
