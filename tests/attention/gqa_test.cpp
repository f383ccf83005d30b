#include "headgate/attention/gqa.hpp"

#include <limits>

#include "headgate/attention/any_mixer.hpp"
#include "headgate/kernels/native.hpp"
#include "support/catch.hpp"
#include "support/mixer_run.hpp"
#include "support/random.hpp"
#include "support/reference_attention.hpp"
#include "support/status.hpp"

using namespace headgate;

static_assert(Mixer<GroupedQueryAttention<F32>> && Mixer<GroupedQueryAttention<Bf16>>);

namespace {

// Of one option or several that meet; half: pairs of a head that turn, 0: no rotary positions.
struct Variant {
  const char* name;
  GqaShape shape;
  index_t half;
};
std::vector<Variant> variants() {
  const auto make = [](const char* name, index_t half, GqaShape shape, auto change) {
    if (!(shape.scale > 0.0f)) shape.scale = GqaShape::default_scale(shape.head_dim);
    change(shape);
    return Variant{name, shape, half};
  };
  const auto none = [](GqaShape&) {};
  const GqaShape grouped{.hidden_size = 40, .num_heads = 6, .num_kv_heads = 2, .head_dim = 26};
  const GqaShape three{.hidden_size = 24, .num_heads = 3, .num_kv_heads = 1, .head_dim = 24};
  const GqaShape wide{.hidden_size = 17, .num_heads = 26, .num_kv_heads = 2, .head_dim = 4};
  const GqaShape odd{.hidden_size = 33, .num_heads = 3, .num_kv_heads = 3, .head_dim = 14};
  return {
      make("plain", 13, grouped, none),
      make("smallest", 1, {.hidden_size = 5, .num_heads = 1, .num_kv_heads = 1, .head_dim = 2}, none),
      make("norm of each head", 13, grouped, [](GqaShape& s) { s.qk_norm = QkNorm::per_head; }),
      make("all biases", 12, three,
           [](GqaShape& s) { s.has_query_bias = s.has_key_bias = s.has_value_bias = s.has_output_bias = true; }),
      make("norms and biases", 2, wide,
           [](GqaShape& s) {
             s.has_query_bias = s.has_key_bias = s.has_value_bias = s.has_output_bias = true;
             s.qk_norm = QkNorm::per_head;
             s.norm_epsilon = 0.5f;
           }),
      make("bias of the query alone", 7, odd, [](GqaShape& s) { s.has_query_bias = true; }),
      make("bias of the key alone", 7, odd, [](GqaShape& s) { s.has_key_bias = true; }),
      make("bias of the value alone", 7, odd, [](GqaShape& s) { s.has_value_bias = true; }),
      make("bias of the output alone", 7, odd, [](GqaShape& s) { s.has_output_bias = true; }),
      make("norm of all heads", 12, three, [](GqaShape& s) { s.qk_norm = QkNorm::full; }),
      make("norm of all heads, clipped", 7, odd,
           [](GqaShape& s) {
             s.qk_norm = QkNorm::full;
             s.has_value_bias = true;
             s.clip = 0.6f;
           }),
      make("clipped", 13, grouped, [](GqaShape& s) { s.clip = 0.25f; }),
      make("scale of a checkpoint", 12, three, [](GqaShape& s) { s.scale = 0.03125f; }),
      make("window", 13, grouped, [](GqaShape& s) { s.window = 5; }),
      make("window of a panel and one", 7, odd, [](GqaShape& s) { s.window = 17; }),
      make("window of one", 12, three, [](GqaShape& s) { s.window = 1; }),
      make("window of many heads", 2, wide, [](GqaShape& s) { s.window = 3; }),
      make("window beyond the text", 7, odd, [](GqaShape& s) { s.window = std::numeric_limits<index_t>::max(); }),
      make("sinks", 13, grouped, [](GqaShape& s) { s.has_sinks = true; }),
      make("sinks, window and biases", 2, wide,
           [](GqaShape& s) {
             s.has_sinks = s.has_query_bias = s.has_output_bias = true;
             s.window = 4;
           }),
      make("a part of a head turns", 5, three, none),
      make("no positions", 0, grouped, none),
      make("no positions, odd head", 0,
           {.hidden_size = 12, .num_heads = 2, .num_kv_heads = 1, .head_dim = 7, .window = 6}, none),
  };
}

std::shared_ptr<const Rope> rope_of(const Variant& variant, double theta = 100.0) {
  if (variant.half == 0) return nullptr;
  return std::make_shared<const Rope>(Rope::create(theta, 2 * variant.half).value());
}
template <class Format = F32>
GroupedQueryAttention<Format> attention_of(const Variant& variant, const AttentionFormats<Format>& formats = {}) {
  const ReferenceAttention reference(variant.shape, 100.0, variant.half, 1);
  return reference.fill(GroupedQueryAttention<Format>(variant.shape, rope_of(variant), formats));
}
std::vector<float> text_of(const Variant& variant, index_t rows, unsigned seed = 2) {
  return random_floats(as_size(rows) * as_size(variant.shape.hidden_size), 1.7f, seed);
}

}  // namespace

