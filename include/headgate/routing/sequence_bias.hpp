// SequenceBias: a router whose logits get a vector that belongs to the whole sequence:
//   z_t = gate(x_t) + b_s(t), then Score, Select, Weigh
// b is what somebody knows about a sequence before its tokens are routed: how near its task is to each expert (Glider,
// routing/glider.hpp), or an intervention that steers it to some of them. It lives in the State, which the caller owns,
// and stays when a pass begins. Without one, b is 0 and this the gate's own router.
#pragma once

#include <utility>
#include <vector>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/gated_router.hpp"

namespace headgate::inline HEADGATE_ABI {

struct SequenceBias {
  std::vector<float> logits;         // (sequences, num_experts); empty: none
  std::vector<index_t> sequence_of;  // (tokens); empty: all tokens are of the one sequence that there is
  void reset(index_t /*tokens*/) noexcept {}

  // Do they fit so many tokens and experts?
  Status check(index_t tokens, index_t num_experts) const noexcept {
    const auto size = static_cast<std::int64_t>(logits.size());
    if (size % num_experts != 0) return Status::mismatch("logits beyond whole sequences", size % num_experts, 0);
    const auto count = static_cast<std::int64_t>(sequence_of.size());
    if (count == 0) {
      if (size <= num_experts) return Status::success();
      return Status::mismatch("sequences with a bias, where tokens do not say which is theirs,", size / num_experts, 1);
    }
    if (count != tokens) return Status::mismatch("sequences of tokens against tokens", count, tokens);
    for (index_t t = 0; t < tokens && size != 0; ++t) {
      const index_t s = sequence_of[as_size(t)];
      if (s >= 0 && s < size / num_experts) continue;
      Status status = Status::mismatch("sequence of a token", s, size / num_experts - 1);
      status.token = t;
      return status;
    }
    return Status::success();
  }
};

// A gate and the bias of each token's sequence.
template <StatelessGate G, class Backend = NativeBackend>
class BiasedGate {
 public:
  using State = SequenceBias;

  // Takes the error of a gate that could not be made.
  static Expected<BiasedGate> create(Expected<G> gate) {
    if (!gate) return gate.error();
    return BiasedGate(std::move(gate).value());
  }

  index_t num_experts() const noexcept { return gate_.num_experts(); }
  index_t hidden_size() const noexcept { return gate_.hidden_size(); }

  Status check(const State& state, index_t tokens) const noexcept { return state.check(tokens, num_experts()); }
  void logits(ConstRows x, const State& state, Rows z, Context& ctx) const {
    gate_.logits(x, z, ctx);
    const index_t n = state.logits.empty() ? 0 : ctx.slices(x.rows);
    ctx.parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(x.rows, n, i);
      for (index_t t = slice.first; t < slice.last; ++t) {
        const std::size_t s = state.sequence_of.empty() ? 0 : as_size(state.sequence_of[as_size(t)]);
        Backend::axpy(1.0f, state.logits.data() + s * as_size(z.cols), z.cols, z.row_data(t));
      }
    });
  }

 private:
  explicit BiasedGate(G gate) : gate_(std::move(gate)) {}

  G gate_;
};

// Table of structures: SequenceBiasRouter | any gate, plus logits that belong to the whole sequence | Li et al. 2024,
//   2410.07172
template <StatelessGate G, ScoreStage Score, SelectStage Select, WeighStage Weigh, class Backend = NativeBackend>
using SequenceBiasRouter = GatedRouter<BiasedGate<G, Backend>, Score, Select, Weigh, Backend>;

}  // namespace headgate::inline HEADGATE_ABI
