// JoinedExperts: several banks as one, so that experts of different sizes stand behind one router. The ids of the first
// bank come first, then those of the second, and so on. With skip as an expert that is zero (experts/zero_compute.hpp)
// it is the layer of Duo-LLM (Alizadeh et al. 2024, "Duo-LLM: A Framework for Studying Adaptive Computation in Large
// Language Models", 2410.10846): y = E_i(x), i the best of {small, big, skip} by a linear gate (duo_llm_router).
// Follows the paper; its code was not to be had.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/experts/experts.hpp"
#include "headgate/kernels/native.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of structures: JoinedExperts | banks of experts of different sizes behind one router |
//   Alizadeh et al. 2024, 2410.10846
template <ExpertMajorBank Bank, class Backend = NativeBackend>
class JoinedExperts {
 public:
  // banks: at least one, of one hidden size.
  static Expected<JoinedExperts> create(std::vector<Bank> banks) {
    if (banks.empty()) return Status{ErrorCode::usage, "no banks of experts to join"};
    std::int64_t total = 0;
    for (const Bank& bank : banks) {
      if (bank.hidden_size() != banks.front().hidden_size()) {
        return Status::mismatch("hidden_size of a joined bank against the first", bank.hidden_size(),
                                banks.front().hidden_size());
      }
      total += bank.num_experts();
      if (total > max_index) return Status::mismatch("number of experts", total, max_index);
    }
    return JoinedExperts(std::move(banks), static_cast<index_t>(total));
  }

  index_t num_experts() const noexcept { return num_experts_; }
  index_t hidden_size() const noexcept { return banks_.front().hidden_size(); }
  // Of the largest.
  std::int64_t expert_bytes() const noexcept {
    std::int64_t largest = 0;
    for (const Bank& bank : banks_) largest = std::max(largest, bank.expert_bytes());
    return largest;
  }
  const std::vector<Bank>& banks() const noexcept { return banks_; }

  Status apply(const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) const {
    return apply_by_expert<Backend>(*this, plan, x, y, ctx);
  }
  // The same for a checked plan that stands by expert already.
  Status apply(const ExpertMajor& plan, ConstRows x, Rows y, Context& ctx) const {
    index_t first_id = 0;
    index_t begin = 0;
    for (const Bank& bank : banks_) {
      index_t end = begin;
      while (end < plan.size() && plan.experts[as_size(end)] < first_id + bank.num_experts()) ++end;
      if (end > begin) {
        const Workspace::Mark mark(ctx.workspace);
        Status status = bank.apply(part(plan, begin, end, first_id, ctx.workspace), x, y, ctx);
        if (!status.ok()) {
          if (status.expert >= 0) status.expert += first_id;
          return status;
        }
      }
      first_id += bank.num_experts();
      begin = end;
    }
    return Status::success();
  }

 private:
  JoinedExperts(std::vector<Bank> banks, index_t num_experts) : banks_(std::move(banks)), num_experts_(num_experts) {}

  // Its experts begin to end, with the ids and offsets of a plan of their own.
  static ExpertMajor part(const ExpertMajor& plan, index_t begin, index_t end, index_t first_id, Workspace& workspace) {
    const std::span<ExpertId> experts = workspace.take<ExpertId>(end - begin);
    const std::span<index_t> offsets = workspace.take<index_t>(std::int64_t{end} - begin + 1);
    const index_t first = plan.offsets[as_size(begin)];
    for (index_t i = begin; i < end; ++i) experts[as_size(i - begin)] = plan.experts[as_size(i)] - first_id;
    for (index_t i = begin; i <= end; ++i) offsets[as_size(i - begin)] = plan.offsets[as_size(i)] - first;
    const auto entries = as_size(offsets.back());
    return {experts, offsets, plan.tokens.subspan(as_size(first), entries),
            plan.weights.subspan(as_size(first), entries), plan.entries.subspan(as_size(first), entries)};
  }

  std::vector<Bank> banks_;
  index_t num_experts_;
};

}  // namespace headgate::inline HEADGATE_ABI
