#include "headgate/attention/mla.hpp"

#include "headgate/attention/any_mixer.hpp"
#include "support/golden.hpp"
#include "support/mixer_run.hpp"
#include "support/random.hpp"
#include "support/scratch.hpp"
#include "support/status.hpp"

using namespace headgate;

static_assert(Mixer<MultiHeadLatentAttention<>>);
static_assert(Mixer<MultiHeadLatentAttention<AnyFormat>>);

namespace {

// Without and with latents of queries; biases; one head of a latent as wide as panels are.
const MlaShape shapes[] = {
    {.hidden_size = 40,
     .num_heads = 3,
     .latent_size = 20,
     .nope_dim = 14,
     .rope_dim = 10,
     .value_dim = 12,
     .scale = 0.3f},
    {.hidden_size = 26,
     .num_heads = 5,
     .query_rank = 18,
     .latent_size = 33,
     .nope_dim = 7,
     .rope_dim = 6,
     .value_dim = 17,
     .has_bias = true,
     .norm_epsilon = 0.02f,
     .scale = 0.4f},
    {.hidden_size = 16,
     .num_heads = 1,
     .query_rank = 4,
     .latent_size = 16,
     .nope_dim = 1,
     .rope_dim = 2,
     .value_dim = 16,
     .scale = 1.0f},
};

using Values = std::vector<double>;
Values product_of(const std::vector<float>& weights, const Values& x, std::size_t rows) {
  Values y(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t i = 0; i < x.size(); ++i) y[r] += double{weights[r * x.size() + i]} * x[i];
  }
  return y;
}
void add(Values& x, const std::vector<float>& bias) {
  for (std::size_t i = 0; i < bias.size(); ++i) x[i] += bias[i];
}
Values normed(const Values& x, const std::vector<float>& weight, double epsilon) {
  double squares = 0.0;
  for (const double value : x) squares += value * value;
  Values y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    y.push_back(x[i] / std::sqrt(squares / static_cast<double>(x.size()) + epsilon) * weight[i]);
  }
  return y;
}

// An attention's weights as its checkpoint has them.
struct Weights {
  explicit Weights(const MlaShape& of) : s(of) {
    unsigned seed = 0;
    const auto random = [&](index_t rows, index_t cols) {
      const float scale = 1.8f / std::sqrt(static_cast<float>(cols));
      return random_floats(as_size(rows) * as_size(cols), scale, ++seed);
    };
    const auto norm = [&](index_t size) {
      std::vector<float> weight = random_floats(as_size(size), 0.5f, ++seed);
      for (float& value : weight) value += 1.0f;
      return weight;
    };
    if (s.query_rank > 0) query_down = random(s.query_rank, s.hidden_size);
    query = random(s.query_size(), s.query_rank > 0 ? s.query_rank : s.hidden_size);
    latent = random(s.key_size(), s.hidden_size);
    up = random(s.num_heads * (s.nope_dim + s.value_dim), s.latent_size);
    output = random(s.hidden_size, s.value_size());
    query_norm = norm(s.query_rank);
    latent_norm = norm(s.latent_size);
    if (!s.has_bias) return;
    query_down_bias = random_floats(as_size(s.query_rank), 0.5f, ++seed);
    latent_bias = random_floats(as_size(s.key_size()), 0.5f, ++seed);
    output_bias = random_floats(as_size(s.hidden_size), 0.5f, ++seed);
  }