TEST_CASE("grouped-query attention with each of its options is its definition in double") {
  for (const Variant& variant : variants()) {
    INFO(variant.name);
    const std::vector<float> text = text_of(variant, 37);
    const std::vector<float> found = mixed(attention_of(variant), text, 37);
    const std::vector<double> expected = ReferenceAttention(variant.shape, 100.0, variant.half, 1)(text);
    REQUIRE(found.size() == expected.size());
    double worst = 0.0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      worst = std::max(worst, std::abs(double(found[i]) - expected[i]) / (1.0 + std::abs(expected[i])));
    }
    CHECK(worst < 1e-5);
  }
}

TEST_CASE("grouped-query attention over several chunks of positions is its definition, however a text is cut") {
  for (const char* const name : {"plain", "smallest", "sinks", "window of a panel and one", "no positions, odd head"}) {
    for (const index_t window : {0, 256, 300}) {
      const std::vector<Variant> all = variants();
      Variant variant =
          *std::find_if(all.begin(), all.end(), [&](const Variant& v) { return v.name == std::string_view(name); });
      if (variant.shape.window == 0) variant.shape.window = window;
      INFO(name << ", window " << variant.shape.window);
      const index_t length = 4 * chunk_positions / 2 + 61;
      const std::vector<float> text = text_of(variant, length);
      const auto attention = attention_of(variant);
      const std::vector<float> whole = mixed(attention, text, length);
      const std::vector<double> expected = ReferenceAttention(variant.shape, 100.0, variant.half, 1)(text);
      double worst = 0.0;
      for (std::size_t i = 0; i < whole.size(); ++i) {
        worst = std::max(worst, std::abs(double(whole[i]) - expected[i]) / (1.0 + std::abs(expected[i])));
      }
      CHECK(worst < 3e-5);
      for (const index_t chunk : {1, 37, 256}) CHECK(mixed(attention, text, chunk, 1 + chunk % 3) == whole);
      CHECK(mixed(attention, text, 129, 8, 100) == whole);
    }
  }
}

