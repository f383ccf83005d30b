#include "headgate/attention/bilevel_routing_attention.hpp"

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "support/catch.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;

namespace {

const nlohmann::json& vectors() {
  static const nlohmann::json parsed =
      nlohmann::json::parse(std::ifstream(HEADGATE_SOURCE_DIR "/tests/golden/bilevel/vectors.json"));
  return parsed;
}

RegionPadding padding_of(const std::string& name) {
  if (name == "strict") return RegionPadding::strict;
  return name == "input" ? RegionPadding::input : RegionPadding::projected;
}

template <class T>
std::vector<T> values(const nlohmann::json& array) {
  std::vector<T> out;
  for (const auto& v : array) out.push_back(static_cast<T>(v.template get<double>()));
  return out;
}

template <class T>
void check_official(double tolerance) {
  for (const auto& c : vectors()) {
    INFO(c["name"].get<std::string>());
    const BilevelRoutingShape shape{
        c["channels"], c["heads"], c["regions_per_side"], c["top_k"], c["kernel"], padding_of(c["padding"]), false};
    auto attention = BilevelRoutingAttention<T>::create(
        shape, {values<T>(c["qkv"]), values<T>(c["qkv_bias"]), values<T>(c["output"]), values<T>(c["output_bias"]),
                values<T>(c["local"]), values<T>(c["local_bias"])});
    REQUIRE(attention.has_value());
    const std::vector<T> image = values<T>(c["image"]);
    const index_t height = c["height"];
    const index_t width = c["width"];
    std::vector<T> out(image.size());
    RoutingPlan plan;
    Context ctx;
    const Status status = attention.value().forward({image.data(), height * width, shape.channels}, height, width,
                                                    {out.data(), height * width, shape.channels}, plan, ctx);
    REQUIRE(status.ok());
    REQUIRE(plan.tokens() == static_cast<index_t>(c["routed"].size()));
    for (index_t r = 0; r < plan.tokens(); ++r) {
      const auto experts = plan.experts(r);
      REQUIRE(std::vector<index_t>(experts.begin(), experts.end()) ==
              c["routed"][as_size(r)].get<std::vector<index_t>>());
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
      REQUIRE(std::abs(static_cast<double>(out[i]) - c["expected"][i].get<double>()) <= tolerance);
    }
  }
}

struct Random {
  std::mt19937_64 engine{20};
  std::vector<double> operator()(std::size_t n) {
    std::normal_distribution<double> normal;
    std::vector<double> out(n);
    for (double& v : out) v = 0.5 * normal(engine);
    return out;
  }
};

BilevelRoutingWeights<double> random_weights(const BilevelRoutingShape& s, Random& random) {
  const auto c = as_size(s.channels);
  const auto kernel = as_size(s.local_kernel * s.local_kernel);
  return {random(3 * c * c), random(3 * c),      random(c * c),
          random(c),         random(c * kernel), random(s.local_kernel > 0 ? c : 0)};
}

std::vector<double> run(const BilevelRoutingShape& shape, const BilevelRoutingWeights<double>& weights,
                        const std::vector<double>& image, index_t height, index_t width) {
  const BilevelRoutingAttention<double> attention = BilevelRoutingAttention<double>::create(shape, weights).value();
  std::vector<double> out(image.size());
  RoutingPlan plan;
  Context ctx;
  REQUIRE(attention
              .forward({image.data(), height * width, shape.channels}, height, width,
                       {out.data(), height * width, shape.channels}, plan, ctx)
              .ok());
  return out;
}

// Attention of every token to every token, with local enhancement, by the plainest loops.
std::vector<double> dense(const BilevelRoutingShape& s, const BilevelRoutingWeights<double>& w,
                          const std::vector<double>& image, index_t height, index_t width) {
  const std::size_t c = as_size(s.channels), n = as_size(height * width), d = c / as_size(s.num_heads);
  std::vector<double> qkv(n * 3 * c), mixed(n * c, 0.0), out(n * c);
  for (std::size_t t = 0; t < n; ++t)
    for (std::size_t o = 0; o < 3 * c; ++o) {
      qkv[t * 3 * c + o] = w.qkv_bias[o];
      for (std::size_t i = 0; i < c; ++i) qkv[t * 3 * c + o] += w.qkv[o * c + i] * image[t * c + i];
    }
  for (std::size_t t = 0; t < n; ++t)
    for (std::size_t h = 0; h < as_size(s.num_heads); ++h) {
      std::vector<double> p(n);
      double total = 0;
      for (std::size_t j = 0; j < n; ++j) {
        for (std::size_t i = h * d; i < h * d + d; ++i) p[j] += qkv[t * 3 * c + i] * qkv[j * 3 * c + c + i];
        total += p[j] = std::exp(p[j] / std::sqrt(static_cast<double>(c)));
      }
      for (std::size_t j = 0; j < n; ++j)
        for (std::size_t i = h * d; i < h * d + d; ++i) mixed[t * c + i] += p[j] / total * qkv[j * 3 * c + 2 * c + i];
    }
  const index_t k = s.local_kernel;
  for (index_t t = 0; t < height * width && k > 0; ++t)
    for (std::size_t i = 0; i < c; ++i) {
      mixed[as_size(t) * c + i] += w.local_bias[i];
      for (index_t dy = 0; dy < k; ++dy)
        for (index_t dx = 0; dx < k; ++dx) {
          const index_t y = t / width + dy - k / 2, x = t % width + dx - k / 2;
          if (y < 0 || x < 0 || y >= height || x >= width) continue;
          mixed[as_size(t) * c + i] += w.local[(i * as_size(k) + as_size(dy)) * as_size(k) + as_size(dx)] *
                                       qkv[as_size(y * width + x) * 3 * c + 2 * c + i];
        }
    }
  for (std::size_t t = 0; t < n; ++t)
    for (std::size_t o = 0; o < c; ++o) {
      out[t * c + o] = w.output_bias[o];
      for (std::size_t i = 0; i < c; ++i) out[t * c + o] += w.output[o * c + i] * mixed[t * c + i];
    }
  return out;
}

void require_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance = 1e-12) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) REQUIRE(std::abs(a[i] - b[i]) <= tolerance);
}

}  // namespace

