// CompressedPart: a bank of which only a token's first experts compute (layers/compressed_experts.hpp).
#pragma once

#include <string>

#include "headgate/layers/compressed_experts.hpp"
#include "headgate/models/parts/experts_part.hpp"

namespace headgate::inline HEADGATE_ABI {

struct CompressedPart {
  ExpertsPart experts;  // its experts_per_token: the main ones
  WeightRows theta;     // (num_experts, hidden_size)
  index_t main_k = 1;
  index_t others_per_token = 0;

  std::string words() const {
    return experts.words() + ", of a token's the first " + std::to_string(main_k) + " compute";
  }
  void list_weights(WeightList& weights) const {
    experts.list_weights(weights);
    const index_t read = std::min(others_per_token, theta.rows());
    const auto add = [&](index_t first, index_t count) {
      if (count == 0) return;
      weights.push_back(WeightUse::vector(theta.part(first, count)));
      weights.back().is_active = weights.back().is_read = first == 0;
    };
    add(0, read);
    add(read, theta.rows() - read);
  }
  ScratchNeed scratch() const {
    return [of_experts = experts.scratch(), width = std::int64_t{theta.cols()}](const PassSize& pass) {
      return of_experts(pass) + pass.rows * width;
    };
  }
  AnyExperts pack(const Packer& packer) const {
    return CompressedExperts<AnyExperts>::create(experts.pack(packer), main_k, HeldRows(theta, packer).rows).value();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