TEST_CASE(
    "a cache of fewer bits gives nearly the same, the same however a text is cut, and of itself the laws of all") {
  for (const Variant& variant : variants()) {
    INFO(variant.name);
    const auto attention = attention_of(variant);
    const index_t length = 290;
    const std::vector<float> text = text_of(variant, length);
    const std::vector<float> exact = mixed(attention, text, length);
    for (const auto& [type, bound] : {std::pair(CacheType::f16, 2e-3), std::pair(CacheType::q8_0, 3e-2)}) {
      INFO(name_of(type));
      CHECK(attention.holds(type));
      const std::vector<float> whole = mixed(attention, text, length, 1, 0, type);
      const double error = relative_error(whole, exact);
      CHECK(error > 0.0);
      CHECK(error < bound);
      for (const index_t chunk : {1, 37}) CHECK(mixed(attention, text, chunk, 1 + chunk % 3, 5, type) == whole);
      CHECK(mixed(attention, text, 128, 8, 16, type) == whole);

      // Back and on again, forks too.
      Context ctx;
      std::vector<KvCache> states;
      states.push_back(attention.make_state({length, 30, 40, type}));
      Texts found{text};
      for (int pass = 0; pass < 9; ++pass) throw_if_error(mix_next(attention, states, {30}, found, ctx));
      states[0].truncate(241);
      states[0] = states[0].clone();
      std::copy(text.begin() + 241 * variant.shape.hidden_size, text.end(),
                found[0].begin() + 241 * variant.shape.hidden_size);
      throw_if_error(mix_next(attention, states, {29}, found, ctx));
      throw_if_error(mix_next(attention, states, {20}, found, ctx));
      CHECK(found[0] == whole);
    }
  }
}

TEST_CASE("chunks, threads and spare rows change no bit of an attention") {
  for (const Variant& variant : variants()) {
    INFO(variant.name);
    const std::vector<float> text = text_of(variant, 35);
    const auto check = [&](const auto& attention) {
      const std::vector<float> whole = mixed(attention, text, 35);
      for (const index_t chunk : {1, 2, 7, 16, 35}) {
        for (const index_t threads : {1, 2, 3}) {
          INFO("chunk " << chunk << ", threads " << threads);
          CHECK(mixed(attention, text, chunk, threads) == whole);
        }
        for (const index_t spare : {1, 16, 1000}) CHECK(mixed(attention, text, chunk, 1, spare) == whole);
      }
    };
    check(attention_of<F32>(variant));
    check(attention_of<Bf16>(variant));
    check(attention_of<AnyFormat>(variant, {F32{}, Bf16{}, F32{}, Bf16{}}));
  }
}

TEST_CASE("each matrix of an attention has its own format, and in one format the bits of that type") {
  for (const Variant& variant : variants()) {
    INFO(variant.name);
    const std::vector<float> text = text_of(variant, 20);
    const auto in_formats = [&](AnyFormat q, AnyFormat k, AnyFormat v, AnyFormat o) {
      const auto attention = attention_of<AnyFormat>(variant, {q, k, v, o});
      return std::pair(mixed(attention, text, 20), attention.weight_bytes());
    };
    const auto of_type = [&](const auto& attention) {
      return std::pair(mixed(attention, text, 20), attention.weight_bytes());
    };
    CHECK(in_formats(F32{}, F32{}, F32{}, F32{}) == of_type(attention_of<F32>(variant)));
    const auto bf16 = of_type(attention_of<Bf16>(variant));
    CHECK(in_formats(Bf16{}, Bf16{}, Bf16{}, Bf16{}) == bf16);
    // Weights that bf16 holds exactly give the same bits whatever format each matrix has.
    ReferenceAttention rounded(variant.shape, 100.0, variant.half, 1);
    for (std::vector<float>* matrix : {&rounded.q, &rounded.k, &rounded.v, &rounded.o}) {
      for (float& weight : *matrix) weight = static_cast<float>(headgate::bf16(weight));
    }
    using Attention = GroupedQueryAttention<AnyFormat>;
    for (int mask = 0; mask < 16; ++mask) {
      const auto format = [&](int bit) { return (mask >> bit & 1) != 0 ? AnyFormat(Bf16{}) : AnyFormat(F32{}); };
      const Attention attention =
          rounded.fill(Attention(variant.shape, rope_of(variant), {format(0), format(1), format(2), format(3)}));
      CHECK(mixed(attention, text, 7, 2) == bf16.first);
      CHECK((attention.weight_bytes() == bf16.second) == (mask == 15));
    }
  }
}