  template <class Format = F32>
  MultiHeadLatentAttention<Format> packed(std::shared_ptr<const Rope> rope,
                                          const MlaFormats<Format>& formats = {}) const {
    MultiHeadLatentAttention<Format> mixer(s, std::move(rope), formats);
    const auto fill = [](std::span<float> to, const std::vector<float>& from) {
      REQUIRE(to.size() == from.size());
      std::copy(from.begin(), from.end(), to.begin());
    };
    const index_t query_cols = s.query_rank > 0 ? s.query_rank : s.hidden_size;
    for (index_t r = 0; r < s.query_rank; ++r) mixer.set_query_down_row(r, query_down.data() + r * s.hidden_size);
    for (index_t r = 0; r < s.query_size(); ++r) mixer.set_query_row(r, query.data() + r * query_cols);
    for (index_t r = 0; r < s.key_size(); ++r) mixer.set_latent_row(r, latent.data() + r * s.hidden_size);
    for (index_t h = 0; h < s.num_heads; ++h) {
      const float* const rows = up.data() + h * (s.nope_dim + s.value_dim) * s.latent_size;
      mixer.set_key_up(h, {rows, s.nope_dim, s.latent_size});
      for (index_t r = 0; r < s.value_dim; ++r) {
        mixer.set_value_up_row(h, r, rows + (s.nope_dim + r) * s.latent_size);
      }
    }
    for (index_t r = 0; r < s.hidden_size; ++r) mixer.set_output_row(r, output.data() + r * s.value_size());
    fill(mixer.query_norm(), query_norm);
    fill(mixer.latent_norm(), latent_norm);
    fill(mixer.query_down_bias(), query_down_bias);
    fill(mixer.latent_bias(), latent_bias);
    fill(mixer.output_bias(), output_bias);
    return mixer;
  }

  // The definition in double, with the keys and values of every head. rope may be null.
  std::vector<Values> mix(const std::vector<float>& text, const Rope* rope) const {
    const index_t nope = s.nope_dim;
    const auto turned = [&](const double* channels, index_t position) {
      Values x(channels, channels + s.rope_dim);
      for (index_t i = 0; rope != nullptr && i < rope->half(); ++i) {
        const double angle = position * rope->frequency(i, 1000);
        const double factor = rope->attention_factor(1000);
        const double low = channels[i];
        const double high = channels[i + rope->half()];
        x[as_size(i)] = factor * (low * std::cos(angle) - high * std::sin(angle));
        x[as_size(i + rope->half())] = factor * (high * std::cos(angle) + low * std::sin(angle));
      }
      return x;
    };
    const auto length = static_cast<index_t>(text.size()) / s.hidden_size;
    std::vector<std::vector<Values>> keys(as_size(s.num_heads)), values(keys);
    std::vector<Values> out;
    for (index_t t = 0; t < length; ++t) {
      const Values x(text.begin() + t * s.hidden_size, text.begin() + (t + 1) * s.hidden_size);
      Values c = product_of(latent, x, as_size(s.key_size()));
      add(c, latent_bias);
      const Values shared = turned(c.data() + s.latent_size, t);
      c.resize(as_size(s.latent_size));
      const Values ups =
          product_of(up, normed(c, latent_norm, double{s.norm_epsilon}), up.size() / as_size(s.latent_size));
      Values q = x;
      if (s.query_rank > 0) {
        q = product_of(query_down, x, as_size(s.query_rank));
        add(q, query_down_bias);
        q = normed(q, query_norm, double{s.norm_epsilon});
      }
      q = product_of(query, q, as_size(s.query_size()));
      Values mixed_values;
      for (index_t h = 0; h < s.num_heads; ++h) {
        const double* const own = ups.data() + h * (nope + s.value_dim);
        Values key(own, own + nope);
        key.insert(key.end(), shared.begin(), shared.end());
        keys[as_size(h)].push_back(key);
        values[as_size(h)].emplace_back(own + nope, own + nope + s.value_dim);
        Values head(q.data() + h * s.head_dim(), q.data() + h * s.head_dim() + nope);
        const Values rotary = turned(q.data() + h * s.head_dim() + nope, t);
        head.insert(head.end(), rotary.begin(), rotary.end());
        Values weights;
        double total = 0.0;
        for (const Values& k : keys[as_size(h)]) {
          double score = 0.0;
          for (std::size_t i = 0; i < k.size(); ++i) score += head[i] * k[i];
          weights.push_back(std::exp(double{s.scale} * score));
          total += weights.back();
        }
        for (index_t i = 0; i < s.value_dim; ++i) {
          double sum = 0.0;
          for (std::size_t p = 0; p < weights.size(); ++p)
            sum += weights[p] / total * values[as_size(h)][p][as_size(i)];
          mixed_values.push_back(sum);
        }
      }
      Values y = product_of(output, mixed_values, as_size(s.hidden_size));
      add(y, output_bias);
      out.push_back(y);
    }
    return out;
  }

