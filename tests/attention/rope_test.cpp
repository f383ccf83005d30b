#include "headgate/attention/rope.hpp"

#include <limits>

#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

// The settings that a configuration of the golden file means.
RopeSettings settings_of(const nlohmann::json& vector) {
  const auto& written = vector["rope_parameters"];
  const auto number = [&](const char* key, double absent) { return written.value(key, absent); };
  const auto optional = [&](const char* key) {
    return written.contains(key) ? std::optional(written[key].get<double>()) : std::nullopt;
  };
  const std::string kind = written["rope_type"];
  const double max = vector["max_position_embeddings"];
  RopeSettings s;
  s.kind = kind == "default"   ? RopeKind::plain
           : kind == "linear"  ? RopeKind::linear
           : kind == "dynamic" ? RopeKind::dynamic
           : kind == "llama3"  ? RopeKind::llama3
           : kind == "yarn"    ? RopeKind::yarn
                               : RopeKind::longrope;
  s.theta = written["rope_theta"];
  s.rotary_dim = static_cast<index_t>(vector["head_dim"].get<double>() * number("partial_rotary_factor", 1.0));
  s.original_context = static_cast<index_t>(number("original_max_position_embeddings", max));
  s.factor = written.contains("factor") && !written["factor"].is_null() ? written["factor"].get<double>()
                                                                        : max / s.original_context;
  s.low_freq_factor = number("low_freq_factor", 0.0);
  s.high_freq_factor = number("high_freq_factor", 0.0);
  s.beta_fast = number("beta_fast", s.beta_fast);
  s.beta_slow = number("beta_slow", s.beta_slow);
  s.truncate = written.value("truncate", true);
  s.attention_factor = optional("attention_factor");
  s.mscale = optional("mscale");
  s.mscale_all_dim = optional("mscale_all_dim");
  s.short_mscale = optional("short_mscale");
  s.long_mscale = optional("long_mscale");
  if (written.contains("short_factor")) s.short_factor = values<double>(written["short_factor"]);
  if (written.contains("long_factor")) s.long_factor = values<double>(written["long_factor"]);
  return s;
}

RopeSettings long_settings() {
  return {.kind = RopeKind::longrope,
          .theta = 1e4,
          .rotary_dim = 4,
          .factor = 4.0,
          .original_context = 8,
          .short_factor = {1.0, 2.0},
          .long_factor = {3.0, 4.0}};
}
RopeSettings yarn_settings() {
  return {.kind = RopeKind::yarn, .theta = 1e4, .rotary_dim = 8, .factor = 4.0, .original_context = 32};
}
RopeSettings llama_settings() {
  return {.kind = RopeKind::llama3,
          .theta = 1e4,
          .rotary_dim = 8,
          .factor = 4.0,
          .original_context = 32,
          .low_freq_factor = 1.0,
          .high_freq_factor = 4.0};
}
// The cosines and sines of a few positions, one after the other.
std::vector<float> angles(const Rope& rope, index_t first, index_t tokens, index_t context) {
  const index_t half = rope.half();
  std::vector<float> both(as_size(2 * tokens * half));
  rope.angles(first, context, {both.data(), tokens, half}, {both.data() + tokens * half, tokens, half});
  return both;
}

}  // namespace

TEST_CASE("rotary angles are position times theta to the power -2i/d, also at large positions") {
  const Rope rope = Rope::create(10000.0, 26).value();
  REQUIRE(rope.half() == 13);
  for (const index_t first : {0, 1, 1000000}) {
    const std::vector<float> turned = angles(rope, first, 3, first + 3);
    for (index_t t = 0; t < 3; ++t) {
      for (index_t i = 0; i < 13; ++i) {
        const long double angle = static_cast<long double>(first + t) * powl(10000.0L, -2.0L * i / 26.0L);
        CHECK(std::abs(turned[as_size(t * 13 + i)] - static_cast<float>(cosl(angle))) < 1e-7f);
        CHECK(std::abs(turned[as_size(39 + t * 13 + i)] - static_cast<float>(sinl(angle))) < 1e-7f);
      }
    }
  }
}

