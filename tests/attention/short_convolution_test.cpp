#include "headgate/attention/short_convolution.hpp"

#include "headgate/attention/any_mixer.hpp"
#include "support/golden.hpp"
#include "support/mixer_run.hpp"
#include "support/random.hpp"
#include "support/scratch.hpp"
#include "support/status.hpp"

using namespace headgate;

static_assert(Mixer<ShortConvolution<>>);

namespace {

const ShortConvolutionShape shapes[] = {{.hidden_size = 20, .taps = 3, .has_bias = false},
                                        {.hidden_size = 7, .taps = 4, .has_bias = true},
                                        {.hidden_size = 70, .taps = 1, .has_bias = true}};

// A convolution's weights as its checkpoint has them.
struct Weights {
  explicit Weights(const ShortConvolutionShape& of) : shape(of) {
    const index_t h = shape.hidden_size;
    input = random_floats(as_size(3 * h * h), 1.0f, 1);
    taps = random_floats(as_size(h * shape.taps), 1.0f, 2);
    output = random_floats(as_size(h * h), 1.0f, 3);
    if (!shape.has_bias) return;
    input_bias = random_floats(as_size(3 * h), 1.0f, 4);
    taps_bias = random_floats(as_size(h), 1.0f, 5);
    output_bias = random_floats(as_size(h), 1.0f, 6);
  }
  template <class Format = F32>
  ShortConvolution<Format> packed() const {
    ShortConvolution<Format> mixer(shape);
    const index_t h = shape.hidden_size;
    for (index_t r = 0; r < 3 * h; ++r) mixer.set_input_row(r, input.data() + r * h);
    for (index_t r = 0; r < h; ++r) mixer.set_output_row(r, output.data() + r * h);
    for (index_t c = 0; c < h; ++c) mixer.set_taps(c, taps.data() + c * shape.taps);
    REQUIRE(mixer.input_bias().size() == input_bias.size());
    REQUIRE(mixer.taps_bias().size() == taps_bias.size());
    REQUIRE(mixer.output_bias().size() == output_bias.size());
    std::copy(input_bias.begin(), input_bias.end(), mixer.input_bias().begin());
    std::copy(taps_bias.begin(), taps_bias.end(), mixer.taps_bias().begin());
    std::copy(output_bias.begin(), output_bias.end(), mixer.output_bias().begin());
    return mixer;
  }
  // The definition, in double.
  std::vector<double> mix(const std::vector<float>& text) const {
    const index_t h = shape.hidden_size;
    const auto length = static_cast<index_t>(text.size()) / h;
    const auto at = [](const std::vector<float>& bias, index_t i) {
      return bias.empty() ? 0.0 : double{bias[as_size(i)]};
    };
    std::vector<double> projected(as_size(length * 3 * h)), y(as_size(length * h));
    for (index_t t = 0; t < length; ++t) {
      for (index_t r = 0; r < 3 * h; ++r) {
        double& sum = projected[as_size(t * 3 * h + r)];
        sum = at(input_bias, r);
        for (index_t i = 0; i < h; ++i) sum += double{input[as_size(r * h + i)]} * text[as_size(t * h + i)];
      }
      std::vector<double> gated(as_size(h));
      for (index_t c = 0; c < h; ++c) {
        double sum = at(taps_bias, c);
        for (index_t j = 0; j < shape.taps; ++j) {
          const index_t s = t - shape.taps + 1 + j;
          if (s < 0) continue;
          const double* const row = projected.data() + s * 3 * h;
          sum += taps[as_size(c * shape.taps + j)] * row[c] * row[2 * h + c];
        }
        gated[as_size(c)] = sum * projected[as_size(t * 3 * h + h + c)];
      }
      for (index_t r = 0; r < h; ++r) {
        double& sum = y[as_size(t * h + r)];
        sum = at(output_bias, r);
        for (index_t i = 0; i < h; ++i) sum += output[as_size(r * h + i)] * gated[as_size(i)];
      }
    }
    return y;
  }