  MlaShape s;
  std::vector<float> query_down, query, latent, up, output;
  std::vector<float> query_norm, latent_norm, query_down_bias, latent_bias, output_bias;
};

std::shared_ptr<const Rope> rope_of(const MlaShape& shape) {
  return std::make_shared<const Rope>(Rope::create(100.0, shape.rope_dim).value());
}
std::vector<float> text_of(const MlaShape& shape, index_t rows, unsigned seed = 99) {
  return random_floats(as_size(rows) * as_size(shape.hidden_size), 1.0f, seed);
}
// The largest difference, relative to the largest number.
double difference(const std::vector<float>& found, const std::vector<Values>& expected) {
  double worst = 0.0;
  double largest = 0.0;
  std::size_t i = 0;
  for (const Values& row : expected) {
    for (const double value : row) {
      worst = std::max(worst, std::abs(found[i++] - value));
      largest = std::max(largest, std::abs(value));
    }
  }
  REQUIRE(i == found.size());
  return worst / largest;
}

}  // namespace

TEST_CASE("absorbed latent attention agrees with keys and values of every head, in double") {
  for (const MlaShape& shape : shapes) {
    INFO(shape.num_heads << " heads");
    const Weights weights(shape);
    const auto rope = rope_of(shape);
    const std::vector<float> text = text_of(shape, 150);
    CHECK(difference(mixed(weights.packed(rope), text, 150), weights.mix(text, rope.get())) < 2e-6);
    // Without positions the rotary channels are channels like others (Kimi Linear).
    CHECK(difference(mixed(weights.packed(nullptr), text, 150), weights.mix(text, nullptr)) < 2e-6);
  }
}

TEST_CASE("latent attention agrees with transformers' DeepSeek-V3, its rotary pairs put apart") {
  const nlohmann::json cases = golden("mixers")["attention"];
  REQUIRE(cases.size() == 3);
  for (const auto& of : cases) {
    MlaShape shape{.hidden_size = 10,
                   .num_heads = 3,
                   .query_rank = of["query_rank"],
                   .latent_size = 5,
                   .nope_dim = 3,
                   .rope_dim = 6,
                   .value_dim = 7,
                   .has_bias = of["bias"],
                   .scale = MlaShape::default_scale(3, 6)};
    RopeSettings settings{.theta = 100.0, .rotary_dim = 6};
    if (of["rope"]["rope_type"] == "yarn") {
      settings.kind = RopeKind::yarn;
      settings.factor = 4.0;
      settings.original_context = 8;
      settings.mscale = 1.0;
      settings.mscale_all_dim = 0.75;
      const auto scale = static_cast<float>(RopeSettings::yarn_scale(4.0, 0.75));
      shape.scale *= scale * scale;
    }
    CHECK(std::abs(shape.scale - of["scale"].get<float>()) < 1e-6f);
    // Rows 2 i and 2 i + 1 of the last six become rows i and i + 3.
    const auto apart = [](std::vector<float> rows, index_t cols, index_t height) {
      const std::vector<float> old = rows;
      for (index_t end = height; end * cols <= static_cast<index_t>(rows.size()); end += height) {
        for (index_t i = 0; i < 6; ++i) {
          std::copy_n(old.begin() + (end - 6 + i) * cols, cols, rows.begin() + (end - 6 + i / 2 + i % 2 * 3) * cols);
        }
      }
      return rows;
    };
    const auto tensor = [&](const std::string& name) {
      return of["weights"].contains(name) ? values(of["weights"][name]) : std::vector<float>();
    };
    Weights weights(shape);
    const bool has_rank = shape.query_rank > 0;
    weights.query_down = tensor("q_a_proj.weight");
    weights.query = apart(tensor(has_rank ? "q_b_proj.weight" : "q_proj.weight"), has_rank ? 4 : 10, 9);
    weights.latent = apart(tensor("kv_a_proj_with_mqa.weight"), 10, 11);
    weights.up = tensor("kv_b_proj.weight");
    weights.output = tensor("o_proj.weight");
    weights.query_norm = tensor("q_a_layernorm.weight");
    weights.latent_norm = tensor("kv_a_layernorm.weight");
    weights.query_down_bias = tensor("q_a_proj.bias");
    weights.latent_bias = apart(tensor("kv_a_proj_with_mqa.bias"), 1, 11);
    weights.output_bias = tensor("o_proj.bias");
    const auto rope = std::make_shared<const Rope>(Rope::create(settings).value());
    const std::vector<float> found = mixed(weights.packed(rope), values(of["hidden"]), 9);
    CHECK(difference(found, {values<double>(of["output"])}) < 2e-6);
  }
}