TEST_CASE("position 0 is not turned") {
  CHECK(angles(Rope::create(500.0, 4).value(), 0, 1, 1) == std::vector{1.0f, 1.0f, 0.0f, 0.0f});
}

TEST_CASE("frequencies and attention factors of every kind are those of transformers") {
  const nlohmann::json vectors = golden("rope");
  REQUIRE(vectors.size() == 40);
  for (const auto& vector : vectors) {
    INFO(vector["name"].get<std::string>());
    const Rope rope = Rope::create(settings_of(vector)).value();
    const auto expected = values<double>(vector["inverse_frequencies"]);
    const index_t context = vector["context"];
    REQUIRE(rope.half() == static_cast<index_t>(expected.size()));
    for (index_t i = 0; i < rope.half(); ++i) {
      CHECK(std::abs(rope.frequency(i, context) / expected[as_size(i)] - 1.0) < 1e-13);
    }
    const double factor = vector["attention_factor"];
    CHECK(std::abs(rope.attention_factor(context) / factor - 1.0) < 1e-13);
    // The angles are made of these, from any position on.
    const std::vector<float> turned = angles(rope, 5, 2, context);
    for (index_t i = 0; i < rope.half(); ++i) {
      const double angle = 6.0 * expected[as_size(i)];
      CHECK(std::abs(turned[as_size(rope.half() + i)] - factor * std::cos(angle)) < 2e-7);
      CHECK(std::abs(turned[as_size(3 * rope.half() + i)] - factor * std::sin(angle)) < 2e-7);
    }
  }
}

TEST_CASE("the context of a text decides about longrope and dynamic, its position about nothing") {
  const Rope rope = Rope::create(long_settings()).value();
  CHECK(rope.frequency(0, 8) == 1.0);
  CHECK(rope.frequency(0, 9) == 1.0 / 3.0);
  const std::vector<float> whole = angles(rope, 0, 4, 9);
  const std::vector<float> last = angles(rope, 3, 1, 9);
  CHECK(last[0] == whole[6]);
  CHECK(last[2] == whole[8 + 6]);

  const Rope dynamic =
      Rope::create({.kind = RopeKind::dynamic, .theta = 1e4, .rotary_dim = 4, .factor = 2.0, .original_context = 8})
          .value();
  CHECK(dynamic.frequency(1, 1) == 0.01);
  CHECK(dynamic.frequency(1, 8) == 0.01);
  CHECK(dynamic.frequency(1, 9) < 0.01);
  CHECK(std::abs(dynamic.frequency(1, 16) * 300.0 - 1.0) < 1e-14);  // s = 2 * 16 / 8 - 1
}

TEST_CASE("a rope keeps its settings, and settings are equal where all of them are") {
  CHECK(Rope::create(yarn_settings()).value().settings() == yarn_settings());
  CHECK(Rope::create(500.0, 6).value().settings() == RopeSettings{.theta = 500.0, .rotary_dim = 6});
  RopeSettings other = yarn_settings();
  other.truncate = false;
  CHECK_FALSE(other == yarn_settings());
  other = long_settings();
  other.long_factor[1] = 5.0;
  CHECK_FALSE(other == long_settings());
}

TEST_CASE("rotary positions need an even head and a positive finite theta") {
  CHECK(!Rope::create(10000.0, 7));
  CHECK(!Rope::create(10000.0, 0));
  CHECK(!Rope::create(0.0, 8));
  CHECK(!Rope::create(-1.0, 8));
  CHECK(!Rope::create(std::numeric_limits<double>::infinity(), 8));
  CHECK(!Rope::create(std::numeric_limits<double>::quiet_NaN(), 8));
  CHECK(Rope::create(1.0, 2));
}

TEST_CASE("rotary positions say what is allowed, and take the smallest head") {
  CHECK(refused(Rope::create(10000.0, 2)) == "made");
  CHECK(refused(Rope::create(1e-300, 2)) == "made");
  for (const index_t width : {1, 0, -2, 5}) {
    CHECK(refused(Rope::create(10000.0, width)) ==
          "channels of a head with rotary positions, even and at least (got " + std::to_string(width) + ", allowed 2)");
  }
  CHECK(refused(Rope::create(0.0, 2)) == "rope_theta: expected a positive number, found 0");
}

