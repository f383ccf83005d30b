// WithOutputBias: a bank and a bias that every token gets once, whatever was chosen for it, also where nothing was:
//   y_t += b + sum_i w_i E_i(x_t)
// What is left of the output's bias of a dense network that was cut into experts (experts/split_ffn.hpp; Gui et al.
// 2023, SPT: the bias of fc2 is always added). A bias of an expert of its own is scaled by the expert's weight instead.
#pragma once

#include <cmath>
#include <utility>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/experts/experts.hpp"
#include "headgate/kernels/native.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of structures: split_ffn, WithOutputBias | a dense network cut into experts, whose bias is added once |
//   Gui et al. 2023, 2312.10365; Zhao et al. 2024, 2408.11855; Lu et al. 2025, 2507.17436; He et al. 2025, 2512.02351
template <Experts Bank, class Backend = NativeBackend>
class WithOutputBias {
 public:
  // bias: (hidden_size), finite; empty: none.
  static Expected<WithOutputBias> create(Bank bank, std::span<const float> bias) {
    const auto size = static_cast<std::int64_t>(bias.size());
    if (size != 0 && size != bank.hidden_size()) {
      return Status::mismatch("size of an output bias", size, bank.hidden_size());
    }
    for (const float b : bias) {
      if (!std::isfinite(b)) return Status::not_finite("output bias is not finite", -1, -1);
    }
    return WithOutputBias(std::move(bank), bias);
  }

  index_t num_experts() const noexcept { return bank_.num_experts(); }
  index_t hidden_size() const noexcept { return bank_.hidden_size(); }
  std::int64_t expert_bytes() const noexcept { return bank_.expert_bytes(); }
  const Bank& bank() const noexcept { return bank_; }

  Status apply(const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) const {
    if (Status status = check_apply(plan, x, y, num_experts(), hidden_size()); !status.ok()) return status;
    if (!bias_.empty()) {
      const FloatModes modes;
      for (index_t t = 0; t < y.rows; ++t) Backend::axpy(1.0f, bias_.data(), y.cols, y.row_data(t));
    }
    return bank_.apply(plan, x, y, ctx);
  }

 private:
  WithOutputBias(Bank bank, std::span<const float> bias) : bank_(std::move(bank)), bias_(bias.begin(), bias.end()) {}

  Bank bank_;
  std::vector<float> bias_;
};

}  // namespace headgate::inline HEADGATE_ABI