TEST_CASE("texts of different lengths in one pass have the bits that each has alone") {
  for (const Variant& variant : variants()) {
    INFO(variant.name);
    const auto attention = attention_of(variant);
    const std::vector<index_t> lengths{29, 1, 44, 18};
    Texts texts, alone;
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      texts.push_back(text_of(variant, lengths[s], static_cast<unsigned>(7 + s)));
      alone.push_back(mixed(attention, texts[s], lengths[s]));
    }
    for (const index_t threads : {1, 3}) {
      ThreadExecutor executor(threads);
      Context ctx(executor);
      Texts found = texts;
      std::vector<KvCache> states;
      for (std::size_t s = 0; s < lengths.size(); ++s) states.push_back(attention.make_state({44, 20, 2}));
      // A prompt, a step and nothing side by side; a text that begins late; steps of all; and the rest.
      throw_if_error(mix_next(attention, states, {20, 1, 1, 0}, found, ctx));
      throw_if_error(mix_next(attention, states, {1, 0, 19, 3}, found, ctx));
      throw_if_error(mix_next(attention, states, {0, 0, 20, 0}, found, ctx));
      for (index_t i = 0; i < 4; ++i) throw_if_error(mix_next(attention, states, {1, 0, 1, 1}, found, ctx));
      throw_if_error(mix_next(attention, states, {4, 0, 0, 11}, found, ctx));
      CHECK(found == alone);
    }
  }
}

TEST_CASE("without positions, a row of a window is the last row of a text that begins there") {
  const Variant windowed{
      "", {.hidden_size = 12, .num_heads = 3, .num_kv_heads = 1, .head_dim = 14, .scale = 0.3f, .window = 9}, 0};
  Variant full = windowed;
  full.shape.window = 0;
  const std::vector<float> text = text_of(windowed, 50);
  const std::vector<float> found = mixed(attention_of(windowed), text, 6);
  for (std::size_t t = 8; t < 50; ++t) {
    const std::vector<float> cut(text.begin() + static_cast<std::ptrdiff_t>((t - 8) * 12),
                                 text.begin() + static_cast<std::ptrdiff_t>((t + 1) * 12));
    const std::vector<float> last = mixed(attention_of(full), cut, 9);
    CHECK(std::equal(last.end() - 12, last.end(), found.begin() + static_cast<std::ptrdiff_t>(t * 12)));
  }
}

TEST_CASE("a window that holds the whole text is attention without one, bit for bit") {
  for (const index_t window : {40, 41, 1000}) {
    Variant variant = variants()[0];
    const std::vector<float> text = text_of(variant, 40);
    const std::vector<float> full = mixed(attention_of(variant), text, 7);
    variant.shape.window = window;
    CHECK(mixed(attention_of(variant), text, 7) == full);
  }
}

TEST_CASE("a text goes on from where its window goes back to as if nothing had been there") {
  Variant variant = variants()[0];
  variant.shape.window = 6;
  const auto attention = attention_of(variant);
  const std::vector<float> text = text_of(variant, 90);
  const std::vector<float> whole = mixed(attention, text, 90);
  Context ctx;
  std::vector<KvCache> states;
  states.push_back(attention.make_state({90, 4, 8}));
  const auto forward_to = [&](index_t end) {
    Texts found{text};
    const index_t first = states[0].position();
    while (states[0].position() < end) {
      throw_if_error(mix_next(attention, states, {std::min(4, end - states[0].position())}, found, ctx));
    }
    const auto part = [&](const std::vector<float>& rows) {
      return std::vector<float>(rows.begin() + first * 40, rows.begin() + end * 40);
    };
    CHECK(part(found[0]) == part(whole));
  };
  forward_to(61);
  for (const index_t back : {1, 3, 4}) {
    states[0].truncate(states[0].position() - back);
    CHECK(states[0].nearest(states[0].position()) == states[0].position());
  }
  forward_to(70);
  KvCache fork = states[0].clone();
  CHECK(states[0].nearest(62) == 62);
  CHECK(states[0].nearest(30) == 0);  // forgotten: from the start
  states[0].truncate(0);
  forward_to(90);
  states[0] = std::move(fork);
  forward_to(90);
}

