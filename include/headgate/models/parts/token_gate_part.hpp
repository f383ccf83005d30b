// TokenGatePart: the weights of a gate that lets some tokens alone pass a layer (layers/token_gate.hpp), as it decodes:
// a token's score weighs what the layer does, and it, or that of a predictor, says whether the token passes at all.
#pragma once

#include <optional>
#include <string>

#include "headgate/layers/token_gate.hpp"
#include "headgate/models/part.hpp"

namespace headgate::inline HEADGATE_ABI {

struct TokenGatePart {
  struct Score {
    WeightRows weight;  // (1, hidden_size)
    WeightRows bias;    // (1, 1)
  };
  Score score;
  std::optional<Score> predictor = std::nullopt;
  float threshold = 0.0f;

  std::string words() const {
    return std::string("tokens whose ") + (predictor ? "predictor is" : "score is") + " above a threshold alone";
  }
  void list_weights(WeightList& weights) const {
    const auto add = [&](const Score& s) {
      weights.push_back(WeightUse::vector(s.weight));
      weights.push_back(WeightUse::vector(s.bias));
    };
    add(score);
    if (predictor) add(*predictor);
  }
  // Whether each row is kept, its score, its place; the rows that are, and the scores of a predictor.
  ScratchNeed scratch() const {
    return [width = std::int64_t{score.weight.cols()}](const PassSize& pass) { return pass.rows * (width + 4); };
  }
  TokenGate pack(const Packer& packer) const {
    const auto linear = [&](const Score& s) {
      return linear_token_score(packer.floats(s.weight), packer.floats(s.bias)[0]);
    };
    return TokenGate::causal(linear(score), threshold, predictor ? linear(*predictor) : nullptr).value();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