TEST_CASE("official_ bi-level routing attention equals both official modules in double") {
  check_official<double>(1e-12);
}
TEST_CASE("official_ bi-level routing attention equals both official modules in float") { check_official<float>(1e-5); }

TEST_CASE("all regions chosen is full attention with local enhancement") {
  Random random;
  const BilevelRoutingShape shape{6, 3, 2, 4, 5, RegionPadding::strict, false};
  const auto weights = random_weights(shape, random);
  const auto image = random(4 * 6 * 6);
  require_close(run(shape, weights, image, 4, 6), dense(shape, weights, image, 4, 6));
}

TEST_CASE("masked padding with all regions is full attention of an image whose sides do not divide") {
  Random random;
  for (const RegionPadding padding : {RegionPadding::input, RegionPadding::projected}) {
    for (const auto& [height, width] : {std::pair<index_t, index_t>{5, 7}, {7, 5}, {3, 3}, {9, 4}}) {
      const BilevelRoutingShape shape{4, 2, 3, 100, 3, padding, true};
      const auto weights = random_weights(shape, random);
      const auto image = random(as_size(height * width * 4));
      require_close(run(shape, weights, image, height, width), dense(shape, weights, image, height, width));
    }
  }
}

TEST_CASE("a constant image gives the same output for any number of regions without local enhancement") {
  Random random;
  BilevelRoutingShape shape{4, 2, 3, 1, 0, RegionPadding::strict, false};
  const auto weights = random_weights(shape, random);
  std::vector<double> image(36 * 4);
  for (std::size_t i = 0; i < image.size(); ++i) image[i] = static_cast<double>(i % 4) - 1.5;
  const auto one = run(shape, weights, image, 6, 6);
  for (const index_t k : {2, 5, 9}) {
    shape.top_k = k;
    require_close(run(shape, weights, image, 6, 6), one);
  }
}

