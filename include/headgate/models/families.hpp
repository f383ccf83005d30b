// The checkpoint families that can be loaded: one header each, one name here. A family is a struct of static members:
//   model_type                                       the string in config.json
//   read_config(json) -> ModelConfig                 every key that it understands, checked
//   find_tensors(config, source) -> DecoderTensors   every tensor that it needs, compared with the config
//   build(builder) -> Model                          from the config and the tensors of a DecoderBuilder
#pragma once

#include "headgate/models/headgate_moe.hpp"
#include "headgate/models/qwen3_moe.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class... Family>
struct FamilyList {
  // Calls use(Family{}) with the family that config.json names.
  template <class F>
  static void visit(const JsonObject& config, F&& use) {
    const std::string& model_type = config.get_string("model_type");
    const bool is_known = ((model_type == Family::model_type ? (use(Family{}), true) : false) || ...);
    if (is_known) return;
    std::string known;
    for (const std::string_view name : {Family::model_type...})
      known += (known.empty() ? "" : ", ") + std::string(name);
    config.fail("model_type", "the family \"" + escaped(model_type, 80) + "\" is not supported, known: " + known);
  }
};

using Families = FamilyList<Qwen3Moe, HeadgateMoe>;

}  // namespace headgate::inline HEADGATE_ABI
