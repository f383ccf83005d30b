// PoolPart: experts that consecutive layers share (layers/expert_pool.hpp). The first of these layers lists all of
// them and packs them; the others list what a token reads of them again.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "headgate/layers/expert_pool.hpp"
#include "headgate/models/parts/experts_part.hpp"

namespace headgate::inline HEADGATE_ABI {

struct PoolPart {
  struct Shared {
    ExpertsPart experts;  // of all layers of the pool
    std::optional<AnyExperts> packed = std::nullopt;
  };
  std::shared_ptr<Shared> shared;
  index_t layers = 1;
  bool is_first = true;  // layer of the pool

  std::string words() const { return shared->experts.words() + ", shared by " + std::to_string(layers) + " layers"; }
  void list_weights(WeightList& weights) const {
    WeightList all;
    shared->experts.list_weights(all);
    for (WeightUse& use : all) {
      if (!is_first && !use.is_read) continue;
      use.is_again = !is_first;
      use.may_quantize = use.may_quantize && is_first;
      weights.push_back(std::move(use));
    }
  }
  ScratchNeed scratch() const { return shared->experts.scratch(); }
  AnyExperts pack(const Packer& packer) const {
    if (!shared->packed) shared->packed = shared->experts.pack(packer);
    return *shared->packed;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