TEST_CASE("shifting an image by whole regions shifts the output without local enhancement") {
  Random random;
  const BilevelRoutingShape shape{4, 1, 3, 2, 0, RegionPadding::strict, false};
  const auto weights = random_weights(shape, random);
  const auto image = random(36 * 4);
  const auto shift = [](const std::vector<double>& x) {  // two rows and four columns of 6 x 6, around the border
    std::vector<double> out(x.size());
    for (std::size_t y = 0; y < 6; ++y)
      for (std::size_t xx = 0; xx < 6; ++xx)
        for (std::size_t i = 0; i < 4; ++i) out[(((y + 2) % 6) * 6 + (xx + 4) % 6) * 4 + i] = x[(y * 6 + xx) * 4 + i];
    return out;
  };
  require_close(run(shape, weights, shift(image), 6, 6), shift(run(shape, weights, image, 6, 6)));
}

TEST_CASE("bi-level routing attention refuses what does not fit") {
  Random random;
  const BilevelRoutingShape shape{6, 3, 2, 4, 5, RegionPadding::strict, false};
  auto weights = random_weights(shape, random);
  BilevelRoutingShape bad = shape;
  bad.num_heads = 4;
  REQUIRE_FALSE(BilevelRoutingAttention<double>::create(bad, weights).has_value());
  bad = shape;
  bad.local_kernel = 4;
  REQUIRE_FALSE(BilevelRoutingAttention<double>::create(bad, weights).has_value());
  bad = shape;
  bad.regions_per_side = 1 << 16;
  REQUIRE_FALSE(BilevelRoutingAttention<double>::create(bad, weights).has_value());
  bad = shape;
  bad.top_k = 0;
  REQUIRE_FALSE(BilevelRoutingAttention<double>::create(bad, weights).has_value());
  weights.local.pop_back();
  REQUIRE_FALSE(BilevelRoutingAttention<double>::create(shape, weights).has_value());

  weights = random_weights(shape, random);
  const auto attention = BilevelRoutingAttention<double>::create(shape, weights).value();
  auto image = random(5 * 6 * 6);
  std::vector<double> out(image.size());
  RoutingPlan plan;
  Context ctx;
  const auto forward = [&](index_t height, index_t width) {
    return attention.forward({image.data(), height * width, 6}, height, width, {out.data(), height * width, 6}, plan,
                             ctx);
  };
  REQUIRE(forward(5, 6).code == ErrorCode::usage);
  REQUIRE(forward(0, 6).code == ErrorCode::usage);
  image[3] = std::numeric_limits<double>::quiet_NaN();
  const Status status = forward(4, 6);
  REQUIRE(status.code == ErrorCode::numeric);
}

TEST_CASE("the defaults of bi-level routing attention are BiFormer's") {
  const BilevelRoutingShape shape;
  CHECK(shape.channels == 0);
  CHECK(shape.num_heads == 1);
  CHECK(shape.regions_per_side == 7);
  CHECK(shape.top_k == 4);
  CHECK(shape.local_kernel == 5);
  CHECK(shape.padding == RegionPadding::strict);
  CHECK_FALSE(shape.mask_padding);
}

