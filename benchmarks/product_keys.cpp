// That product keys cost what the root of the number of experts does: PEER's routing (8 heads, k = 16, halves of a
// query of 64, hidden size 256) and its layer of single neurons, N = 1024 to 1,048,576, 512 tokens together and one
// alone. All sizes are measured in turns, so that a slow moment of the machine meets them all, and shown as multiples
// of the smallest. Beside them the same from enumeration, one pass over all N scores that are there already, for what
// it spares.
//   bench_product_keys [--quick] [--threads N]
// The layer of a million experts holds 2 GiB of weights, and building it takes seconds.
#include <cmath>
#include <cstdio>
#include <memory>
#include <random>
#include <vector>

#include "headgate/experts/single_neuron_experts.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/routing/peer_router.hpp"
#include "support/bench.hpp"

namespace {

using namespace headgate;
using Layer = MoELayer<PeerRouter<>, SingleNeuronExperts<>>;

constexpr index_t hidden_size = 256;
constexpr index_t key_size = 64;
constexpr PeerOptions options{.heads = 8, .k = 16};

std::vector<float> random_floats(std::int64_t n, float scale, std::mt19937& rng) {
  std::vector<float> values(as_size(n));
  for (float& value : values) value = scale * (static_cast<float>(rng() >> 8) * 0x1p-23f - 1.0f);
  return values;
}

Layer layer_of(index_t side) {
  std::mt19937 rng(1);
  const index_t queries = 2 * options.heads * key_size;
  const std::vector<float> query = random_floats(std::int64_t{queries} * hidden_size, 0.1f, rng);
  const std::vector<float> first = random_floats(std::int64_t{options.heads} * side * key_size, 0.2f, rng);
  const std::vector<float> second = random_floats(std::int64_t{options.heads} * side * key_size, 0.2f, rng);
  PeerRouter<> router = PeerRouter<>::create({.query = {query.data(), queries, hidden_size},
                                              .first_keys = {first.data(), options.heads * side, key_size},
                                              .second_keys = {second.data(), options.heads * side, key_size}},
                                             options)
                            .value();
  // One row for all neurons: what they compute costs what others would.
  const std::vector<float> neuron = random_floats(hidden_size, 0.1f, rng);
  const ConstRows rows(neuron.data(), side * side, hidden_size, 0);
  return {std::move(router), SingleNeuronExperts<>(rows, rows, {ActivationKind::gelu})};
}

struct Case {
  explicit Case(index_t of_side, ExecutorRef threads)
      : side(of_side), layer(layer_of(of_side)), ctx(threads), sums(as_size(side) * as_size(side)) {
    std::mt19937 rng(2);
    sums = random_floats(std::int64_t{side} * side, 1.0f, rng);
  }
  void route(ConstRows x) { throw_if_error(layer.router().route({.hidden = x}, state.router, state.plan, ctx)); }
  void forward(ConstRows x, Rows y) { throw_if_error(layer.forward({.hidden = x}, state, y, ctx)); }
  // The k best of all scores of a head, for all heads of a token.
  void enumerate() {
    for (index_t h = 0; h < options.heads; ++h) {
      index_t order[as_size(options.k)];
      NativeBackend::top_k(sums.data(), side * side, options.k, order);
      bench::keep(order);
    }
  }

  index_t side;
  Layer layer;
  Context ctx;
  Layer::State state;
  std::vector<float> sums;
};

}  // namespace

int main(int argc, char** argv) {
  const bench::Options given = bench::options(argc, argv);
  ThreadPool pool(given.threads);
  std::vector<std::unique_ptr<Case>> cases;
  for (const index_t side : {32, 128, 512, 1024}) {
    if (!given.quick || side <= 512) cases.push_back(std::make_unique<Case>(side, pool));
  }
  constexpr index_t tokens = 512;
  std::mt19937 rng(3);
  const std::vector<float> hidden = random_floats(std::int64_t{tokens} * hidden_size, 1.7f, rng);
  std::vector<float> out(hidden.size());

  std::printf("PEER, 8 heads, k 16, hidden %d, %s, threads %d; ns/token, and multiples of the smallest\n", hidden_size,
              NativeBackend::name(), pool.size());
  std::printf("%8s %7s %6s | %10s %7s | %10s %7s | %12s %7s | %7s\n", "N", "sqrt", "tokens", "routing", "times",
              "layer", "times", "enumerating", "times", "sqrt N");
  for (const index_t count : {1, tokens}) {
    const Rows y(out.data(), count, hidden_size);
    // A call reads other tokens than the last, so that neurons are not the same ones.
    std::vector<index_t> next(cases.size(), 0);
    const auto rows = [&](std::size_t c) {
      next[c] = (next[c] + count) % tokens;
      return ConstRows(hidden.data(), tokens, hidden_size).middle_rows(next[c], count);
    };
    const int calls = count == 1 ? 200 : 1;
    std::vector<std::function<void()>> works;
    for (std::size_t c = 0; c < cases.size(); ++c) {
      const auto often = [calls](auto work) {
        return [calls, work] {
          for (int i = 0; i < calls; ++i) work();
        };
      };
      works.push_back(often([&, c] { cases[c]->route(rows(c)); }));
      works.push_back(often([&, c] { cases[c]->forward(rows(c), y); }));
      works.push_back([&, c] { cases[c]->enumerate(); });
    }
    const std::vector<bench::Sample> samples = bench::interleaved(given.quick ? 5 : 40, works);
    const auto time = [&](std::size_t c, std::size_t what) {
      return 1e9 * samples[3 * c + what].least / (what == 2 ? 1 : calls * count);
    };
    for (std::size_t c = 0; c < cases.size(); ++c) {
      const index_t side = cases[c]->side;
      std::printf("%8d %7d %6d | %10.0f %7.2f | %10.0f %7.2f | %12.0f %7.1f | %7.1f\n", side * side, side, count,
                  time(c, 0), time(c, 0) / time(0, 0), time(c, 1), time(c, 1) / time(0, 1), time(c, 2),
                  time(c, 2) / time(0, 2), static_cast<double>(side) / cases[0]->side);
    }
  }
  return 0;
}
