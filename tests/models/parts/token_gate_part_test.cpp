#include "headgate/models/parts/token_gate_part.hpp"

#include "headgate/models/weight_count.hpp"
#include "models/small_file.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("a gate of tokens keeps those above its threshold, of its score or of a predictor's") {
  const SmallFile file({counting("w", {5}), counting("b", {1}), counting("p.w", {5}, "BF16"), counting("p.b", {1})});
  const auto score = [&](const std::string& prefix) -> TokenGatePart::Score {
    return {WeightRows::find(file.source, prefix + "w", {5}), WeightRows::find(file.source, prefix + "b", {1})};
  };
  TokenGatePart part{.score = score(""), .threshold = 6.0f};
  CHECK(part.words() == "tokens whose score is above a threshold alone");
  WeightList weights;
  part.list_weights(weights);
  CHECK(WeightCount::of(weights).parameters == 6);
  CHECK(part.scratch()({3, 1, 3, 1}) == 27);

  Context ctx;
  Packer packer(ctx);
  reference::Matrix x(3, 5);  // of which row t scores 10 t / 2
  for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] = 0.5f * static_cast<float>(i / 5);
  const SequenceRows rows{3, 0};
  std::vector<std::uint8_t> kept(3);
  std::vector<float> scores(3);
  throw_if_error(part.pack(packer).choose(x.view(), {&rows, 1}, kept, scores, ctx));
  CHECK(scores == std::vector<float>{0.0f, 5.0f, 10.0f});
  CHECK(kept == std::vector<std::uint8_t>{0, 0, 1});

  part.predictor = score("p.");
  part.threshold = 4.0f;
  CHECK(part.words() == "tokens whose predictor is above a threshold alone");
  weights.clear();
  part.list_weights(weights);
  CHECK(WeightCount::of(weights).parameters == 12);
  throw_if_error(part.pack(packer).choose(x.view(), {&rows, 1}, kept, scores, ctx));
  CHECK(kept == std::vector<std::uint8_t>{0, 1, 1});
}
