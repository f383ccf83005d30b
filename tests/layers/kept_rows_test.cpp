#include "headgate/layers/kept_rows.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("kept rows are taken out in order and put back where they were, the others keep their bits") {
  std::vector<float> x{-0.0f, 1, 2, -3, 4, 5};
  const std::vector<float> before = x;
  const SequenceRows sequences[] = {{4, 7}, {2, 0}};
  const TokenGate gate = TokenGate::causal(linear_token_score({1.0f}), 0.0f).value();
  Context ctx;
  KeptRows kept(sequences, ctx);
  REQUIRE(kept.choose(gate, ConstRows(x.data(), 6, 1)).ok());
  CHECK(std::ranges::equal(kept.rows(), std::vector<index_t>{1, 2, 4, 5}));
  const Rows out = kept.of(ConstRows(x.data(), 6, 1));
  CHECK(std::vector<float>(out.data, out.data + 4) == std::vector<float>{1, 2, 4, 5});
  CHECK(kept.of(ConstRows()).data == nullptr);
  const std::int32_t ids[] = {10, 11, 12, 13, 14, 15};
  CHECK(std::ranges::equal(kept.of(ids), std::vector<std::int32_t>{11, 12, 14, 15}));
  CHECK(kept.of(std::span<const std::int32_t>()).empty());
  const auto thin = kept.sequences({});
  REQUIRE(thin.size() == 2);
  CHECK(thin[0].rows == 2);
  CHECK(thin[1].rows == 2);

  const std::vector<float> y{8, 8, 8, 8};
  kept.put_back({y.data(), 4, 1}, {x.data(), 6, 1});
  CHECK(x == std::vector<float>{0, 8, 2 + 2 * 6, -3, 4 + 4 * 4, 5 + 5 * 3});  // x + r (y - x), r = x
  CHECK(std::memcmp(&x[0], &before[0], sizeof(float)) == 0);
}
