#include "headgate/layers/token_gate.hpp"

#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

struct Choice {
  Status status;
  std::vector<std::uint8_t> kept;
  std::vector<float> weights;
};
Choice choose(const TokenGate& gate, const std::vector<float>& x, index_t width, std::vector<SequenceRows> sequences) {
  const auto rows = static_cast<index_t>(x.size()) / width;
  Choice choice{{}, std::vector<std::uint8_t>(as_size(rows)), std::vector<float>(as_size(rows))};
  Context ctx;
  choice.status = gate.choose({x.data(), rows, width}, sequences, choice.kept, choice.weights, ctx);
  return choice;
}
using Kept = std::vector<std::uint8_t>;

}  // namespace

TEST_CASE("paper_ mixture of depths keeps the tokens of the largest scores of each text, ties to the first") {
  // Scores are the values themselves.
  const std::vector<float> x{3, 1, 2, 1, 5, /* second text */ -4, -4, -1};
  const std::vector<SequenceRows> texts{{5, 0}, {3, 0}};
  const auto kept = [&](double capacity) {
    const Choice choice = choose(TokenGate::top_k(linear_token_score({1.0f}), capacity).value(), x, 1, texts);
    REQUIRE(choice.status.ok());
    CHECK(choice.weights == x);
    return choice.kept;
  };
  CHECK(kept(1.0) == Kept{1, 1, 1, 1, 1, 1, 1, 1});
  CHECK(kept(0.125) == Kept{0, 0, 0, 0, 1, 0, 0, 1});
  CHECK(kept(0.4) == Kept{1, 0, 0, 0, 1, 1, 0, 1});
  CHECK(kept(0.8) == Kept{1, 1, 1, 0, 1, 1, 1, 1});
  CHECK(TokenGate::top_k(linear_token_score({1.0f}), 0.5).value().batch_coupled());
}

TEST_CASE("a causal gate keeps a token by its own score, or by that of a predictor") {
  const std::vector<float> x{3, -1, 2, 4, 0, 0};  // three tokens of two
  const std::vector<SequenceRows> text{{3, 0}};
  const TokenScore first = linear_token_score({1.0f, 0.0f});
  const TokenScore second = linear_token_score({0.0f, 1.0f}, 0.5f);
  const TokenGate own = TokenGate::causal(first, 2.0f).value();
  CHECK(!own.batch_coupled());
  CHECK(choose(own, x, 2, text).kept == Kept{1, 0, 0});  // 2 is not greater than 2
  const Choice predicted = choose(TokenGate::causal(first, 0.0f, second).value(), x, 2, text);
  CHECK(predicted.kept == Kept{0, 1, 1});
  CHECK(predicted.weights == std::vector<float>{3, 2, 0});
  const Choice pruned = choose(TokenGate::causal(first, 2.0f, nullptr, TokenGate::Weight::one).value(), x, 2, text);
  CHECK(pruned.kept == Kept{1, 0, 0});
  CHECK(pruned.weights == std::vector<float>{1, 1, 1});
  CHECK(choose(own, {}, 2, {}).status.ok());
}

TEST_CASE("what a causal gate says of a token does not depend on the tokens beside it") {
  const std::vector<float> x = random_floats(11 * 24, 1.0f, 4);
  const TokenGate gate = TokenGate::causal(linear_token_score(random_floats(24, 1.0f, 5)), 0.25f).value();
  const Choice all = choose(gate, x, 24, {{11, 0}});
  for (std::size_t t = 0; t < 11; ++t) {
    const std::vector<float> row(x.begin() + static_cast<std::ptrdiff_t>(24 * t),
                                 x.begin() + static_cast<std::ptrdiff_t>(24 * t + 24));
    const Choice one = choose(gate, row, 24, {{1, 0}});
    CHECK(one.kept[0] == all.kept[t]);
    CHECK(one.weights[0] == all.weights[t]);
  }
}

TEST_CASE("a gate of tokens refuses what is no score, threshold or capacity") {
  const TokenScore score = linear_token_score({1.0f});
  CHECK(refused(TokenGate::top_k(nullptr, 0.5)) == "a gate of tokens without a score");
  CHECK(refused(TokenGate::causal(nullptr, 0.5f)) == "a gate of tokens without a score");
  for (const double capacity : {0.0, -1.0, 1.001, std::nan("")}) CHECK(!TokenGate::top_k(score, capacity));
  CHECK(!TokenGate::causal(score, std::nanf("")));
  const TokenGate gate = TokenGate::causal(score, 0.0f).value();
  const Choice bad = choose(gate, {1.0f, std::numeric_limits<float>::quiet_NaN()}, 1, {{2, 0}});
  CHECK(bad.status.code == ErrorCode::numeric);
  CHECK(bad.status.token == 1);
  CHECK(choose(gate, {1.0f, 2.0f}, 2, {{1, 0}}).status.code == ErrorCode::usage);
}