TEST_CASE("a sink joins the softmax and gives nothing") {
  GroupedQueryAttention<F32> attention(
      {.hidden_size = 2, .num_heads = 1, .num_kv_heads = 1, .head_dim = 2, .scale = 1.0f, .has_sinks = true}, nullptr);
  const float identity[2][2] = {{1.0f, 0.0f}, {0.0f, 1.0f}};
  const float query[2][2] = {{0.0f, 1.0f}, {0.0f, 2.0f}};  // of the second row: scores 1 and 2
  for (index_t r = 0; r < 2; ++r) {
    attention.set_query_row(r, query[r]);
    attention.set_key_row(r, identity[r]);
    attention.set_value_row(r, identity[r]);
    attention.set_output_row(r, identity[r]);
  }
  attention.sinks()[0] = 0.5f;
  const std::vector<float> y = mixed(attention, {1.0f, 0.0f, 0.0f, 1.0f}, 2);
  CHECK(y[2] == Catch::Approx(0.231224).epsilon(1e-5));
  CHECK(y[3] == Catch::Approx(0.628532).epsilon(1e-5));
  CHECK(y[0] == Catch::Approx(1.0 / (1.0 + std::exp(0.5))).epsilon(1e-6));  // score 0 beside the sink
}

TEST_CASE("a score that is not finite is an error with the row of the pass, whichever thread meets it") {
  for (const Variant& variant : variants()) {
    if (variant.shape.clip > 0.0f) continue;
    INFO(variant.name);
    const auto attention = attention_of(variant);
    Texts texts{text_of(variant, 20), text_of(variant, 20)};
    texts[1][as_size(13 * variant.shape.hidden_size)] = std::numeric_limits<float>::quiet_NaN();
    for (const index_t threads : {1, 2, 3}) {
      ThreadExecutor executor(threads);
      Context ctx(executor);
      Texts found = texts;
      std::vector<KvCache> states;
      for (int s = 0; s < 2; ++s) states.push_back(attention.make_state({20, 20, 0}));
      CHECK(said(mix_next(attention, states, {5, 20}, found, ctx)) ==
            "numeric: attention score is not finite, token 18");
    }
  }
}

TEST_CASE("an attention refuses input that does not fit, and the state of another shape") {
  const Variant variant = variants()[0];
  const GroupedQueryAttention<F32> attention(variant.shape, rope_of(variant));
  std::vector<float> x(as_size(5 * variant.shape.hidden_size));
  std::vector<float> angles(as_size(5 * variant.shape.head_dim));
  Context ctx;
  const auto forward = [&](KvCache cache, index_t rows, index_t first, index_t half) {
    KvCache* const states[] = {&cache};
    const SequenceRows text{rows, first};
    const MixerInput in{{x.data(), rows, 40}, {&text, 1}, {angles.data(), rows, half}, {angles.data(), rows, half}};
    return said(attention.forward(in, states, {x.data(), rows, 40}, ctx));
  };
  const StateSize size{4, 4, 0};
  CHECK(forward(attention.make_state(size), 4, 0, 13) == "ok");
  CHECK(forward(attention.make_state(size), 0, 0, 13) == "ok");
  CHECK(forward(attention.make_state(size), 4, 1, 13) ==
        "usage: first position against positions of the state (got 1, allowed 0), token 0");
  CHECK(forward(attention.make_state(size), 4, 0, 12) ==
        "usage: cosines of a row against half of the rotary width (got 12, allowed 13)");
  CHECK(forward(attention.make_state(size), 5, 0, 13) ==
        "limit: positions against the size of the context (got 5, allowed 4), token 0");
  const char* const other = "usage: the state was made by an attention of another shape";
  CHECK(forward(KvCache(size, 1, 26), 4, 0, 13) == other);
  CHECK(forward(KvCache(size, 2, 24), 4, 0, 13) == other);
  CHECK(forward(KvCache(size, 2, 26, 3), 4, 0, 13) == other);
}

