// LatentPart: the weights of experts behind a latent space that groups of them share (experts/latent_experts.hpp).
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "headgate/experts/any_experts.hpp"
#include "headgate/experts/latent_experts.hpp"
#include "headgate/models/part.hpp"
#include "headgate/models/parts/experts_part.hpp"

namespace headgate::inline HEADGATE_ABI {

struct LatentPart {
  // Of a group of experts, (latent_size, hidden_size) each.
  struct Projections {
    WeightRows gate;
    WeightRows up;
  };
  LatentShape shape;
  std::vector<Projections> groups;
  std::vector<ExpertRows> experts;  // gate and up (ffn_size, latent_size), down (hidden_size, ffn_size); no biases
  index_t experts_per_token = 1;

  std::string words() const {
    return std::to_string(shape.num_experts) + " experts, " + std::to_string(shape.ffn_size) + " wide, behind " +
           std::to_string(groups.size()) + " latent spaces of " + std::to_string(shape.latent_size);
  }
  // One format for all matrices, which keeps the values of each.
  AnyFormat format() const {
    const AnyFormat first = experts.front().up.format();
    bool is_one = first.packs_floats();
    const auto look = [&](const WeightRows& rows) { is_one = is_one && rows.format() == first; };
    for (const Projections& group : groups) {
      look(group.gate);
      look(group.up);
    }
    for (const ExpertRows& expert : experts) {
      look(*expert.gate);
      look(expert.up);
      look(expert.down);
    }
    return is_one ? first : AnyFormat(F32{});
  }
  void list_weights(WeightList& weights) const {
    const AnyFormat packed = format();
    const auto add = [&](const WeightRows& rows, bool is_read, index_t expert) {
      WeightUse use = WeightUse::fixed(rows, packed);
      use.is_active = use.is_read = is_read;
      use.expert = expert;
      weights.push_back(std::move(use));
    };
    for (std::size_t g = 0; g < groups.size(); ++g) {  // as many as a token's experts can be of
      const bool is_read = static_cast<index_t>(g) < experts_per_token;
      add(groups[g].gate, is_read, -1);
      add(groups[g].up, is_read, -1);
    }
    for (index_t e = 0; e < shape.num_experts; ++e) {
      const ExpertRows& expert = experts[as_size(e)];
      for (const WeightRows* rows : {&*expert.gate, &expert.up, &expert.down}) add(*rows, e < experts_per_token, e);
    }
  }
  // The plan by expert; both projections of all rows; of the rows of one expert, which may be all: their latent rows,
  // gate, up and output.
  ScratchNeed scratch() const {
    return [sizes = shape, k = experts_per_token](const PassSize& pass) {
      const std::int64_t widest = std::max({sizes.hidden_size, sizes.latent_size, sizes.ffn_size});
      return scratch_by_expert(pass, sizes.num_experts, k) +
             pass.rows * (std::int64_t{3} * sizes.latent_size + 2 * sizes.ffn_size + sizes.hidden_size + widest);
    };
  }
  AnyExperts pack(const Packer& packer) const {
    std::vector<HeldRows> held;
    const auto floats = [&](const WeightRows& rows) { return held.emplace_back(rows, packer).rows; };
    std::vector<LatentProjections> of_groups;
    for (const Projections& group : groups) of_groups.push_back({floats(group.gate), floats(group.up)});
    std::vector<LatentMatrices> of_experts;
    for (const ExpertRows& e : experts) of_experts.push_back({floats(*e.gate), floats(e.up), floats(e.down)});
    return LatentExperts<AnyFormat>::create(shape, of_groups, of_experts, format()).value();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
