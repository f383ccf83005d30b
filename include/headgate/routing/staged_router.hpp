// StagedRouter: linear logits and a staged selection, which most published policies are.
//   z = W x + gate_bias       float32, summed in an order that does not depend on the batch
//   then Score, Select, Weigh of routing/staged_selection.hpp
// A policy of this kind is a name, a formula, a citation and an alias: routing/topk_softmax.hpp.
#pragma once

#include <utility>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/gated_router.hpp"
#include "headgate/routing/linear_gate.hpp"

namespace headgate::inline HEADGATE_ABI {

// The parameters of a linear gate; a router keeps copies. Spans may be empty: no bias, nothing masked.
struct GateWeights {
  ConstRows gate;                              // (num_experts, hidden_size)
  std::span<const float> gate_bias = {};       // (num_experts), part of the logits (gpt-oss)
  std::span<const float> selection_bias = {};  // (num_experts), part of the keys only (e_score_correction_bias)
  std::span<const std::uint8_t> mask = {};     // (num_experts), 0: never selected
};

template <ScoreStage Score, SelectStage Select, WeighStage Weigh, class Backend = NativeBackend>
  requires FitsScore<Select, Score> && FitsScore<Weigh, Score>
class StagedRouter : public GatedRouter<LinearGate<Backend>, Score, Select, Weigh, Backend> {
  using Base = GatedRouter<LinearGate<Backend>, Score, Select, Weigh, Backend>;

 public:
  static Expected<StagedRouter> create(const GateWeights& weights, Select select, Weigh weigh, Score score = {}) {
    Expected<Base> router = Base::create(LinearGate<Backend>::create(weights.gate, weights.gate_bias), select, weigh,
                                         score, weights.selection_bias, weights.mask);
    if (!router) return router.error();
    return StagedRouter(std::move(router).value());
  }
  // Throws the same error.
  StagedRouter(const GateWeights& weights, Select select, Weigh weigh, Score score = {})
    requires has_exceptions
      : StagedRouter(create(weights, select, weigh, score).value()) {}

  // What a balancer writes between batches; on an error nothing changes.
  Status set_selection_bias(std::span<const float> bias) { return this->selection().set_selection_bias(bias); }
  Status set_selection_factor(std::span<const float> factor)
    requires Score::never_negative
  {
    return this->selection().set_selection_factor(factor);
  }

 private:
  explicit StagedRouter(Base router) : Base(std::move(router)) {}
};

}  // namespace headgate::inline HEADGATE_ABI
