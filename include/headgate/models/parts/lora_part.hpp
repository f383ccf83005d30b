// LoraPart: the weights of low-rank experts (experts/lora_experts.hpp) beside a dense network. RankPart: one low-rank
// map, of which every rank is an expert (experts/rank_experts.hpp).
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "headgate/experts/any_experts.hpp"
#include "headgate/experts/lora_experts.hpp"
#include "headgate/experts/rank_experts.hpp"
#include "headgate/models/part.hpp"

namespace headgate::inline HEADGATE_ABI {

struct LoraRows {
  WeightRows a;  // (rank, in_size)
  WeightRows b;  // (out_size, rank)
};

struct LoraPart {
  std::vector<LoraRows> experts;  // at least one
  float scale = 1.0f;
  index_t experts_per_token = 1;

  std::string words() const {
    return std::to_string(experts.size()) + " low-rank experts of rank " + std::to_string(experts.front().a.rows());
  }
  void list_weights(WeightList& weights) const {
    for (std::size_t e = 0; e < experts.size(); ++e) {
      for (const WeightRows* rows : {&experts[e].a, &experts[e].b}) {
        weights.push_back(WeightUse::fixed(*rows));
        weights.back().is_active = weights.back().is_read = static_cast<index_t>(e) < experts_per_token;
        weights.back().expert = static_cast<index_t>(e);
      }
    }
  }
  // The plan by expert; of the rows of one expert, which may be all: x, what a and b make of it.
  ScratchNeed scratch() const {
    const LoraRows& first = experts.front();
    return [count = std::int64_t{std::ssize(experts)}, k = std::int64_t{experts_per_token},
            width = std::int64_t{2} * first.a.cols() + first.a.rows() + first.b.rows()](const PassSize& pass) {
      return scratch_by_expert(pass, count, k) + pass.rows * width;
    };
  }
  LoraExperts<> pack_bank(const Packer& packer) const {
    std::vector<HeldRows> held;
    const auto floats = [&](const WeightRows& rows) { return held.emplace_back(rows, packer).rows; };
    std::vector<LoraMatrices> matrices;
    for (const LoraRows& expert : experts) matrices.push_back({floats(expert.a), floats(expert.b), scale});
    return LoraExperts<>::create(experts.front().a.cols(), experts.front().b.rows(), matrices).value();
  }
  AnyExperts pack(const Packer& packer) const { return pack_bank(packer); }
};

struct RankPart {
  LoraRows ranks;  // a (num_experts, hidden_size), b (hidden_size, num_experts)
  float scale = 1.0f;
  index_t experts_per_token = 1;

  std::string words() const { return std::to_string(ranks.a.rows()) + " experts of rank one"; }
  void list_weights(WeightList& weights) const {
    for (const WeightRows* rows : {&ranks.a, &ranks.b}) weights.push_back(WeightUse::vector(*rows));
  }
  ScratchNeed scratch() const {
    return [count = std::int64_t{ranks.a.rows()}, k = std::int64_t{experts_per_token}](const PassSize& pass) {
      return scratch_by_expert(pass, count, k) + pass.rows * k;
    };
  }
  AnyExperts pack(const Packer& packer) const {
    const HeldRows a(ranks.a, packer);
    const HeldRows b(ranks.b, packer);
    const LoraMatrices lora{a.rows, b.rows, scale};
    return RankExperts<>::create(ranks.a.cols(), ranks.b.rows(), {&lora, 1}).value();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
