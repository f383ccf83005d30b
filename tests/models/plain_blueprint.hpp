// A blueprint of parts that only cost what a test says.
#pragma once

#include "headgate/models/blueprint.hpp"
#include "support/catch.hpp"

namespace models_test {

using namespace headgate;

struct PlainPart {
  ScratchNeed need;

  std::string words() const { return "plain"; }
  void list_weights(WeightList&) const {}
  ScratchNeed scratch() const { return need; }
  DecoderBlock::Dense pack(Packer&) const { throw Error(ErrorCode::usage, {"", "", -1, "never packed"}); }
};

inline StepPlan plain_step(ScratchNeed need) {
  StepPlan step;
  step.branches.push_back({.norm = std::nullopt, .operation = DenseFfnPart(PlainPart{std::move(need)})});
  return step;
}
// Without layers and weights.
inline Blueprint plain_blueprint(index_t hidden_size) {
  Blueprint blueprint{.config = {}, .embedding = {WeightRows()}, .layers = {}, .norm = {WeightRows(), 1e-6f}};
  blueprint.config.hidden_size = hidden_size;
  return blueprint;
}

}  // namespace models_test