TEST_CASE("bi-level routing attention is made at the bounds of its shape, and beyond them says which") {
  const auto outcome = [](BilevelRoutingShape shape, auto change) {
    Random random;
    auto weights = random_weights(shape, random);
    change(weights);
    return refused(BilevelRoutingAttention<double>::create(shape, weights));
  };
  const auto as_it_is = [](auto&) {};
  const BilevelRoutingShape least{1, 1, 1, 1, 0, RegionPadding::strict, false};
  const BilevelRoutingShape usual{6, 3, 2, 4, 5, RegionPadding::strict, false};
  CHECK(outcome(least, as_it_is) == "made");
  CHECK(outcome({1, 1, 1 << 14, 1, 1, RegionPadding::strict, false}, as_it_is) == "made");
  CHECK(outcome({0, 1, 1, 1, 0, RegionPadding::strict, false}, as_it_is) == "channels (got 0, allowed 1)");
  CHECK(outcome({6, 0, 1, 1, 0, RegionPadding::strict, false}, as_it_is) ==
        "heads against channels (got 0, allowed 6)");
  CHECK(outcome({6, 4, 1, 1, 0, RegionPadding::strict, false}, as_it_is) ==
        "heads against channels (got 4, allowed 6)");
  CHECK(outcome({1, 1, 0, 1, 0, RegionPadding::strict, false}, as_it_is) == "regions per side (got 0, allowed 1)");
  CHECK(outcome({1, 1, (1 << 14) + 1, 1, 0, RegionPadding::strict, false}, as_it_is) ==
        "regions per side (got 16385, allowed 16384)");
  CHECK(outcome({1, 1, 1, 0, 0, RegionPadding::strict, false}, as_it_is) == "routed regions (got 0, allowed 1)");
  for (const index_t side : {-1, 2, 4}) {
    CHECK(outcome({1, 1, 1, 1, side, RegionPadding::strict, false}, as_it_is) ==
          "side of the local convolution, which is odd or 0 (got " + std::to_string(side) + ", allowed 5)");
  }
  CHECK(outcome(usual, [](auto& w) { w.qkv.pop_back(); }) == "size of the qkv weight (got 107, allowed 108)");
  CHECK(outcome(usual, [](auto& w) { w.qkv_bias.pop_back(); }) == "size of the qkv bias (got 17, allowed 18)");
  CHECK(outcome(usual, [](auto& w) { w.output.pop_back(); }) == "size of the output weight (got 35, allowed 36)");
  CHECK(outcome(usual, [](auto& w) { w.output_bias.pop_back(); }) == "size of the output bias (got 5, allowed 6)");
  CHECK(outcome(usual, [](auto& w) { w.local.pop_back(); }) == "size of the local weight (got 149, allowed 150)");
  CHECK(outcome(usual, [](auto& w) { w.local_bias.pop_back(); }) == "size of the local bias (got 5, allowed 6)");
  CHECK(outcome(least, [](auto& w) { w.local_bias.push_back(0); }) == "size of the local bias (got 1, allowed 0)");
}

TEST_CASE("bi-level routing attention says which side or size of an image does not fit") {
  const auto outcome = [](RegionPadding padding, index_t regions, index_t height, index_t width, index_t rows,
                          index_t out_rows, index_t cols = 2, index_t out_cols = 2) {
    Random random;
    const BilevelRoutingShape shape{2, 1, regions, 1, 0, padding, false};
    const auto attention = BilevelRoutingAttention<double>::create(shape, random_weights(shape, random)).value();
    const std::vector<double> image(200, 0.5);
    std::vector<double> out(200);
    RoutingPlan plan;
    Context ctx;
    return said(
        attention.forward({image.data(), rows, cols}, height, width, {out.data(), out_rows, out_cols}, plan, ctx));
  };
  constexpr auto strict = RegionPadding::strict;
  CHECK(outcome(strict, 1, 1, 1, 1, 1) == "ok");
  CHECK(outcome(strict, 1, 0, 3, 0, 0) == "usage: side of the image (got 0, allowed 1)");
  CHECK(outcome(strict, 1, 3, 0, 0, 0) == "usage: side of the image (got 0, allowed 1)");
  CHECK(outcome(strict, 1, 2, 3, 5, 6) == "usage: tokens of the image (got 5, allowed 6)");
  CHECK(outcome(strict, 1, 2, 3, 6, 5) == "usage: tokens of the image");
  CHECK(outcome(strict, 1, 2, 3, 6, 6, 3) == "usage: channels of the image (got 3, allowed 2)");
  CHECK(outcome(strict, 1, 2, 3, 6, 6, 2, 3) == "usage: channels of the image");
  CHECK(outcome(strict, 2, 3, 4, 12, 12) ==
        "usage: side of the image, a multiple of regions_per_side (got 3, allowed 2)");
  CHECK(outcome(strict, 2, 4, 5, 20, 20) ==
        "usage: side of the image, a multiple of regions_per_side (got 5, allowed 2)");
  CHECK(outcome(RegionPadding::projected, 3, 2, 5, 10, 10) == "usage: side of the image (got 2, allowed 3)");
  CHECK(outcome(RegionPadding::projected, 3, 5, 2, 10, 10) == "usage: side of the image (got 2, allowed 3)");
  CHECK(outcome(RegionPadding::projected, 3, 3, 3, 9, 9) == "ok");
  CHECK(outcome(RegionPadding::input, 3, 2, 5, 10, 10) == "ok");
}

