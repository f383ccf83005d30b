// AddedPart: the weights of routed low-rank experts beside a projection of an attention (layers/routed_addition.hpp):
// a linear gate, softmax, the k best, divided by their sum.
#pragma once

#include <memory>
#include <string>

#include "headgate/layers/routed_addition.hpp"
#include "headgate/models/parts/lora_part.hpp"
#include "headgate/routing/topk_softmax.hpp"

namespace headgate::inline HEADGATE_ABI {

struct AddedPart {
  AttentionProjection projection = AttentionProjection::query;
  WeightRows gate;   // (num_experts, in_size)
  LoraPart experts;  // its experts_per_token: k

  void list_weights(WeightList& weights) const {
    weights.push_back(WeightUse::fixed(gate));
    experts.list_weights(weights);
  }
  // Logits, a transposed copy of the rows, keys and marks, then what the experts take.
  ScratchNeed scratch() const {
    return [of_experts = experts.scratch(), logits = std::int64_t{gate.rows()},
            width = std::int64_t{gate.cols()}](const PassSize& pass) {
      return of_experts(pass) + pass.rows * (logits + width) + pass.threads * (2 * logits + 16) + logits;
    };
  }
  std::shared_ptr<const AddedProjection> pack(const Packer& packer) const {
    const HeldRows held(gate, packer);
    auto router = TopKSoftmax::create({.gate = held.rows}, TopK{experts.experts_per_token}, Renormalize{});
    using Addition = RoutedAddition<TopKSoftmax, LoraExperts<>>;
    return std::make_shared<const Addition>(
        Addition::create(std::move(router).value(), experts.pack_bank(packer)).value());
  }
};

}  // namespace headgate::inline HEADGATE_ABI
