// Kernels alone. Products of the matrices of an expert: shapes x formats x tokens x instruction sets, from memory and
// from the caches, as a share of what the machine can read and multiply. With --small, in nanoseconds, an empty run of
// the pool beside others, and the small kernels of routing and rows. Flags and output: support/sweep.hpp, and
//   --from=memory,cache   --small
#include <atomic>
#include <memory>
#include <thread>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "headgate/kernels/product.hpp"
#include "support/samples.hpp"
#include "support/sweep.hpp"

using namespace headgate;

namespace {

std::vector<float> random_floats(std::int64_t n) {
  std::mt19937 engine(1);
  std::uniform_real_distribution<float> number(-1.0f, 1.0f);
  std::vector<float> values(as_size(n));
  for (float& value : values) value = number(engine);
  return values;
}

// Copies of one matrix (rows, cols).
std::vector<Panel16<AnyFormat>> matrices(index_t rows, index_t cols, AnyFormat format, bool cold) {
  const bench::RandomRows random(format, cols);
  std::vector<Panel16<AnyFormat>> all;
  for (std::int64_t bytes = 0; all.empty() || (cold && bytes < bench::cold_bytes && all.size() < 4096);) {
    Panel16<AnyFormat>& matrix = all.emplace_back(rows, cols, format);
    for (index_t r = 0; r < rows; ++r) matrix.set_row(r, random.row(r + static_cast<index_t>(all.size())));
    bytes += matrix.bytes();
  }
  return all;
}

void products(const bench::Sweep& sweep, const bench::Shape& shape, const std::string& format_name, AnyFormat format,
              MachineLimits& limits, Context& ctx) {
  std::vector<bench::Case> cases;
  const index_t most = *std::max_element(sweep.tokens.begin(), sweep.tokens.end());
  const index_t widest = std::max(shape.hidden_size, shape.ffn_size);
  const std::vector<float> x = random_floats(std::int64_t{most} * widest);
  std::vector<float> y(x.size());
  for (const auto& [name, rows, cols] :
       {std::tuple{"gate", shape.ffn_size, shape.hidden_size}, std::tuple{"down", shape.hidden_size, shape.ffn_size}}) {
    for (const std::string& from : sweep.own.at("--from")) {
      if (from != "memory" && from != "cache") {
        throw Error(ErrorCode::usage, {"", "--from", -1, "'" + from + "' is none of memory, cache"});
      }
      const bool cold = from == "memory";
      const auto copies = std::make_shared<std::vector<Panel16<AnyFormat>>>(matrices(rows, cols, format, cold));
      for (const index_t tokens : sweep.tokens) {
        bench::Case one{.words = "\"matrix\":\"" + std::string(name) + "\",\"from\":\"" + from +
                                 "\",\"tokens\":" + std::to_string(tokens),
                        .run = {},
                        .calls = tokens > 64 ? 2 : 50};
        one.run = [&, copies, tokens, rows = rows, cols = cols, next = std::size_t{0}]() mutable {
          product((*copies)[next++ % copies->size()].view(), ConstRows(x.data(), tokens, cols),
                  Rows(y.data(), tokens, rows), ctx);
        };
        one.bytes = cold ? static_cast<double>(copies->front().bytes()) : 0.0;
        one.operations = 2.0 * tokens * rows * static_cast<double>(cols);
        cases.push_back(std::move(one));
      }
    }
  }
  const std::string words = "\"shape\":\"" + std::string(shape.name) + "\",\"format\":\"" + format_name + "\"";
  sweep.measure([&] { bench::measure(cases, words, bench::compute_of(format), sweep.rounds, limits, ctx); });
}

template <class F>
void line(const std::string& what, index_t rounds, F&& work) {
  const bench::Sample sample = bench::repeated(static_cast<int>(rounds), work);
  std::printf("{\"small\":\"%s\",\"kernels\":\"%s\",\"ns\":%.1f,\"ns_p10\":%.1f,\"ns_p90\":%.1f}\n", what.c_str(),
              NativeBackend::name(), sample.median * 1e9, sample.p10 * 1e9, sample.p90 * 1e9);
}

void small_ones(index_t rounds, index_t threads) {
  ThreadPool pool(threads);
  SerialExecutor serial;
  const auto nothing = [](index_t i) { bench::keep(i); };
  line("empty run, SerialExecutor", rounds, [&] { serial.run(threads, nothing); });
  line("empty run, ThreadPool, whoever is awake", rounds, [&] { pool.run(threads, nothing); });
  line("empty run, ThreadPool, every thread taking a task", rounds, [&] {
    std::atomic<index_t> arrived{0};
    pool.run(pool.size(), [&](index_t) {
      ++arrived;
      while (arrived.load() < pool.size()) std::this_thread::yield();
    });
  });
#if defined(_OPENMP)
  line("empty run, OpenMP parallel region", rounds, [&] {
#pragma omp parallel num_threads(threads)
    nothing(omp_get_thread_num());
  });
#endif

  const std::vector<float> many = random_floats(64 * 4096);
  for (const index_t n : {8, 64, 256}) {
    index_t place = 0;
    const auto next = [&] { return many.data() + (place = (place + 1) % 512) * 256; };
    for (const index_t k : {2, 8}) {
      index_t order[8];
      const std::string what = "top_k n=" + std::to_string(n) + " k=" + std::to_string(k);
      line(what, rounds, [&] { bench::keep(NativeBackend::top_k(next(), n, k, order)); });
      line(what + " as Scalar defines it", rounds, [&] { bench::keep(Scalar::top_k(next(), n, k, order)); });
    }
    float row[256];
    line("softmax n=" + std::to_string(n), rounds, [&] {
      std::memcpy(row, next(), as_size(n) * sizeof(float));
      NativeBackend::softmax(row, n);
      bench::keep(row);
    });
  }

  const std::vector<float> x = random_floats(12 * 2048);
  std::vector<float> y(12 * 2048);
  const float* rows[F32Tile::max_rows];
  for (index_t r = 0; r < F32Tile::max_rows; ++r) rows[r] = x.data() + 2048 * r;
  line("make_tile 11 x 2048", rounds, [&] { NativeBackend::make_tile(F32Tile{}, rows, 11, 2048, y.data()); });
  line("rms_norm 2048", rounds, [&] { NativeBackend::rms_norm(x.data(), x.data(), 1e-6f, 2048, y.data()); });
  line("axpy 2048", rounds, [&] { NativeBackend::axpy(0.5f, x.data(), 2048, y.data()); });
  line("all_finite 2048", rounds, [&] { bench::keep(NativeBackend::all_finite(x.data(), 2048)); });
  line("silu glu 2048", rounds, [&] { NativeBackend::glu({}, x.data(), x.data(), 2048, y.data()); });
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const bench::Sweep sweep = bench::Sweep::parse(argc, argv, {{"--from", {"memory", "cache"}}, {"--small", {}}});
    if (!sweep.own.at("--small").empty()) {
      for (const std::string& isa : sweep.isas) {
        throw_if_error(select_kernels(isa));
        small_ones(sweep.rounds, sweep.threads);
      }
      return 0;
    }
    sweep.each([&](auto&&... what) { products(sweep, what...); });
  } catch (const Error& error) {
    std::fprintf(stderr, "bench_kernels: %s\n", error.what());
    return 2;
  }
  return 0;
}
