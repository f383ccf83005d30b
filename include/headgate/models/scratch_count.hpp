// ScratchCount: how many bytes of a workspace one pass through a decoder takes at a time, at most. The frames of a pass
// lie inside each other: the rows between the layers, those in a layer, and of the operations of a layer, which come
// one after the other, the largest.
#pragma once

#include <algorithm>
#include <vector>

#include "headgate/core/workspace.hpp"
#include "headgate/layers/layer_schedule.hpp"
#include "headgate/models/blueprint.hpp"
#include "headgate/models/rope_list.hpp"

namespace headgate::inline HEADGATE_ABI {

class ScratchCount {
 public:
  static constexpr std::int64_t text_bytes = 160;  // of what a session and a model note of a text in a pass

  static ScratchCount of(const Blueprint& blueprint) {
    ScratchCount count;
    count.hidden_size_ = blueprint.config.hidden_size;
    RopeList ropes;
    blueprint.each_operation([&](const auto& part, index_t /*layer*/) {
      count.operations_.push_back(part.scratch());
      count.mixers_ += part.routing() == nullptr ? LayerSchedule::most_runs : 0;
      ropes.add(part.rope());
    });
    count.angles_ = ropes.floats_per_row();
    count.ropes_ = static_cast<std::int64_t>(ropes.all().size());
    for (const auto& [layer, gate] : blueprint.token_gates) count.gates_.push_back(gate.scratch());
    for (const LayerPlan& layer : blueprint.layers) {
      index_t branches = 1;
      index_t routers_apart = 0;
      for (const StepPlan& step : layer) {
        branches = std::max(branches, static_cast<index_t>(step.branches.size()));
        if (step.is_late) count.late_rows_ = 1;
        for (const BranchPlan& branch : step.branches) {
          routers_apart += branch.router_reads == BranchPlan::RouterReads::normed ? 0 : 2;
        }
      }
      count.rows_ = std::max<std::int64_t>(count.rows_, 2 + (branches > 1 ? 1 : 0) + routers_apart);
    }
    return count;
  }

  // Of a pass that leaves so many rows of logits, which are gathered where they belong to several texts.
  std::size_t bytes(const PassSize& pass, std::int64_t logits_rows, std::int64_t vocab_size) const {
    const std::int64_t x = pass.rows * hidden_size_;
    std::int64_t operation = 0;
    for (const ScratchNeed& need : operations_) operation = std::max(operation, need(pass));
    std::int64_t kept = 0;  // by a gate, with their angles
    for (const ScratchNeed& need : gates_) kept = std::max(kept, need(pass) + pass.rows * angles_);
    const std::int64_t layers =
        pass.rows * angles_ + (rows_ + late_rows_) * x + operation + kept + 2 * pass.sequences * mixers_;
    const std::int64_t gathered = pass.sequences > 1 ? logits_rows * (hidden_size_ + vocab_size) : 0;
    const std::int64_t head = 2 * logits_rows * hidden_size_ + gathered;
    const std::int64_t lines = 64 * (40 + 2 * ropes_ + 2 * mixers_);  // every take is rounded up to whole lines
    return as_size(std::int64_t{sizeof(float)} * (x + 4 * pass.rows + std::max(layers, head)) + lines +
                   text_bytes * pass.sequences);
  }

 private:
  index_t hidden_size_ = 0;
  std::int64_t rows_ = 2;       // that a layer holds, hidden_size each
  std::int64_t late_rows_ = 0;  // between layers, hidden_size each
  std::int64_t angles_ = 0;
  std::int64_t ropes_ = 0;
  std::int64_t mixers_ = 0;  // or dense networks, each as often as it may run
  std::vector<ScratchNeed> operations_;
  std::vector<ScratchNeed> gates_;  // of tokens
};

}  // namespace headgate::inline HEADGATE_ABI
