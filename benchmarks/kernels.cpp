// Kernels alone: products as a share of memory bandwidth and of the multiply-add peak, the cost of an empty run of the
// pool, and the small kernels of routing.
//
// usage: bench_kernels [--quick] [--threads N]
#include "support/bench.hpp"

#include <atomic>
#include <random>
#include <thread>

#if defined(_OPENMP)
#include <omp.h>
#endif

using namespace headgate;

namespace {

std::vector<float> random_floats(std::int64_t n) {
  std::mt19937 engine(1);
  std::uniform_real_distribution<float> number(-1.0f, 1.0f);
  std::vector<float> values(as_size(n));
  for (float& value : values) value = number(engine);
  return values;
}

// num_panels panels of k columns, filled without packing: any finite bits will do.
template <class Format>
AlignedBuffer panels_of(index_t num_panels, index_t k, index_t copies) {
  AlignedBuffer buffer(as_size(copies * num_panels * Format::panel_bytes(k)));
  const std::uint32_t pattern = 0x3e803e80u;  // 0.25 in both bf16 halves
  for (std::size_t i = 0; i + 4 <= buffer.size(); i += 4) std::memcpy(buffer.data() + i, &pattern, 4);
  return buffer;
}

// Panels shared out among the threads, every copy once; m rows.
template <class Format>
void product(const char* where, index_t num_panels, index_t k, index_t m, bool cold, const bench::Limits& limits,
             Context& ctx, bool quick) {
  const std::int64_t bytes = num_panels * Format::panel_bytes(k);
  const index_t copies = cold ? bench::Rotation::copies_of(bytes) : 1;
  const AlignedBuffer panels = panels_of<Format>(num_panels, k, copies);
  const index_t threads = ctx.executor.size();
  const std::vector<float> tile = random_floats(std::int64_t{k} * m);
  std::vector<float> y(as_size(std::int64_t{m} * num_panels * panel_rows * threads));
  // From L2 every thread has panels of its own and repeats them; from memory the threads share each matrix.
  const index_t repeats = cold ? 1 : 20;
  bench::Rotation rotation(copies);
  const auto once = [&] {
    const std::byte* const weights = panels.data() + rotation.next() * bytes;
    ctx.parallel(threads, [&](index_t i) {
      const Slice slice = cold ? Slice::of(num_panels, threads, i) : Slice{0, num_panels};
      float* const out = y.data() + (cold ? 0 : i * m * num_panels * panel_rows);
      for (index_t r = 0; r < repeats; ++r) {
        NativeBackend::multiply(Format{}, weights + slice.first * Format::panel_bytes(k), k, slice.last - slice.first,
                                tile.data(), m, out + panel_rows * slice.first, num_panels * panel_rows);
      }
    });
  };
  const bench::Sample sample = bench::interleaved(quick ? 9 : 41, {once})[0];
  const double total = static_cast<double>(repeats) * (cold ? 1 : threads);
  const double rate = total * static_cast<double>(bytes) / sample.median;
  const double flops = total * 2.0 * num_panels * panel_rows * k * m / sample.median;
  std::printf(
      "%-6s %-4s %5d x %-5d m=%-2d %8.1f GB/s %4.0f %% of read   %7.1f GFLOP/s %4.0f %% of peak   (p10-p90 %+.0f %+.0f "
      "%%)\n",
      where, Format::name(), num_panels * panel_rows, k, m, rate * 1e-9, 100.0 * rate / limits.read_bytes, flops * 1e-9,
      100.0 * flops / limits.flops, 100.0 * (sample.p10 / sample.median - 1.0),
      100.0 * (sample.p90 / sample.median - 1.0));
}

template <class F>
void line(const char* what, int rounds, F&& work) {
  const bench::Sample sample = bench::repeated(rounds, work);
  std::printf("%-44s %9.1f ns   (p10-p90 %.1f-%.1f)\n", what, sample.median * 1e9, sample.p10 * 1e9, sample.p90 * 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::options(argc, argv);
  const int rounds = options.quick ? 9 : 31;
  ThreadPool pool(options.threads);
  Context ctx(pool);
  const bench::Limits limits = bench::header(pool, options.quick);

  std::puts("\nproducts, weights from memory");
  for (const index_t m : {1, 2, 4, 8}) {
    product<F32>("memory", 128, 2048, m, true, limits, ctx, options.quick);
    product<Bf16>("memory", 128, 2048, m, true, limits, ctx, options.quick);
  }
  std::puts("\nproducts, weights in L2");
  for (index_t m = 1; m <= F32Tile::max_rows; m += options.quick && m > 1 ? 3 : 1) {
    product<F32>("L2", 4, 1024, m, false, limits, ctx, options.quick);
    product<Bf16>("L2", 4, 2048, m, false, limits, ctx, options.quick);
  }
  product<F32>("L2", 2, 2048, 11, false, limits, ctx, options.quick);

  std::puts("\nempty run");
  SerialExecutor serial;
  const auto nothing = [](index_t i) { bench::keep(i); };
  line("SerialExecutor", rounds, [&] { serial.run(options.threads, nothing); });
  line("ThreadPool, whoever is awake", rounds, [&] { pool.run(options.threads, nothing); });
  line("ThreadPool, every thread taking a task", rounds, [&] {
    std::atomic<index_t> arrived{0};
    pool.run(pool.size(), [&](index_t) {
      ++arrived;
      while (arrived.load() < pool.size()) std::this_thread::yield();
    });
  });
#if defined(_OPENMP)
  line("OpenMP parallel region", rounds, [&] {
#pragma omp parallel num_threads(options.threads)
    nothing(omp_get_thread_num());
  });
#else
  std::puts("OpenMP parallel region: not compiled with -fopenmp");
#endif

  std::puts("\nrouting");
  const std::vector<float> many = random_floats(64 * 4096);
  for (const index_t n : {8, 64, 256}) {
    index_t place = 0;
    const auto next = [&] { return many.data() + (place = (place + 1) % 512) * 256; };
    for (const index_t k : {2, 8}) {
      index_t order[8];
      char what[64];
      std::snprintf(what, sizeof(what), "top_k n=%d k=%d", n, k);
      line(what, rounds, [&] { bench::keep(NativeBackend::top_k(next(), n, k, order)); });
      std::snprintf(what, sizeof(what), "  as Scalar defines it");
      line(what, rounds, [&] { bench::keep(Scalar::top_k(next(), n, k, order)); });
    }
    float row[256];
    char what[64];
    std::snprintf(what, sizeof(what), "softmax n=%d", n);
    line(what, rounds, [&] {
      std::memcpy(row, next(), as_size(n) * sizeof(float));
      NativeBackend::softmax(row, n);
      bench::keep(row);
    });
  }

  std::puts("\nrows of 2048");
  const std::vector<float> x = random_floats(12 * 2048);
  std::vector<float> y(12 * 2048);
  const float* rows[F32Tile::max_rows];
  for (index_t r = 0; r < F32Tile::max_rows; ++r) rows[r] = x.data() + 2048 * r;
  line("make_tile m=11", rounds, [&] { NativeBackend::make_tile(F32Tile{}, rows, 11, 2048, y.data()); });
  line("rms_norm", rounds, [&] { NativeBackend::rms_norm(x.data(), x.data(), 1e-6f, 2048, y.data()); });
  line("axpy", rounds, [&] { NativeBackend::axpy(0.5f, x.data(), 2048, y.data()); });
  line("all_finite", rounds, [&] { bench::keep(NativeBackend::all_finite(x.data(), 2048)); });
  line("silu glu", rounds, [&] { NativeBackend::glu({}, x.data(), x.data(), 2048, y.data()); });
}