  ShortConvolutionShape shape;
  std::vector<float> input, taps, output, input_bias, taps_bias, output_bias;
};
std::vector<float> text_of(index_t rows, index_t width, std::uint32_t seed) {
  return random_floats(as_size(rows * width), 1.0f, seed);
}

}  // namespace

TEST_CASE("a short convolution agrees with its definition in double, the same bits in any chunks and threads") {
  for (const ShortConvolutionShape& shape : shapes) {
    INFO(shape.hidden_size);
    const Weights weights(shape);
    const auto mixer = weights.packed();
    const std::vector<float> text = text_of(37, shape.hidden_size, 7);
    const std::vector<double> expected = weights.mix(text);
    const std::vector<float> whole = mixed(mixer, text, 37);
    double scale = 0.0;
    for (const double value : expected) scale = std::max(scale, std::abs(value));
    for (std::size_t i = 0; i < whole.size(); ++i) CHECK(std::abs(whole[i] - expected[i]) < 1e-5 * scale);
    for (const index_t chunk : {1, 2, 5, 36}) {
      for (const index_t threads : {1, 3}) CHECK(mixed(mixer, text, chunk, threads, chunk % 2) == whole);
    }
  }
}

TEST_CASE("a short convolution agrees with transformers' LFM2") {
  const nlohmann::json cases = golden("mixers")["convolution"];
  REQUIRE(cases.size() == 2);
  for (const auto& of : cases) {
    Weights weights({.hidden_size = 7, .taps = of["taps"], .has_bias = of["bias"]});
    const auto tensor = [&](const char* name) {
      return of["weights"].contains(name) ? values(of["weights"][name]) : std::vector<float>();
    };
    weights.input = tensor("in_proj.weight");
    weights.taps = tensor("conv.weight");
    weights.output = tensor("out_proj.weight");
    weights.input_bias = tensor("in_proj.bias");
    weights.taps_bias = tensor("conv.bias");
    weights.output_bias = tensor("out_proj.bias");
    const std::vector<float> found = mixed(weights.packed(), values(of["hidden"]), 9);
    const auto expected = values<double>(of["output"]);
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) CHECK(std::abs(found[i] - expected[i]) < 2e-6);
  }
}

TEST_CASE("taps in the order of the file: the last belongs to the row itself") {
  ShortConvolution<> mixer({.hidden_size = 1, .taps = 3});
  const float one = 1.0f;
  const float taps[] = {0.125f, 0.25f, 0.5f};
  for (index_t r = 0; r < 3; ++r) mixer.set_input_row(r, &one);
  mixer.set_output_row(0, &one);
  mixer.set_taps(0, taps);
  // h_t = u^2, y = u g
  CHECK(mixed(mixer, {1.0f, 2.0f, 3.0f}, 3) == std::vector{0.5f, 2.0f * 2.25f, 3.0f * 5.625f});
}

TEST_CASE("texts of one pass of a short convolution have the bits they have alone, also after going back") {
  const Weights weights(shapes[1]);
  const auto mixer = weights.packed();
  Texts texts{text_of(9, 7, 1), text_of(6, 7, 2), text_of(12, 7, 3)};
  const Texts alone{mixed(mixer, texts[0], 9), mixed(mixer, texts[1], 6), mixed(mixer, texts[2], 12)};
  ThreadExecutor executor(2);
  Context ctx(executor);
  std::vector<FirState> states;
  for (const auto& text : texts) states.push_back(mixer.make_state({static_cast<index_t>(text.size() / 7), 5, 2}));
  Texts again = texts;
  throw_if_error(mix_next(mixer, states, {5, 0, 1}, again, ctx));
  throw_if_error(mix_next(mixer, states, {1, 3, 5}, again, ctx));
  throw_if_error(mix_next(mixer, states, {0, 0, 0}, again, ctx));
  // Two positions are written once more.
  states[2].truncate(4);
  std::copy_n(texts[2].begin() + 4 * 7, 2 * 7, again[2].begin() + 4 * 7);
  throw_if_error(mix_next(mixer, states, {3, 3, 2}, again, ctx));
  throw_if_error(mix_next(mixer, states, {0, 0, 1}, again, ctx));
  CHECK(again[0] == alone[0]);
  CHECK(again[1] == alone[1]);
  for (index_t i = 0; i < 7 * 7; ++i) CHECK(again[2][as_size(i)] == alone[2][as_size(i)]);
}

