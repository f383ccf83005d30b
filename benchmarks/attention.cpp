// One step of a mixer at several lengths of the text: what it costs and what a text holds; and a step of several texts,
// in one pass and in a pass each. A window's cost is that of its positions, however long the text; latent attention's
// grows by its latents with every position, whatever the size of its heads.
//   bench_attention [--quick] [--threads N]
#include <random>

#include "headgate/attention/any_mixer.hpp"
#include "headgate/attention/gqa.hpp"
#include "headgate/attention/mla.hpp"
#include "support/bench.hpp"

namespace {

using namespace headgate;

constexpr index_t hidden_size = 1024;
constexpr index_t rows_per_pass = 256;

std::vector<float> random_floats(std::int64_t n, float scale) {
  static std::mt19937 rng(1);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(as_size(n));
  for (float& value : values) value = normal(rng);
  return values;
}

struct Kind {
  const char* name;
  AnyMixer mixer;
};
AnyMixer grouped(index_t window, index_t kv_heads = 4, index_t head_dim = 64) {
  const GqaShape shape{.hidden_size = hidden_size,
                       .num_heads = 16,
                       .num_kv_heads = kv_heads,
                       .head_dim = head_dim,
                       .scale = GqaShape::default_scale(head_dim),
                       .window = window};
  GroupedQueryAttention<Bf16> attention(shape, nullptr);
  const std::vector<float> row = random_floats(std::max(hidden_size, shape.query_size()), 0.02f);
  for (index_t r = 0; r < shape.query_size(); ++r) attention.set_query_row(r, row.data());
  for (index_t r = 0; r < shape.kv_size(); ++r) attention.set_key_row(r, row.data());
  for (index_t r = 0; r < shape.kv_size(); ++r) attention.set_value_row(r, row.data());
  for (index_t r = 0; r < hidden_size; ++r) attention.set_output_row(r, row.data());
  return attention;
}

AnyMixer latent(index_t latents, index_t head_dim) {
  const MlaShape shape{.hidden_size = hidden_size,
                       .num_heads = 16,
                       .latent_size = latents,
                       .nope_dim = head_dim,
                       .rope_dim = 64,
                       .value_dim = head_dim,
                       .scale = MlaShape::default_scale(head_dim, 64)};
  MultiHeadLatentAttention<Bf16> attention(shape, nullptr);
  const std::vector<float> weights = random_floats(std::int64_t{1024} * 1024, 0.02f);
  for (index_t r = 0; r < shape.query_size(); ++r) attention.set_query_row(r, weights.data() + r);
  for (index_t r = 0; r < shape.key_size(); ++r) attention.set_latent_row(r, weights.data() + r);
  for (index_t h = 0; h < shape.num_heads; ++h) {
    attention.set_key_up(h, {weights.data() + h, head_dim, latents});
    for (index_t r = 0; r < head_dim; ++r) attention.set_value_up_row(h, r, weights.data() + h + r);
  }
  for (index_t r = 0; r < hidden_size; ++r) attention.set_output_row(r, weights.data() + r);
  return attention;
}

// The next rows of each text, in one pass.
void forward(const AnyMixer& mixer, std::span<AnyState* const> states, index_t rows_each, Context& ctx) {
  const auto total = static_cast<index_t>(states.size()) * rows_each;
  static const std::vector<float> x = random_floats(std::int64_t{rows_per_pass} * hidden_size, 1.0f);
  static std::vector<float> y(x.size());
  std::vector<SequenceRows> sequences;
  for (const AnyState* const state : states) sequences.push_back({rows_each, state->position()});
  // Any angles: they change no time.
  const std::vector<float> angles(mixer.rope() == nullptr ? 0 : as_size(total * mixer.rope()->half()), 0.5f);
  const ConstRows turned(angles.data(), total, mixer.rope() == nullptr ? 0 : mixer.rope()->half());
  throw_if_error(mixer.forward({{x.data(), total, hidden_size}, sequences, turned, turned}, states,
                               {y.data(), total, hidden_size}, ctx));
}
void forward_to(const AnyMixer& mixer, AnyState& state, index_t end, Context& ctx) {
  AnyState* const states[] = {&state};
  while (state.position() < end) forward(mixer, states, std::min(rows_per_pass, end - state.position()), ctx);
}

void lengths(const std::vector<Kind>& kinds, const bench::Options& options, Context& ctx) {
  std::printf("  %-20s %10s %12s %12s\n", "mixer", "positions", "state MiB", "step us");
  const index_t longest = options.quick ? 4096 : 16384;
  for (const auto& [name, mixer] : kinds) {
    AnyState state = mixer.make_state({longest + 1, rows_per_pass, 1});
    for (const index_t positions : {256, 1024, 4096, 16384}) {
      if (positions > longest) continue;
      forward_to(mixer, state, positions, ctx);
      AnyState* const states[] = {&state};
      const bench::Sample step = bench::repeated(options.quick ? 5 : 25, [&] {
        forward(mixer, states, 1, ctx);
        state.truncate(positions);
      });
      std::printf("  %-20s %10d %12.2f %12.1f\n", name, positions, static_cast<double>(state.bytes()) / (1 << 20),
                  step.median * 1e6);
    }
  }
}

void texts(const std::vector<Kind>& kinds, const bench::Options& options, Context& ctx) {
  constexpr index_t count = 8;
  constexpr index_t positions = 512;
  std::printf("\na step of %d texts of %d positions\n", count, positions);
  std::printf("  %-14s %14s %14s %8s\n", "mixer", "a pass each us", "one pass us", "ratio");
  for (const auto& [name, mixer] : kinds) {
    std::vector<AnyState> states;
    std::vector<AnyState*> pointers;
    for (index_t s = 0; s < count; ++s) {
      states.push_back(mixer.make_state({positions + 1, rows_per_pass, 1}));
      forward_to(mixer, states.back(), positions, ctx);
    }
    for (AnyState& state : states) pointers.push_back(&state);
    const auto back = [&] {
      for (AnyState& state : states) state.truncate(positions);
    };
    const std::vector<bench::Sample> samples =
        bench::interleaved(options.quick ? 20 : 200, {[&] {
                                                        for (AnyState* state : pointers)
                                                          forward(mixer, {&state, 1}, 1, ctx);
                                                        back();
                                                      },
                                                      [&] {
                                                        forward(mixer, pointers, 1, ctx);
                                                        back();
                                                      }});
    std::printf("  %-14s %14.1f %14.1f %8.2f\n", name, samples[0].median * 1e6, samples[1].median * 1e6,
                samples[1].median / samples[0].median);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::options(argc, argv);
  ThreadPool pool(options.threads);
  Context ctx(pool);
  bench::header(pool, options.quick);
  const std::vector<Kind> kinds{{"full", grouped(0)}, {"window 1024", grouped(1024)}, {"window 128", grouped(128)}};
  const std::vector<Kind> of_latents{{"512 latents, of 64", latent(512, 64)},
                                     {"512 latents, of 128", latent(512, 128)},
                                     {"512 latents, of 256", latent(512, 256)},
                                     {"256 latents, of 128", latent(256, 128)},
                                     {"keys of all heads", grouped(0, 16, 128)}};
  std::printf("\none step of one layer, 16 heads of 64 on 4, bf16\n");
  lengths(kinds, options, ctx);
  std::printf("\none step of one layer of latent attention, 16 heads, bf16\n");
  lengths(of_latents, options, ctx);
  texts(kinds, options, ctx);
}
