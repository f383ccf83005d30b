// KAllocator: how many experts a token gets, by a small network beside the router (Ada-K, Yue et al. 2024, arXiv
// 2410.10456):
//   p = softmax(W x + b) over 1 ... n experts;  k = argmax p, ties to the fewer
// While it trains k is drawn from p. keep_first of routing/plan_transform.hpp then cuts the plan of a router that chose
// n: its weights are divided by their sum again where the router's were (WeightsAfterDrop::same_sum).
// Reconstructed from what the abstract says: that the network is one linear layer, and its best k taken, is assumed.
#pragma once

#include <utility>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/linear_gate.hpp"
#include "headgate/routing/router.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of structures: KAllocator, keep_first | a network says how many of a router's choices a token keeps |
//   Yue et al. 2024, 2410.10456
template <class Backend = NativeBackend>
class KAllocator {
 public:
  // weights: W (n, hidden_size); bias: b (n) or empty.
  static Expected<KAllocator> create(ConstRows weights, std::span<const float> bias = {}) {
    Expected<LinearGate<Backend>> gate = LinearGate<Backend>::create(weights, bias);
    if (!gate) return gate.error();
    return KAllocator(std::move(gate).value());
  }

  index_t max_k() const noexcept { return gate_.num_experts(); }
  index_t hidden_size() const noexcept { return gate_.hidden_size(); }

  // x (tokens, hidden_size) -> k (tokens), each 1 to max_k. A logit that is not finite is an error with its token.
  Status allocate(ConstRows x, std::span<index_t> k, Context& ctx) const {
    if (Status status = check_hidden(x, hidden_size()); !status.ok()) return status;
    const auto size = static_cast<std::int64_t>(k.size());
    if (size != x.rows) return Status::mismatch("size of k against tokens", size, x.rows);
    const Workspace::Mark mark(ctx.workspace);
    const Rows logits = ctx.workspace.take_rows(x.rows, max_k());
    gate_.logits(x, logits, ctx);
    for (index_t t = 0; t < x.rows; ++t) {
      const std::span<const float> row = logits.row(t);
      if (!Backend::all_finite(row.data(), logits.cols))
        return Status::not_finite("logit of k is not finite", -1, t, -1);
      ExpertId best = 0;
      Backend::top_k(row.data(), logits.cols, 1, &best);
      k[as_size(t)] = best + 1;
    }
    return Status::success();
  }

 private:
  explicit KAllocator(LinearGate<Backend> gate) : gate_(std::move(gate)) {}

  LinearGate<Backend> gate_;  // a row for each number of experts
};

}  // namespace headgate::inline HEADGATE_ABI