TEST_CASE("an attention of an impossible shape, or with a rope wider than a head, is not made") {
  using Attention = GroupedQueryAttention<F32>;
  const GqaShape shape{.hidden_size = 4, .num_heads = 2, .num_kv_heads = 1, .head_dim = 7, .scale = 1.0f};
  const auto rope = [](index_t width) { return std::make_shared<const Rope>(Rope::create(1e4, width).value()); };
  CHECK(refused(Attention::create(shape, rope(6))) == "made");
  CHECK(refused(Attention::create(shape, rope(8))) ==
        "half of the rotary width against half of head_dim (got 4, allowed 3)");
  CHECK(refused(Attention::create({}, nullptr)) == "hidden_size, at least (got 0, allowed 1)");
  CHECK_THROWS_AS(GroupedQueryAttention<Bf16>({}, nullptr), Error);
}

TEST_CASE("the norm of queries and keys adds the epsilon of the shape") {
  GroupedQueryAttention<F32> attention({.hidden_size = 2,
                                        .num_heads = 1,
                                        .num_kv_heads = 1,
                                        .head_dim = 2,
                                        .qk_norm = QkNorm::per_head,
                                        .norm_epsilon = 1.0f,
                                        .scale = 1.0f},
                                       nullptr);
  const float identity[2][2] = {{1.0f, 0.0f}, {0.0f, 1.0f}};
  for (index_t r = 0; r < 2; ++r) {
    attention.set_query_row(r, identity[r]);
    attention.set_key_row(r, identity[r]);
    attention.set_value_row(r, identity[r]);
    attention.set_output_row(r, identity[r]);
  }
  std::vector<KvCache> states;
  states.push_back(attention.make_state({1, 1, 0}));
  Texts texts{{1.0f, 1.0f}};
  Context ctx;
  throw_if_error(mix_next(attention, states, {1}, texts, ctx));
  CHECK(states[0].view(0).key(0, 0) == Catch::Approx(std::sqrt(0.5)));
  CHECK(states[0].view(0).key(0, 1) == Catch::Approx(std::sqrt(0.5)));
  CHECK(states[0].view(0).value(0, 0) == 1.0f);
  CHECK(texts[0][1] == 1.0f);
}

TEST_CASE("an attention holds and takes what its shape says") {
  for (const Variant& variant : variants()) {
    INFO(variant.name);
    const auto attention = attention_of(variant);
    for (const StateSize& size : {StateSize{0, 1, 0}, {200, 64, 0}, {3000, 16, 40}}) {
      CHECK(attention.make_state(size).bytes() == variant.shape.state_bytes(size));
    }
    for (const index_t threads : {1, 3}) {
      for (const index_t rows : {1, 64}) {
        ThreadExecutor executor(threads);
        Context ctx(executor);
        std::vector<KvCache> states;
        Texts texts;
        for (int s = 0; s < 3; ++s) {
          states.push_back(attention.make_state({192, 64, 0}));
          texts.push_back(text_of(variant, 192));
        }
        for (int pass = 0; pass < 3; ++pass)
          throw_if_error(mix_next(attention, states, {rows, rows, rows}, texts, ctx));
        const std::int64_t bytes =
            4 *
            variant.shape.scratch_floats({.rows = 3 * rows, .sequences = 3, .positions = 3 * rows, .threads = threads});
        CHECK(ctx.workspace.capacity() <= Workspace::held_for(as_size(bytes)));
        if (rows == 64) CHECK(static_cast<std::int64_t>(ctx.workspace.capacity()) * 4 >= bytes * 3);
      }
    }
  }
}
