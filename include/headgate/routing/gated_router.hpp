// GatedRouter: a gate and a staged selection behind it:
//   z = gate(x), float32; then Score, Select, Weigh of routing/staged_selection.hpp
// Gates: routing/linear_gate.hpp (StagedRouter is the router of that), routing/cosine_gate.hpp,
// routing/layer_norm_gate.hpp, and, with a state that the caller owns, routing/sequence_bias.hpp.
#pragma once

#include <utility>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/staged_selection.hpp"

namespace headgate::inline HEADGATE_ABI {

// A gate turns x (T, hidden_size) into logits z (T, num_experts), each row a function of its own row of x, or of a
// State, too.
template <class G>
concept StatelessGate = requires(const G& gate, ConstRows x, Rows z, Context& ctx) {
  { gate.logits(x, z, ctx) } -> std::same_as<void>;
};
template <class G>
concept StatefulGate = requires(const G& gate, ConstRows x, const typename G::State& state, Rows z, Context& ctx) {
  { gate.check(state, x.rows) } noexcept -> std::same_as<Status>;  // before logits
  { gate.logits(x, state, z, ctx) } -> std::same_as<void>;
};
template <class G>
concept Gate = std::is_copy_constructible_v<G> && (StatelessGate<G> || StatefulGate<G>) && requires(const G& gate) {
  { gate.num_experts() } noexcept -> std::same_as<index_t>;
  { gate.hidden_size() } noexcept -> std::same_as<index_t>;
};

namespace detail {
template <class G>
struct StateOfGate {
  using type = NoState;
};
template <StatefulGate G>
struct StateOfGate<G> {
  using type = typename G::State;
};
}  // namespace detail

template <Gate G, ScoreStage Score, SelectStage Select, WeighStage Weigh, class Backend = NativeBackend>
  requires FitsScore<Select, Score> && FitsScore<Weigh, Score>
class GatedRouter {
  using Selection = StagedSelection<Score, Select, Weigh, Backend>;

 public:
  using State = typename detail::StateOfGate<G>::type;

  // selection_bias and mask: as in GateWeights. Takes the error of a gate that could not be made.
  static Expected<GatedRouter> create(Expected<G> gate, Select select, Weigh weigh, Score score = {},
                                      std::span<const float> selection_bias = {},
                                      std::span<const std::uint8_t> mask = {}) {
    if (!gate) return gate.error();
    Expected<Selection> selection =
        Selection::create(gate.value().num_experts(), score, select, weigh, selection_bias, mask);
    if (!selection) return selection.error();
    return GatedRouter(std::move(gate).value(), std::move(selection).value());
  }

  const G& gate() const noexcept { return gate_; }
  index_t num_experts() const noexcept { return selection_.num_experts(); }
  index_t hidden_size() const noexcept { return gate_.hidden_size(); }
  RouterTraits traits() const noexcept { return selection_.traits(); }

  // On an error the plan has no rows.
  Status route(const RouterInput& in, [[maybe_unused]] State& state, RoutingPlan& plan, Context& ctx) const {
    plan.clear(num_experts());
    const ConstRows x = in.hidden;
    if (Status status = check_hidden(x, hidden_size()); !status.ok()) return status;
    if (Status status = selection_.check(in.edits); !status.ok()) return status;
    if constexpr (StatefulGate<G>) {
      if (Status status = gate_.check(state, x.rows); !status.ok()) return status;
    }
    const Workspace::Mark mark(ctx.workspace);
    const Rows logits = ctx.workspace.take_rows(x.rows, selection_.num_logits());
    if constexpr (StatefulGate<G>) {
      gate_.logits(x, state, logits, ctx);
    } else {
      gate_.logits(x, logits, ctx);
    }
    return selection_.route(logits, in, plan, ctx);
  }

 protected:
  Selection& selection() noexcept { return selection_; }

 private:
  GatedRouter(G gate, Selection selection) : gate_(std::move(gate)), selection_(std::move(selection)) {}

  G gate_;
  Selection selection_;
};

}  // namespace headgate::inline HEADGATE_ABI
