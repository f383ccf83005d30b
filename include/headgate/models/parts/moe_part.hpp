// MoePart: a Mixture-of-Experts layer: router, bank, and an expert that every token passes through, where there is one.
// DensePart: that one alone.
#pragma once

#include <algorithm>
#include <optional>
#include <string>

#include "headgate/layers/decoder_block.hpp"
#include "headgate/models/parts/experts_part.hpp"
#include "headgate/models/parts/router_part.hpp"

namespace headgate::inline HEADGATE_ABI {

struct DensePart {
  ExpertsPart expert;                             // one
  std::optional<WeightRows> gate = std::nullopt;  // (1, hidden_size): its output times sigmoid(gate . x)

  std::string words() const { return "dense, " + std::to_string(expert.ffn_size()) + " wide"; }
  void list_weights(WeightList& weights) const {
    expert.list_weights(weights);
    if (gate) weights.push_back(WeightUse::vector(*gate));
  }
  ScratchNeed scratch() const { return expert.scratch(); }
  DecoderBlock::Dense pack(const Packer& packer) const {
    return DecoderBlock::Dense::create(expert.pack(packer), packer.floats(gate)).value();
  }
};

// A bank of experts, whatever they are.
using BankPart = AnyPart<AnyExperts>;

struct MoePart {
  RouterPart router;
  BankPart experts;
  std::optional<DensePart> shared = std::nullopt;

  std::string words() const {
    std::string text = experts.words() + "; router: " + router.summary.router;
    if (shared)
      text += std::string("; shared expert, ") + (shared->gate ? "gated, " : "") +
              std::to_string(shared->expert.ffn_size()) + " wide";
    return text;
  }
  const RoutingSummary& routing() const noexcept { return router.summary; }
  const WeightRows* linear_gate() const noexcept { return router.gate ? &*router.gate : nullptr; }
  void list_weights(WeightList& weights) const {
    router.list_weights(weights);
    experts.list_weights(weights);
    if (shared) shared->list_weights(weights);
  }
  // One after the other.
  ScratchNeed scratch() const {
    return [routing = router.scratch(), of_experts = experts.scratch(),
            beside = shared ? shared->scratch() : ScratchNeed()](const PassSize& pass) {
      return std::max({routing(pass), of_experts(pass), beside ? beside(pass) : 0});
    };
  }
  DecoderBlock::Routed pack(Packer& packer) const {
    AnyRouter packed_router = router.pack(packer);
    AnyExperts bank = experts.pack(packer);
    if (Status status = check_fit(packed_router, bank); !status.ok()) {  // it may be the caller's
      status.layer = packer.layer();
      throw_if_error(status);
    }
    std::optional<DecoderBlock::Dense> beside;
    if (shared) beside = shared->pack(packer);
    return DecoderBlock::Routed::create(std::move(packed_router), std::move(bank), std::move(beside)).value();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
