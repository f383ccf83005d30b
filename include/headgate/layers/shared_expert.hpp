// SharedExpert: the expert every token passes through, beside the routed ones: a bank of one expert, added with weight
// 1 (DeepSeek-V2) or with weight sigmoid(g . x) (Qwen2-MoE; g is `shared_expert_gate`, (1, hidden_size)).
#pragma once

#include <cmath>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/experts/experts.hpp"

namespace headgate::inline HEADGATE_ABI {

template <Experts Bank>
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

  // sigmoid(g . x), summed in 16 interleaved parts: a fixed order that compilers turn into vector code.
  float gate(const float* x) const noexcept {
    float part[16] = {};
    const std::size_t n = gate_.size();
    std::size_t i = 0;
    for (; i + 16 <= n; i += 16) {
      for (std::size_t j = 0; j < 16; ++j) part[j] += gate_[i + j] * x[i + j];
    }
    float sum = 0.0f;
    for (; i < n; ++i) sum += gate_[i] * x[i];
    for (const float p : part) sum += p;
    return 1.0f / (1.0f + std::exp(-sum));
  }

  Bank bank_;
  std::vector<float> gate_;
};

}  // namespace headgate::inline HEADGATE_ABI
