// JoinedPart: banks of experts of different widths behind one router (experts/joined_experts.hpp), and behind them
// experts that add nothing: Duo-LLM's small, big and skip.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "headgate/experts/joined_experts.hpp"
#include "headgate/models/parts/experts_part.hpp"

namespace headgate::inline HEADGATE_ABI {

struct JoinedPart {
  std::vector<ExpertsPart> banks;  // in the order of their experts
  index_t skipping = 0;            // experts behind them

  std::string words() const {
    std::string text;
    for (const ExpertsPart& bank : banks) text += (text.empty() ? "" : " + ") + bank.words();
    return skipping == 0 ? text : text + " + " + std::to_string(skipping) + " that skip";
  }
  // A token reads as much as where it chooses the widest.
  void list_weights(WeightList& weights) const {
    const auto widest = std::max_element(banks.begin(), banks.end(), [](const ExpertsPart& a, const ExpertsPart& b) {
      return a.ffn_size() < b.ffn_size();
    });
    index_t first = 0;
    for (auto bank = banks.begin(); bank != banks.end(); ++bank) {
      WeightList own;
      bank->list_weights(own);
      for (WeightUse& use : own) {
        use.expert += first;
        if (bank != widest) use.is_active = use.is_read = false;
        weights.push_back(std::move(use));
      }
      first += bank->num_experts();
    }
  }
  // The plan of all by expert, and what the largest bank takes.
  ScratchNeed scratch() const {
    std::vector<ScratchNeed> needs;
    std::int64_t experts = skipping;
    for (const ExpertsPart& bank : banks) {
      needs.push_back(bank.scratch());
      experts += bank.num_experts();
    }
    const std::int64_t k = banks.front().experts_per_token;
    return [of_banks = largest_need(std::move(needs)), experts, k](const PassSize& pass) {
      return scratch_by_expert(pass, experts, k) + of_banks(pass);
    };
  }
  AnyExperts pack(const Packer& packer) const {
    using Bank = GluExperts<AnyFormat>;
    std::vector<Bank> packed;
    for (const ExpertsPart& bank : banks) packed.push_back(bank.pack_bank(packer));
    JoinedExperts<Bank> joined = JoinedExperts<Bank>::create(std::move(packed)).value();
    if (skipping == 0) return joined;
    const std::vector<ZeroComputeExpert> behind(as_size(skipping));
    return WithZeroComputeExperts<JoinedExperts<Bank>>::create(std::move(joined), behind).value();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
