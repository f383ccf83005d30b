// SharedExpert: the expert every token passes through, beside the routed ones: a bank of one expert, added with weight
// 1 (DeepSeek-V2) or with weight sigmoid(g . x) (Qwen2-MoE; g is `shared_expert_gate`, (1, hidden_size)).
#pragma once

#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/experts/experts.hpp"
#include "headgate/kernels/native.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of structures: SharedExpert | experts that every token passes, gated or not |
//   DeepSeek-AI 2024, 2401.06066; Yang et al. 2024, 2407.10671
template <Experts Bank, class Backend = NativeBackend>
class SharedExpert {
 public:
  // gate: empty for weight 1, else (hidden_size).
  static Expected<SharedExpert> create(Bank bank, std::vector<float> gate = {}) {
    if (bank.num_experts() != 1) {
      return Status::mismatch("experts in the bank of a shared expert", bank.num_experts(), 1);
    }
    if (!gate.empty() && static_cast<std::int64_t>(gate.size()) != bank.hidden_size()) {
      return Status::mismatch("size of shared_expert_gate against hidden_size", static_cast<std::int64_t>(gate.size()),
                              bank.hidden_size());
    }
    return SharedExpert(std::move(bank), std::move(gate), Checked{});
  }
  // Throws the same error.
  explicit SharedExpert(Bank bank, std::vector<float> gate = {})
    requires has_exceptions
      : SharedExpert(create(std::move(bank), std::move(gate)).value()) {}

  // y (tokens, hidden_size) += weight(x) * expert(x). The plan is scratch that the caller keeps.
  Status add(ConstRows x, Rows y, RoutingPlan& plan, Context& ctx) const {
    if (x.cols != hidden_size()) return Status::mismatch("width of x against hidden_size", x.cols, hidden_size());
    if (Status status = check_view(x); !status.ok()) return status;
    plan.clear(1);
    if (Status status = plan.reserve(x.rows, x.rows); !status.ok()) return status;
    for (index_t t = 0; t < x.rows; ++t) {
      const ExpertId expert = 0;
      const float weight = gate_.empty() ? 1.0f : gate(x.row_data(t));
      Status status = plan.append_row({&expert, 1}, {&weight, 1});
      if (!status.ok()) return status;
    }
    return bank_.apply(plan, x, y, ctx);
  }

  index_t hidden_size() const noexcept { return bank_.hidden_size(); }
  std::int64_t bytes() const noexcept {
    return bank_.expert_bytes() + static_cast<std::int64_t>(gate_.size() * sizeof(float));
  }

 private:
  struct Checked {};
  SharedExpert(Bank bank, std::vector<float> gate, Checked) : bank_(std::move(bank)), gate_(std::move(gate)) {}

  // sigmoid(g . x)
  float gate(const float* x) const noexcept {
    float value = Backend::dot(gate_.data(), x, hidden_size());
    Backend::sigmoid(&value, 1);
    return value;
  }

  Bank bank_;
  std::vector<float> gate_;
};

}  // namespace headgate::inline HEADGATE_ABI
