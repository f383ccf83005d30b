// Blueprint: a decoder as a checkpoint describes it, before anything is packed: the parts that each layer is made of.
// A family makes one (families.hpp); counting (weight_count.hpp), the memory plan (description.hpp) and packing
// (Model::from) walk over it and know no family and no kind of part.
#pragma once

#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "headgate/layers/decoder_block.hpp"
#include "headgate/models/model_config.hpp"
#include "headgate/models/part.hpp"
#include "headgate/models/parts/norm_part.hpp"
#include "headgate/models/parts/token_gate_part.hpp"

namespace headgate::inline HEADGATE_ABI {

using MixerPart = AnyPart<AnyMixer>;
using RoutedPart = AnyPart<DecoderBlock::Routed>;
using DenseFfnPart = AnyPart<DecoderBlock::Dense>;
using OperationPart = std::variant<MixerPart, RoutedPart, DenseFfnPart>;
using BranchPlan = BranchOf<NormPart, OperationPart>;
using StepPlan = StepOf<NormPart, OperationPart>;
using LayerPlan = std::vector<StepPlan>;

struct EmbeddingPart {
  WeightRows table;         // (vocab_size, hidden_size)
  float multiplier = 1.0f;  // of every vector that enters the first layer
};
struct HeadPart {
  std::optional<WeightRows> matrix = std::nullopt;  // (vocab_size, hidden_size); none: tied to the embedding
  std::optional<WeightRows> bias = std::nullopt;    // (1, vocab_size)
  float divisor = 1.0f;                             // logits are divided by it
};

struct Blueprint {
  ModelConfig config;
  EmbeddingPart embedding;
  std::vector<LayerPlan> layers;
  NormPart norm;
  HeadPart head = {};
  std::map<index_t, TokenGatePart> token_gates = {};  // of layers that not every token passes

  // use(branch) for every branch of every step of a layer, in order.
  template <class F>
  static void each_branch(const LayerPlan& layer, F&& use) {
    for (const StepPlan& step : layer) {
      for (const BranchPlan& branch : step.branches) use(branch);
    }
  }
  // use(operation, layer) for every operation, whatever part it is.
  template <class F>
  void each_operation(F&& use) const {
    for (std::size_t l = 0; l < layers.size(); ++l) {
      each_branch(layers[l], [&](const BranchPlan& branch) {
        std::visit([&](const auto& part) { use(part, static_cast<index_t>(l)); }, branch.operation);
      });
    }
  }

  // All that the model reads.
  WeightList weights() const {
    WeightList list;
    WeightUse table = WeightUse::matrix(embedding.table);
    table.is_read = !head.matrix;  // of the table a token reads a row, but for a head that it is
    table.is_head = table.is_read;
    list.push_back(std::move(table));
    if (head.matrix) {
      list.push_back(WeightUse::matrix(*head.matrix));
      list.back().is_head = true;
    }
    if (head.bias) list.push_back(WeightUse::vector(*head.bias));
    norm.list_weights(list);
    const auto add = [&](const std::optional<NormPart>& part) {
      if (part) part->list_weights(list);
    };
    for (const LayerPlan& layer : layers) {
      for (const StepPlan& step : layer) {
        for (const BranchPlan& branch : step.branches) {
          add(branch.norm);
          add(branch.router_norm);
          std::visit([&](const auto& part) { part.list_weights(list); }, branch.operation);
          add(branch.norm_after);
        }
        add(step.norm_after);
      }
    }
    for (const auto& [layer, gate] : token_gates) gate.list_weights(list);
    return list;
  }
};

// x = x + scale * operation(norm(x)), of which most layers are two: PreNorm{norm}.then(operation, scale).
struct PreNorm {
  NormPart norm;

  StepPlan then(OperationPart operation, float scale = 1.0f) const {
    StepPlan step;
    step.branches.push_back({.norm = norm, .operation = std::move(operation)});
    step.scale = scale;
    return step;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
