// build_model: from a blueprint to a Model, part after part, so that memory peaks at the packed weights and one tensor.
#pragma once

#include <utility>

#include "headgate/models/blueprint.hpp"
#include "headgate/models/decoder.hpp"
#include "headgate/models/scratch_count.hpp"
#include "headgate/models/weight_count.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace detail {

inline std::optional<AnyNorm> pack(const std::optional<NormPart>& part, const Packer& packer) {
  if (!part) return std::nullopt;
  return part->pack(packer);
}
inline DecoderBlock::Step pack(const StepPlan& plan, Packer& packer) {
  DecoderBlock::Step step{{}, pack(plan.norm_after, packer), plan.scale, plan.is_late};
  for (const BranchPlan& branch : plan.branches) {
    using Operation = decltype(DecoderBlock::Branch::operation);
    Operation operation =
        std::visit([&](const auto& part) -> Operation { return part.pack(packer); }, branch.operation);
    step.branches.push_back({pack(branch.norm, packer), std::move(operation), pack(branch.norm_after, packer),
                             static_cast<DecoderBlock::Branch::RouterReads>(branch.router_reads),
                             pack(branch.router_norm, packer)});
  }
  return step;
}

}  // namespace detail

// Throws Error and std::bad_alloc. A router that make_router put in and that does not fit is a usage error.
inline Model build_model(const Blueprint& blueprint, Packer& packer) {
  Embedding embedding(packer.linear(blueprint.embedding.table));
  std::vector<DecoderBlock> blocks;
  for (const LayerPlan& layer : blueprint.layers) {
    packer.begin_layer(static_cast<index_t>(blocks.size()));
    std::vector<DecoderBlock::Step> steps;
    for (const StepPlan& step : layer) steps.push_back(detail::pack(step, packer));
    DecoderBlock block = DecoderBlock::create(std::move(steps)).value();
    const auto gate = blueprint.token_gates.find(packer.layer());
    if (gate != blueprint.token_gates.end()) block = block.with_gate(gate->second.pack(packer)).value();
    blocks.push_back(std::move(block));
  }
  std::shared_ptr<const Matrix> head;
  if (blueprint.head.matrix) head = std::make_shared<const Matrix>(packer.linear(*blueprint.head.matrix));
  std::vector<RoutingSummary> routing(blueprint.layers.size());
  blueprint.each_operation([&](const auto& part, index_t layer) {
    if (part.routing() != nullptr) routing[as_size(layer)] = *part.routing();
  });
  const WeightCount count = WeightCount::of(blueprint.weights());
  return Model::create({.config = blueprint.config,
                        .embedding = std::move(embedding),
                        .embedding_multiplier = blueprint.embedding.multiplier,
                        .blocks = std::move(blocks),
                        .norm = blueprint.norm.pack(packer),
                        .head = std::move(head),
                        .head_bias = packer.floats(blueprint.head.bias),
                        .logits_divisor = blueprint.head.divisor,
                        .shared = packer.kept(),
                        .weight_bytes = count.weight_bytes(),
                        .bytes_per_token = count.bytes_per_token,
                        .scratch = ScratchCount::of(blueprint),
                        .routing = std::move(routing)})
      .value();
}

}  // namespace headgate::inline HEADGATE_ABI