TEST_CASE("latent attention has the same bits whole, in chunks, token by token, on any threads") {
  for (const MlaShape& shape : shapes) {
    INFO(shape.num_heads << " heads");
    const auto mixer = Weights(shape).packed(rope_of(shape));
    const std::vector<float> text = text_of(shape, 140);
    const std::vector<float> whole = mixed(mixer, text, 140);
    for (const index_t chunk : {1, 5, 13, 64, 139}) {
      for (const index_t threads : {1, 2, 7}) {
        INFO("chunks of " << chunk << ", threads " << threads);
        CHECK(mixed(mixer, text, chunk, threads) == whole);
      }
    }
  }
}

TEST_CASE("a latent attention in fewer bits is near that in all, and the same however a text is cut") {
  for (const MlaShape& shape : shapes) {
    const auto mixer = Weights(shape).packed(rope_of(shape));
    const index_t length = 300;
    const std::vector<float> text = text_of(shape, length);
    const std::vector<float> exact = mixed(mixer, text, length);
    for (const auto& [type, bound] : {std::pair(CacheType::f16, 2e-3), std::pair(CacheType::q8_0, 3e-2)}) {
      CHECK(mixer.holds(type));
      const std::vector<float> whole = mixed(mixer, text, length, 1, 0, type);
      const double error = relative_error(whole, exact);
      CHECK(error > 0.0);
      CHECK(error < bound);
      for (const index_t chunk : {1, 37}) CHECK(mixed(mixer, text, chunk, 1 + chunk % 3, 0, type) == whole);
      CHECK(mixed(mixer, text, 128, 8, 0, type) == whole);
    }
  }
}

TEST_CASE("texts of one pass of latent attention have the bits they have alone, also after going back") {
  const MlaShape& shape = shapes[1];
  const auto mixer = Weights(shape).packed(rope_of(shape));
  Texts texts{text_of(shape, 90, 1), text_of(shape, 6, 2), text_of(shape, 30, 3)};
  Texts alone;
  for (const auto& text : texts) alone.push_back(mixed(mixer, text, 100));
  for (const index_t threads : {1, 3}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    std::vector<LatentCache> states;
    for (std::size_t s = 0; s < 3; ++s) states.push_back(mixer.make_state({100, 100, 0}));
    Texts again = texts;
    throw_if_error(mix_next(mixer, states, {70, 0, 1}, again, ctx));
    throw_if_error(mix_next(mixer, states, {1, 6, 20}, again, ctx));
    states[2].truncate(4);
    std::copy(texts[2].begin() + 4 * 26, texts[2].end(), again[2].begin() + 4 * 26);
    throw_if_error(mix_next(mixer, states, {0, 0, 0}, again, ctx));
    throw_if_error(mix_next(mixer, states, {19, 0, 26}, again, ctx));
    CHECK(again == alone);
  }
}

TEST_CASE("each matrix of latent attention has a format of its own") {
  const MlaShape& shape = shapes[1];
  Weights weights(shape);
  for (auto* const matrix : {&weights.query_down, &weights.query, &weights.latent, &weights.up, &weights.output}) {
    for (float& value : *matrix) value = static_cast<float>(bf16(value));
  }
  const std::vector<float> text = text_of(shape, 20);
  const std::vector<float> expected = mixed(weights.packed(rope_of(shape)), text, 20);
  CHECK(mixed(weights.packed<Bf16>(rope_of(shape)), text, 20) == expected);
  for (unsigned mask = 0; mask < 64; ++mask) {
    const auto format = [&](unsigned i) { return (mask >> i & 1u) != 0 ? AnyFormat(Bf16{}) : AnyFormat(F32{}); };
    const MlaFormats<AnyFormat> formats{format(0), format(1), format(2), format(3), format(4), format(5)};
    CHECK(mixed(weights.packed<AnyFormat>(rope_of(shape), formats), text, 20) == expected);
  }
}