TEST_CASE("settings that mean no angles are refused by name") {
  const auto refusal = [](RopeSettings settings, auto&& change) {
    CHECK(refused(Rope::create(settings)) == "made");
    change(settings);
    return refused(Rope::create(settings));
  };
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const RopeSettings linear{.kind = RopeKind::linear, .theta = 1e4, .rotary_dim = 8};
  CHECK(refusal(linear, [](auto& s) { s.factor = 0.5; }) == "factor: expected a number from 1, found 0.5");
  CHECK(refusal(linear, [&](auto& s) { s.factor = nan; }) == "factor: expected a number from 1, found nan");
  CHECK(refusal(linear, [&](auto& s) { s.factor = infinity; }) == "factor: expected a number from 1, found inf");
  const RopeSettings dynamic{.kind = RopeKind::dynamic, .theta = 1e4, .rotary_dim = 4, .original_context = 1};
  CHECK(refusal(dynamic, [](auto& s) { s.rotary_dim = 2; }) ==
        "channels of a head with dynamic rotary positions, at least (got 2, allowed 4)");
  CHECK(refusal(dynamic, [](auto& s) { s.original_context = 0; }) ==
        "original_max_position_embeddings: expected an integer from 1, found 0");

  CHECK(refusal(llama_settings(), [](auto& s) { s.high_freq_factor = 1.0; }) ==
        "high_freq_factor: expected a number above low_freq_factor, found 1");
  CHECK(refusal(llama_settings(), [&](auto& s) { s.high_freq_factor = infinity; }) ==
        "high_freq_factor: expected a number above low_freq_factor, found inf");
  CHECK(refusal(llama_settings(), [](auto& s) { s.low_freq_factor = 0.0; }) ==
        "low_freq_factor: expected a positive number, found 0");

  CHECK(refusal(yarn_settings(), [](auto& s) { s.theta = 1.0; }) ==
        "rope_theta: expected a number above 1 for yarn, found 1");
  CHECK(refusal(yarn_settings(), [](auto& s) { s.beta_slow = 0.0; }) ==
        "beta_slow: expected a positive number, found 0");
  CHECK(refusal(yarn_settings(), [](auto& s) { s.beta_fast = 0.5; }) ==
        "beta_fast: expected a number from beta_slow, found 0.5");
  CHECK(refusal(yarn_settings(), [&](auto& s) { s.beta_fast = infinity; }) ==
        "beta_fast: expected a number from beta_slow, found inf");
  CHECK(refusal(yarn_settings(), [](auto& s) { s.attention_factor = 0.0; }) ==
        "attention_factor: expected a positive number, found 0");
  CHECK(refusal(yarn_settings(), [](auto& s) { s.mscale = -1.0; }) == "mscale: expected a number from 0, found -1");
  CHECK(refusal(yarn_settings(), [&](auto& s) { s.mscale_all_dim = infinity; }) ==
        "mscale_all_dim: expected a number from 0, found inf");

  CHECK(refusal(long_settings(), [](auto& s) { s.short_factor.push_back(1.0); }) ==
        "short_factor: expected 2 numbers, found 3");
  CHECK(refusal(long_settings(), [](auto& s) { s.long_factor.clear(); }) == "long_factor: expected 2 numbers, found 0");
  CHECK(refusal(long_settings(), [](auto& s) { s.long_factor[1] = 0.0; }) ==
        "long_factor: expected positive numbers, found 0");
  CHECK(refusal(long_settings(), [](auto& s) { s.short_mscale = 0.0; }) ==
        "short_mscale: expected a positive number, found 0");
  CHECK(refusal(long_settings(), [](auto& s) { s.long_mscale = -1.0; }) ==
        "long_mscale: expected a positive number, found -1");
  CHECK(refusal(long_settings(), [](auto& s) { s.original_context = 1; }) ==
        "original_max_position_embeddings: expected an integer from 2, found 1");
}