TEST_CASE("another scale is the scale of the scores") {
  Random random;
  const BilevelRoutingShape shape{4, 2, 1, 1, 0, RegionPadding::strict, false};
  const auto weights = random_weights(shape, random);
  const auto image = random(9 * 4);
  auto attention = BilevelRoutingAttention<double>::create(shape, weights).value();
  std::vector<double> out(image.size());
  RoutingPlan plan;
  Context ctx;
  attention.set_scale(0.0);  // the mean of all values
  throw_if_error(attention.forward({image.data(), 9, 4}, 3, 3, {out.data(), 9, 4}, plan, ctx));
  for (std::size_t t = 1; t < 9; ++t) {
    for (std::size_t i = 0; i < 4; ++i) CHECK(out[t * 4 + i] == Catch::Approx(out[i]).epsilon(1e-12));
  }
  attention.set_scale(0.5);  // 4^-0.5, its own
  throw_if_error(attention.forward({image.data(), 9, 4}, 3, 3, {out.data(), 9, 4}, plan, ctx));
  CHECK(out == run(shape, weights, image, 3, 3));
}

TEST_CASE("a region of padding alone is never routed to where padding is masked") {
  // 3 x 3 regions of 1 x 2 pixels on an image 4 wide: the last of every row is padding, and its mean key, 0, would beat
  // the negative affinities of the others.
  const BilevelRoutingShape shape{1, 1, 3, 1, 0, RegionPadding::input, true};
  const BilevelRoutingWeights<double> weights{{1.0, -1.0, 1.0}, {0.0, 0.0, 0.0}, {1.0}, {0.0}, {}, {}};
  const auto attention = BilevelRoutingAttention<double>::create(shape, weights).value();
  const std::vector<double> image(3 * 4, 2.0);
  std::vector<double> out(image.size());
  RoutingPlan plan;
  Context ctx;
  throw_if_error(attention.forward({image.data(), 12, 1}, 3, 4, {out.data(), 12, 1}, plan, ctx));
  REQUIRE(plan.tokens() == 9);
  for (const ExpertId region : plan.experts()) CHECK(region % 3 != 2);
  for (const double value : out) CHECK(value == Catch::Approx(2.0));
}

TEST_CASE("threads change no bit of bi-level routing attention") {
  Random random;
  const BilevelRoutingShape shape{6, 2, 4, 3, 3, RegionPadding::input, false};
  const auto weights = random_weights(shape, random);
  const auto image = random(13 * 14 * 6);
  const auto expected = run(shape, weights, image, 13, 14);
  const auto attention = BilevelRoutingAttention<double>::create(shape, weights).value();
  for (const index_t threads : {2, 3, 8}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    std::vector<double> out(image.size());
    RoutingPlan plan;
    throw_if_error(attention.forward({image.data(), 13 * 14, 6}, 13, 14, {out.data(), 13 * 14, 6}, plan, ctx));
    CHECK(out == expected);
  }
}

TEST_CASE("bi-level routing attention refuses an image or output without data") {
  Random random;
  const BilevelRoutingShape shape{2, 1, 1, 1, 0, RegionPadding::strict, false};
  const auto attention = BilevelRoutingAttention<double>::create(shape, random_weights(shape, random)).value();
  std::vector<double> image(8, 0.5);
  RoutingPlan plan;
  Context ctx;
  CHECK(said(attention.forward({nullptr, 4, 2}, 2, 2, {image.data(), 4, 2}, plan, ctx)) ==
        "usage: rows of a matrix without data");
  CHECK(said(attention.forward({image.data(), 4, 2}, 2, 2, {nullptr, 4, 2}, plan, ctx)) ==
        "usage: rows of a matrix without data");
}