TEST_CASE("a latent attention's costs are known before it exists") {
  for (const MlaShape& shape : shapes) {
    const auto rope = rope_of(shape);
    const AnyMixer mixer(Weights(shape).packed(rope));
    const StateSize size{200, 70, 3};
    CHECK(MultiHeadLatentAttention<>(shape, rope).make_state(size).bytes() == shape.state_bytes(size));
    for (const index_t rows : {1, 3, 70}) {
      for (const index_t threads : {1, 4}) {
        INFO(rows << " rows, " << threads << " threads");
        ThreadExecutor executor(threads);
        Context ctx(executor);
        std::vector<AnyState> states;
        std::vector<AnyState*> pointers;
        std::vector<SequenceRows> sequences;
        for (int s = 0; s < 2; ++s) states.push_back(mixer.make_state(size));
        for (AnyState& state : states) pointers.push_back(&state);
        std::vector<float> x = text_of(shape, 2 * rows);
        const Rows all(x.data(), 2 * rows, shape.hidden_size);
        std::vector<float> angles(as_size(2 * rows * rope->half()));
        const ConstRows table(angles.data(), 2 * rows, rope->half());
        for (const index_t first : {0, rows}) {
          sequences = {{rows, first}, {rows, first}};
          CHECK(stays_within(ctx, shape.scratch_floats({2 * rows, 2, first + rows, threads}), [&] {
            throw_if_error(mixer.forward({all, sequences, table, table}, pointers, all, ctx));
          }));
        }
      }
    }
  }
}

TEST_CASE("a score of latent attention that is not finite is an error with the row of the pass") {
  const MlaShape& shape = shapes[0];
  const auto mixer = Weights(shape).packed(rope_of(shape));
  for (const index_t threads : {1, 3}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    Texts texts{text_of(shape, 10, 1), text_of(shape, 20, 2)};
    texts[1][7 * 40 + 3] = std::numeric_limits<float>::infinity();
    std::vector<LatentCache> states;
    for (int s = 0; s < 2; ++s) states.push_back(mixer.make_state({20, 20, 0}));
    const Texts before = texts;
    CHECK(said(mix_next(mixer, states, {10, 20}, texts, ctx)) == "numeric: attention score is not finite, token 17");
    // What is taken back leaves nothing behind.
    states[1].truncate(0);
    texts = before;
    texts[1][7 * 40 + 3] = 0.0f;
    const std::vector<float> expected = mixed(mixer, texts[1], 20);
    REQUIRE(mix_next(mixer, states, {0, 5}, texts, ctx).ok());
    REQUIRE(mix_next(mixer, states, {0, 15}, texts, ctx).ok());
    CHECK(texts[1] == expected);
  }
}

TEST_CASE("a latent attention refuses rotary widths and states that do not fit") {
  using Attention = MultiHeadLatentAttention<>;
  CHECK(refused(Attention::create(MlaShape{}, nullptr)) == "hidden_size, at least (got 0, allowed 1)");
  CHECK(refused(Attention::create(shapes[0], std::make_shared<const Rope>(Rope::create(1e4, 8).value()))) ==
        "rotary width against qk_rope_head_dim (got 8, allowed 10)");
  const Attention mixer(shapes[0], nullptr);
  Context ctx;
  Texts texts{text_of(shapes[0], 3)};
  std::vector<LatentCache> states;
  states.emplace_back(StateSize{3, 3, 0}, 21, 10);
  CHECK(said(mix_next(mixer, states, {3}, texts, ctx)) == "usage: the state was made by an attention of another shape");
  states[0] = LatentCache({3, 3, 0}, 20, 8);
  CHECK(said(mix_next(mixer, states, {3}, texts, ctx)) == "usage: the state was made by an attention of another shape");
  states[0] = LatentCache({2, 2, 0}, 20, 10);
  CHECK(said(mix_next(mixer, states, {3}, texts, ctx)) ==
        "limit: positions against the size of the context (got 3, allowed 2), token 0");
}
