#include "headgate/layers/accelerator.hpp"

#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

constexpr index_t width = 14;

struct Adapter {
  explicit Adapter(unsigned seed, float scale = 0.5f) {
    std::mt19937 rng(seed);
    down = reference::Matrix::random(3, width, 0.5f, rng);
    up = reference::Matrix::random(width, 3, scale, rng);
  }
  Accelerator made(const Accelerator::Stage& stage) const {
    return Accelerator::create(down.view(), up.view(), stage).value();
  }
  // p + U silu(D p), in double
  std::vector<double> step(std::vector<double> p) const {
    std::vector<double> inner(3);
    for (std::size_t r = 0; r < 3; ++r) {
      double sum = 0.0;
      for (std::size_t i = 0; i < as_size(width); ++i) sum += double{down.values[r * as_size(width) + i]} * p[i];
      inner[r] = sum / (1.0 + std::exp(-sum));
    }
    for (std::size_t i = 0; i < as_size(width); ++i) {
      for (std::size_t r = 0; r < 3; ++r) p[i] += double{up.values[i * 3 + r]} * inner[r];
    }
    return p;
  }
  reference::Matrix down, up;
};
reference::Matrix rows(index_t tokens, unsigned seed) {
  std::mt19937 rng(seed);
  return reference::Matrix::random(tokens, width, 2.0f, rng);
}

}  // namespace

TEST_CASE("paper_ an accelerated residual starts at a stage's first layer and moves by low-rank steps") {
  for (const index_t tokens : {0, 1, 5}) {
    reference::Matrix p = rows(tokens, 1);  // what was there before does not matter
    std::vector<std::vector<double>> expected;
    Context ctx;
    for (index_t layer = 3; layer < 6; ++layer) {
      const Adapter adapter(static_cast<unsigned>(layer));
      const reference::Matrix x = rows(tokens, static_cast<unsigned>(10 + layer));
      REQUIRE(adapter.made({3, 2}).advance(layer, x.view(), p.view(), ctx).ok());
      for (index_t t = 0; t < tokens; ++t) {
        if (layer == 3) {
          const std::span<const float> row = x.view().row(t);
          expected.emplace_back(row.begin(), row.end());
        }
        expected[as_size(t)] = adapter.step(expected[as_size(t)]);
        for (std::size_t i = 0; i < as_size(width); ++i) {
          CHECK(p.view().row(t)[i] == Catch::Approx(expected[as_size(t)][i]).margin(1e-5));
        }
      }
    }
  }
}

TEST_CASE("an accelerator that adds nothing leaves the stream where the stage started") {
  const reference::Matrix x = rows(5, 1);
  reference::Matrix p = rows(5, 2);
  const Accelerator still = Adapter(3, 0.0f).made({1, 4});
  Context ctx;
  REQUIRE(still.advance(1, x.view(), p.view(), ctx).ok());
  REQUIRE(still.advance(2, rows(5, 9).view(), p.view(), ctx).ok());
  CHECK(p == x);
  CHECK(still.stands_for(1) == 5);
  CHECK(still.stands_for(2) == 9);
  CHECK(Adapter(3).made({0, 1}).stands_for(6) == 7);
}

TEST_CASE("an accelerator refuses what does not fit") {
  const Adapter a(1);
  const auto made = [](ConstRows down, ConstRows up, index_t first = 0, index_t rate = 2) {
    return refused(Accelerator::create(down, up, {first, rate}));
  };
  CHECK(made(a.down.view(), a.up.view(), -1) == "first layer of a stage, at least (got -1, allowed 0)");
  CHECK(made(a.down.view(), a.up.view(), 0, 0) == "rate of an accelerated residual, at least (got 0, allowed 1)");
  CHECK(made(a.down.view(), ConstRows(a.up.values.data(), 13, 3)) ==
        "rows of up against columns of down (got 13, allowed 14)");
  CHECK(made(a.down.view(), ConstRows(a.up.values.data(), 14, 2)) ==
        "columns of up against rows of down (got 2, allowed 3)");
  const Accelerator accelerator = a.made({0, 2});
  reference::Matrix p = rows(4, 1);
  Context ctx;
  CHECK(accelerator.advance(0, rows(5, 1).view(), p.view(), ctx).code == ErrorCode::usage);
  CHECK(accelerator.advance(0, p.view(), p.view(), ctx).code == ErrorCode::usage);
}
