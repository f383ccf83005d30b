// What benchmarks of one instruction set share: flags, and the machine's own limits, measured in the same run with the
// same threads.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "../../examples/cli/processor.hpp"
#include "headgate/core/aligned_buffer.hpp"
#include "headgate/core/context.hpp"
#include "headgate/core/thread_pool.hpp"
#include "headgate/kernels/native.hpp"
#include "samples.hpp"

namespace bench {

using headgate::as_size;
using headgate::index_t;

struct Options {
  bool quick = false;  // seconds in place of minutes
  index_t threads = headgate::available_threads();
};

// --quick, --threads N; anything else is refused.
inline Options options(int argc, char** argv) {
  Options result;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--quick") {
      result.quick = true;
    } else if (argument == "--threads" && i + 1 < argc) {
      result.threads = static_cast<index_t>(std::strtol(argv[++i], nullptr, 10));
    } else {
      std::fprintf(stderr, "usage: %s [--quick] [--threads N]\n", argv[0]);
      std::exit(2);
    }
  }
  return result;
}

// More bytes than any cache holds: work that walks through `count` copies finds the next one cold.
class Rotation {
 public:
  explicit Rotation(index_t count) : count_(count) {}
  static index_t copies_of(std::int64_t bytes) {
    constexpr std::int64_t cold = std::int64_t{384} << 20;
    return static_cast<index_t>(std::max<std::int64_t>(2, cold / std::max<std::int64_t>(bytes, 1)));
  }
  index_t next() { return place_ = (place_ + 1) % count_; }

 private:
  index_t count_;
  index_t place_ = 0;
};

struct Limits {
  double read_bytes = 0.0;  // per second, from memory, all threads
  double flops = 0.0;       // per second, f32 multiply-add counted as two, all threads
};

namespace detail {

// Sums a slice read as `streams` streams side by side.
template <index_t STREAMS>
HEADGATE_NOINLINE float read_streams(const float* from, std::int64_t count) {
  using Arch = headgate::NativeArch;
  constexpr index_t width = headgate::lanes<Arch>;
  headgate::Floats<Arch> sums[as_size(STREAMS)];
  for (index_t s = 0; s < STREAMS; ++s) sums[s] = headgate::Floats<Arch>(0.0f);
  const std::int64_t length = count / STREAMS;
  for (std::int64_t i = 0; i + 64 / 4 <= length; i += 16) {
    for (index_t s = 0; s < STREAMS; ++s) {
      for (index_t part = 0; part < 16; part += width) {
        sums[s] = sums[s] + headgate::Floats<Arch>::load_unaligned(from + s * length + i + part);
      }
    }
  }
  for (index_t s = 1; s < STREAMS; ++s) sums[0] = sums[0] + sums[s];
  return headgate::sum_lanes<Arch>(sums[0]);
}

// 12 chains of multiply-adds, which every machine overlaps fully. They start from different numbers: of equal chains
// the compiler would keep one.
HEADGATE_NOINLINE inline float multiply_adds(std::int64_t rounds) {
  using Arch = headgate::NativeArch;
  using F = headgate::Floats<Arch>;
  const F x(0.999f);
  F a(1.0f), b(2.0f), c(3.0f), d(4.0f), e(5.0f), f(6.0f), g(7.0f), h(8.0f), i(9.0f), j(10.0f), k(11.0f), l(12.0f);
  for (; rounds > 0; --rounds) {
    a = headgate::multiply_add<Arch>(a, x, x);
    b = headgate::multiply_add<Arch>(b, x, x);
    c = headgate::multiply_add<Arch>(c, x, x);
    d = headgate::multiply_add<Arch>(d, x, x);
    e = headgate::multiply_add<Arch>(e, x, x);
    f = headgate::multiply_add<Arch>(f, x, x);
    g = headgate::multiply_add<Arch>(g, x, x);
    h = headgate::multiply_add<Arch>(h, x, x);
    i = headgate::multiply_add<Arch>(i, x, x);
    j = headgate::multiply_add<Arch>(j, x, x);
    k = headgate::multiply_add<Arch>(k, x, x);
    l = headgate::multiply_add<Arch>(l, x, x);
  }
  return headgate::sum_lanes<Arch>(((a + b) + (c + d)) + ((e + f) + (g + h)) + ((i + j) + (k + l)));
}

}  // namespace detail

// The better of 1, 4 and 8 streams a thread, and the peak of multiply-adds. The best of some samples each: a limit is
// what the machine can do undisturbed.
inline Limits measure_limits(headgate::ExecutorRef threads, bool quick) {
  const index_t n = threads.size();
  // Short samples, between which others may run: 8 MiB a thread, the next 8 MiB each time.
  constexpr std::int64_t count = (std::int64_t{8} << 20) / 4;
  const index_t copies = Rotation::copies_of(n * count * 4);
  headgate::AlignedBuffer memory(as_size(copies * n * count * 4));
  std::memset(memory.data(), 1, memory.size());  // pages that nobody has written are all one, in the cache
  const auto* const floats = reinterpret_cast<const float*>(memory.data());
  Rotation rotation(copies);
  const auto read = [&](float (*kernel)(const float*, std::int64_t)) {
    return [&, kernel] {
      const float* const from = floats + rotation.next() * n * count;
      threads.run(n, [&](index_t i) { keep(kernel(from + i * count, count)); });
    };
  };
  constexpr std::int64_t rounds = 100'000;
  const std::vector<Sample> samples = interleaved(
      quick ? 40 : 200, {read(detail::read_streams<1>), read(detail::read_streams<4>), read(detail::read_streams<8>),
                         [&] { threads.run(n, [&](index_t) { keep(detail::multiply_adds(rounds)); }); }});
  const double seconds = std::min({samples[0].least, samples[1].least, samples[2].least});
  const double flops = 2.0 * 12.0 * headgate::lanes<headgate::NativeArch> * static_cast<double>(rounds) * n;
  return {4.0 * static_cast<double>(n * count) / seconds, flops / samples[3].least};
}

// Says where the numbers below come from, and measures what they are compared with.
inline Limits header(headgate::ExecutorRef threads, bool quick) {
#if defined(__clang__)
  constexpr const char* compiler = "clang " __clang_version__;
#else
  constexpr const char* compiler = "g++ " __VERSION__;
#endif
  std::printf("%s, %d threads; %s, %s, kernels %s\n", processor_name().c_str(), static_cast<int>(threads.size()),
              compiler, HEADGATE_FLAGS, headgate::NativeBackend::name());
  const Limits limits = measure_limits(threads, quick);
  std::printf("limits: memory read %.1f GB/s, f32 multiply-add %.0f GFLOP/s\n", limits.read_bytes * 1e-9,
              limits.flops * 1e-9);
  return limits;
}

}  // namespace bench