TEST_CASE("a short convolution with bf16 weights is that with the same values in f32") {
  Weights weights(shapes[0]);
  for (auto* const matrix : {&weights.input, &weights.output}) {
    for (float& value : *matrix) value = static_cast<float>(bf16(value));
  }
  const std::vector<float> text = text_of(5, 20, 9);
  CHECK(mixed(weights.packed<Bf16>(), text, 5) == mixed(weights.packed<F32>(), text, 5));
}

TEST_CASE("a short convolution refuses sizes, rows and states that do not fit") {
  const auto refusal = [](const ShortConvolutionShape& shape) { return refused(ShortConvolution<>::create(shape)); };
  CHECK(refusal({.hidden_size = 1, .taps = 1}) == "made");
  CHECK(refusal({.hidden_size = 0, .taps = 1}) == "hidden_size, at least (got 0, allowed 1)");
  CHECK(refusal({.hidden_size = 1, .taps = 0}) == "taps of a convolution, at least (got 0, allowed 1)");
  CHECK(refusal({.hidden_size = 1, .taps = 1025}) == "taps of a convolution (got 1025, allowed 1024)");
  CHECK(refusal({.hidden_size = (1 << 20) + 1, .taps = 1}) == "hidden_size (got 1048577, allowed 1048576)");

  const auto mixer = Weights(shapes[1]).packed();
  Context ctx;
  Texts texts{text_of(9, 7, 1)};
  std::vector<FirState> states{mixer.make_state({9, 4, 0})};
  CHECK(said(mix_next(mixer, states, {5}, texts, ctx)) ==
        "usage: rows of a sequence, at most (got 5, allowed 4), token 0");
  CHECK(said(mix_next(mixer, states, {4}, texts, ctx)) == "ok");
  states[0] = FirState({9, 4, 0}, 3, 7);
  CHECK(said(mix_next(mixer, states, {4}, texts, ctx)) ==
        "usage: the state was made by a convolution of another shape");
  states[0] = FirState({9, 4, 0}, 4, 8);
  CHECK(said(mix_next(mixer, states, {4}, texts, ctx)) ==
        "usage: the state was made by a convolution of another shape");
}

TEST_CASE("a short convolution's costs are known before it exists") {
  for (const ShortConvolutionShape& shape : shapes) {
    const auto mixer = Weights(shape).packed();
    const StateSize size{100, 12, 3};
    CHECK(mixer.make_state(size).bytes() == shape.state_bytes(size));
    for (const index_t rows : {1, 12}) {
      for (const index_t threads : {1, 3}) {
        ThreadExecutor executor(threads);
        Context ctx(executor);
        const AnyMixer any(Weights(shape).packed());
        Texts texts{text_of(rows, shape.hidden_size, 1), text_of(rows, shape.hidden_size, 2)};
        std::vector<AnyState> states;
        for (int s = 0; s < 2; ++s) states.push_back(any.make_state(size));
        std::vector<float> x = texts[0];
        x.insert(x.end(), texts[1].begin(), texts[1].end());
        const SequenceRows sequences[] = {{rows, 0}, {rows, 0}};
        AnyState* const pointers[] = {&states[0], &states[1]};
        const Rows all(x.data(), 2 * rows, shape.hidden_size);
        CHECK(stays_within(ctx, shape.scratch_floats({2 * rows, 2, rows, threads}),
                           [&] { throw_if_error(any.forward({all, sequences, {}, {}}, pointers, all, ctx)); }));
      }
    }
  }
  CHECK(Weights(shapes[1]).packed().weight_bytes() ==
        64 * 2 * 7 + 64 * 7 + 4 * (4 * 7 + 3 * 7 + 7 + 7));  // panels of 21 and of 7 rows, taps and biases
}
