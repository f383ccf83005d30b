// RouterPart: the weights of a router and what makes one of them. Most routers are linear gates, whose logits are a
// product of the hidden state with one matrix.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "headgate/models/part.hpp"

namespace headgate::inline HEADGATE_ABI {

struct RouterPart {
  RoutingSummary summary;
  std::optional<WeightRows> gate = std::nullopt;            // (logits, hidden_size) of a linear gate
  std::optional<WeightRows> gate_bias = std::nullopt;       // (1, logits), part of the logits
  std::optional<WeightRows> selection_bias = std::nullopt;  // (1, experts), part of the keys only
  // Makes the router; the weights are those above, empty where there are none.
  std::function<AnyRouter(const GateWeights& weights, Packer& packer)> make;
  std::vector<WeightRows> other_matrices = {};  // that `make` packs itself
  std::vector<WeightRows> other_vectors = {};
  std::int64_t floats_per_row = 0;  // scratch of its own, beside the logits

  void list_weights(WeightList& weights) const {
    if (gate) weights.push_back(WeightUse::fixed(*gate));  // float32, as its logits are
    for (const WeightRows& rows : other_matrices) weights.push_back(WeightUse::fixed(rows));
    for (const auto* bias : {&gate_bias, &selection_bias}) {
      if (*bias) weights.push_back(WeightUse::vector(**bias));
    }
    for (const WeightRows& rows : other_vectors) weights.push_back(WeightUse::vector(rows));
  }
  // Logits, a transposed copy of the rows; of every thread keys and marks.
  ScratchNeed scratch() const {
    const std::int64_t logits = gate ? gate->rows() : summary.num_experts;
    std::int64_t width = gate ? gate->cols() : 0;
    for (const WeightRows& rows : other_matrices) width = std::max<std::int64_t>(width, rows.cols());
    return [logits, per_row = logits + floats_per_row + width](const PassSize& pass) {
      return pass.rows * per_row + pass.threads * (2 * logits + 16) + logits;
    };
  }
  AnyRouter pack(Packer& packer) const {
    if (!gate) return packer.replaced({}, make({}, packer));
    const std::vector<float> weights = packer.floats(gate);
    const std::vector<float> in_logits = packer.floats(gate_bias);
    const std::vector<float> in_keys = packer.floats(selection_bias);
    const GateWeights all{.gate = ConstRows(weights.data(), gate->rows(), gate->cols()),
                          .gate_bias = in_logits,
                          .selection_bias = in_keys};
    return packer.replaced(all, make(all, packer));
  }
};

}  // namespace headgate::inline HEADGATE_ABI
