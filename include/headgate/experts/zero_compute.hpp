// WithZeroComputeExperts: a bank whose last ids cost no feed-forward network. Ids below bank.num_experts() are the
// bank's, those behind are, each as its kind says,
//   zero       E(x) = 0
//   identity   E(x) = x                                  (LongCat-Flash; "copy" in MoE++)
//   constant   E(x) = a_0 x + a_1 v, a = softmax(W x)    (MoE++, Jin et al. 2024, equation 5; W is (2, hidden_size))
// They are added after the bank's, so in ascending id. Differs from null experts of AdaMoE, which never enter a plan.
#pragma once

#include <cmath>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/experts/experts.hpp"
#include "headgate/kernels/native.hpp"

namespace headgate::inline HEADGATE_ABI {

enum class ZeroComputeKind : std::uint8_t { zero, identity, constant };

struct ZeroComputeExpert {
  ZeroComputeKind kind = ZeroComputeKind::zero;
  std::vector<float> value = {};  // constant: v (hidden_size); else empty
  std::vector<float> gate = {};   // constant: W (2, hidden_size); else empty
};

// Table of structures: WithZeroComputeExperts | experts that are zero, the input or a constant |
//   Jin et al. 2024, 2410.07348; Meituan 2025, LongCat-Flash
template <ExpertMajorBank Bank, class Backend = NativeBackend>
class WithZeroComputeExperts {
 public:
  static Expected<WithZeroComputeExperts> create(Bank bank, std::vector<ZeroComputeExpert> experts) {
    for (std::size_t i = 0; i < experts.size(); ++i) {
      const std::int64_t width = experts[i].kind == ZeroComputeKind::constant ? bank.hidden_size() : 0;
      const auto value = static_cast<std::int64_t>(experts[i].value.size());
      const auto gate = static_cast<std::int64_t>(experts[i].gate.size());
      Status status = value != width
                          ? Status::mismatch("size of the value of a zero-computation expert", value, width)
                          : Status::mismatch("size of the gate of a zero-computation expert", gate, 2 * width);
      if (status.found == status.allowed) continue;
      status.expert = bank.num_experts() + static_cast<index_t>(i);
      return status;
    }
    const std::int64_t total = bank.num_experts() + static_cast<std::int64_t>(experts.size());
    if (total > max_index) return Status::mismatch("number of experts", total, max_index);
    return WithZeroComputeExperts(std::move(bank), std::move(experts), Checked{});
  }
  WithZeroComputeExperts(Bank bank, std::vector<ZeroComputeExpert> experts)
    requires has_exceptions
      : WithZeroComputeExperts(create(std::move(bank), std::move(experts)).value()) {}

  index_t num_experts() const noexcept { return bank_.num_experts() + static_cast<index_t>(experts_.size()); }
  index_t hidden_size() const noexcept { return bank_.hidden_size(); }
  std::int64_t expert_bytes() const noexcept { return bank_.expert_bytes(); }
  const Bank& bank() const noexcept { return bank_; }
  // Entries of a plan that cost a feed-forward network; the others are saved.
  index_t ffn_rows(const RoutingPlan& plan) const noexcept {
    index_t rows = 0;
    for (const ExpertId e : plan.experts()) rows += e < bank_.num_experts() ? 1 : 0;
    return rows;
  }

  Status apply(const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) const {
    return apply_by_expert<Backend>(*this, plan, x, y, ctx);
  }
  // The same for a checked plan that stands by expert already.
  Status apply(const ExpertMajor& plan, ConstRows x, Rows y, Context& ctx) const {
    index_t split = 0;
    while (split < plan.size() && plan.experts[as_size(split)] < bank_.num_experts()) ++split;
    ExpertMajor ffn = plan;
    ffn.experts = plan.experts.first(as_size(split));
    ffn.offsets = plan.offsets.first(as_size(split) + 1);
    if (Status status = bank_.apply(ffn, x, y, ctx); !status.ok()) return status;
    const FloatModes modes;
    for (index_t i = split; i < plan.size(); ++i) {
      const ZeroComputeExpert& expert = experts_[as_size(plan.experts[as_size(i)] - bank_.num_experts())];
      if (expert.kind == ZeroComputeKind::zero) continue;
      for (index_t entry = plan.offsets[as_size(i)]; entry < plan.offsets[as_size(i) + 1]; ++entry) {
        const index_t token = plan.tokens[as_size(entry)];
        add(expert, plan.weights[as_size(entry)], x.row_data(token), y.row_data(token));
      }
    }
    return Status::success();
  }

 private:
  struct Checked {};
  WithZeroComputeExperts(Bank bank, std::vector<ZeroComputeExpert> experts, Checked)
      : bank_(std::move(bank)), experts_(std::move(experts)) {}

  // y += weight * E(x)
  void add(const ZeroComputeExpert& expert, float weight, const float* x, float* y) const noexcept {
    const index_t width = hidden_size();
    if (expert.kind == ZeroComputeKind::constant) {
      float a[2] = {Backend::dot(expert.gate.data(), x, width), Backend::dot(expert.gate.data() + width, x, width)};
      Backend::softmax(a, 2);
      Backend::axpy(weight * a[1], expert.value.data(), width, y);
      weight *= a[0];
    }
    Backend::axpy(weight, x, width, y);
  }

  Bank bank_;
  std::vector<ZeroComputeExpert> experts_;
};

}  // namespace headgate::inline HEADGATE_ABI
