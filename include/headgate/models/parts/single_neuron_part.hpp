// SingleNeuronPart: the weights of experts of one neuron each (experts/single_neuron_experts.hpp).
#pragma once

#include <algorithm>
#include <string>

#include "headgate/experts/any_experts.hpp"
#include "headgate/experts/single_neuron_experts.hpp"
#include "headgate/models/part.hpp"

namespace headgate::inline HEADGATE_ABI {

struct SingleNeuronPart {
  WeightRows input;   // u (num_experts, hidden_size)
  WeightRows output;  // v (num_experts, hidden_size)
  Activation activation = {};
  index_t experts_per_token = 1;

  std::string words() const { return std::to_string(input.rows()) + " experts of one neuron"; }
  // Three kinds of rows: the first expert, the others that a token reads, and those that it does not.
  void list_weights(WeightList& weights) const {
    const index_t read = std::min(experts_per_token, input.rows());
    const index_t firsts[] = {0, 1, read, input.rows()};
    for (index_t i = 0; i < 3; ++i) {
      const index_t count = firsts[i + 1] - firsts[i];
      for (const WeightRows* rows : {&input, &output}) {
        if (count <= 0) continue;
        weights.push_back(WeightUse::vector(rows->part(firsts[i], count)));
        weights.back().is_active = weights.back().is_read = i < 2;
        weights.back().expert = firsts[i];
      }
    }
  }
  ScratchNeed scratch() const {
    return [k = std::int64_t{experts_per_token}](const PassSize& pass) { return 2 * pass.rows * k; };
  }
  AnyExperts pack(const Packer& packer) const {
    return SingleNeuronExperts<>::create(HeldRows(input, packer).rows, HeldRows(output, packer).rows, activation)
        .value();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
