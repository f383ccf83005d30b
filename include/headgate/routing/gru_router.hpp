// GruRouter: the layer-wise recurrent router, RMoE (Qiu et al., ICLR 2025, arXiv 2408.06793, section 3.1, eq. 1-4). Of
// one token, over the layers l of one pass, with h_0 = 0 and one cell shared by all layers:
//   u_l = P_l x_l;  h_l = cell(u_l, h_{l-1});  z_l = G_l h_l;  then a staged selection
// In the paper that is softmax, top k, divided by their sum. P is weight1 and G weight2 of the official module. h
// belongs to a token's pass through the layers. The gates are one product of W_ih and one of W_hh. Follows the code,
// llama_moe_rnn: golden vectors come from its cells.
#pragma once

#include <limits>

#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"
#include "headgate/routing/carried_rows.hpp"
#include "headgate/routing/gru_cell.hpp"
#include "headgate/routing/staged_selection.hpp"
#include "headgate/routing/stages/top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

// The cell that the routers of all layers share: packed weights, somebody's who outlives the routers and stays in
// place.
class RecurrentCell {
 public:
  static Expected<RecurrentCell> create(const RecurrentWeights<float>& weights, index_t inputs, index_t size) {
    if (inputs < 1) return Status::mismatch("inputs of a recurrent cell, at least", inputs, 1);
    if (size < 1) return Status::mismatch("size of a recurrent cell, at least", size, 1);
    const std::int64_t rows = std::int64_t{num_gates(weights.kind)} * size;
    if (rows > max_index - panel_rows)
      return Status::mismatch("rows of a recurrent cell", rows, max_index - panel_rows);
    const struct {
      const char* what;
      std::span<const float> values;
      std::int64_t size;
    } parts[] = {{"size of weight_ih", weights.weight_ih, rows * inputs},
                 {"size of weight_hh", weights.weight_hh, rows * size},
                 {"size of bias_ih", weights.bias_ih, rows},
                 {"size of bias_hh", weights.bias_hh, rows}};
    for (const auto& part : parts) {
      const auto found = static_cast<std::int64_t>(part.values.size());
      if (found != part.size) return Status::mismatch(part.what, found, part.size);
    }
    return RecurrentCell(weights, inputs, size);
  }

  index_t inputs() const noexcept { return weight_ih_.cols(); }
  index_t size() const noexcept { return weight_hh_.cols(); }
  std::int64_t bytes() const noexcept { return weight_ih_.bytes() + weight_hh_.bytes(); }

  // h (tokens, size) = the next state, from u (tokens, inputs).
  template <class Backend>
  void step(ConstRows u, Rows h, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const index_t rows = weight_ih_.rows();
    const Rows input = ctx.workspace.take_rows(u.rows, rows);
    const Rows hidden = ctx.workspace.take_rows(u.rows, rows);
    product<Backend>(weight_ih_.view(), u, input, ctx);
    product<Backend>(weight_hh_.view(), ConstRows(h), hidden, ctx);
    const index_t n = ctx.slices(u.rows);
    ctx.parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(u.rows, n, i);
      for (index_t t = slice.first; t < slice.last; ++t) {
        Backend::axpy(1.0f, bias_ih_.data(), rows, input.row_data(t));
        Backend::axpy(1.0f, bias_hh_.data(), rows, hidden.row_data(t));
        recurrent_step<float>(kind_, input.row(t), hidden.row(t), h.row(t), [](std::span<float> values) {
          Backend::sigmoid(values.data(), static_cast<index_t>(values.size()));
        });
        if (Backend::all_finite(u.row_data(t), u.cols)) continue;
        // Gates would hide it; so the logits tell.
        for (float& value : h.row(t)) value = std::numeric_limits<float>::quiet_NaN();
      }
    });
  }

 private:
  RecurrentCell(const RecurrentWeights<float>& weights, index_t inputs, index_t size)
      : kind_(weights.kind),
        weight_ih_(ConstRows(weights.weight_ih.data(), num_gates(weights.kind) * size, inputs)),
        weight_hh_(ConstRows(weights.weight_hh.data(), num_gates(weights.kind) * size, size)),
        bias_ih_(weights.bias_ih.begin(), weights.bias_ih.end()),
        bias_hh_(weights.bias_hh.begin(), weights.bias_hh.end()) {}

  RecurrentKind kind_;
  Panel16<F32> weight_ih_;  // (gates * size, inputs)
  Panel16<F32> weight_hh_;  // (gates * size, size)
  std::vector<float> bias_ih_;
  std::vector<float> bias_hh_;
};

// Table of routers: GruRouter | a GRU from layer to layer | Qiu et al. 2025, 2408.06793
template <SelectStage Select = TopK, WeighStage Weigh = Renormalize, class Backend = NativeBackend>
class GruRouter {
  using Selection = StagedSelection<SoftmaxScore, Select, Weigh, Backend>;

 public:
  using State = CarriedRows;

  // projection P (inputs, hidden_size); gate G (num_experts, size); the cell is shared and outlives the router, so it
  // is no temporary.
  static Expected<GruRouter> create(const RecurrentCell& cell, ConstRows projection, ConstRows gate, Select select,
                                    Weigh weigh) {
    if (projection.rows != cell.inputs()) {
      return Status::mismatch("rows of the projection against inputs of the cell", projection.rows, cell.inputs());
    }
    if (projection.cols < 1) {
      return Status::mismatch("columns of the projection (hidden_size), at least", projection.cols, 1);
    }
    if (gate.cols != cell.size()) {
      return Status::mismatch("columns of the gate against size of the cell", gate.cols, cell.size());
    }
    for (const ConstRows& matrix : {projection, gate}) {
      if (Status status = check_view(matrix); !status.ok()) return status;
    }
    Expected<Selection> selection = Selection::create(gate.rows, SoftmaxScore{}, select, weigh);
    if (!selection) return selection.error();
    return GruRouter(cell, projection, gate, std::move(selection).value());
  }
  static Expected<GruRouter> create(const RecurrentCell&& cell, ConstRows projection, ConstRows gate, Select select,
                                    Weigh weigh) = delete;

  index_t num_experts() const noexcept { return selection_.num_experts(); }
  index_t hidden_size() const noexcept { return projection_.cols(); }
  RouterTraits traits() const noexcept {
    RouterTraits traits = selection_.traits();
    traits.state = StateScope::across_layers;
    return traits;
  }

  // Advances the state by one layer. On an error the plan has no rows and the state is to be reset.
  Status route(const RouterInput& in, State& state, RoutingPlan& plan, Context& ctx) const {
    plan.clear(num_experts());
    const ConstRows x = in.hidden;
    if (Status status = check_hidden(x, hidden_size()); !status.ok()) return status;
    if (Status status = selection_.check(in.edits); !status.ok()) return status;
    if (Status status = state.enter(x, in.layer, cell_->size()); !status.ok()) return status;

    const Workspace::Mark mark(ctx.workspace);
    const Rows u = ctx.workspace.take_rows(x.rows, cell_->inputs());
    const Rows logits = ctx.workspace.take_rows(x.rows, gate_.rows());
    const Rows h = state.rows(cell_->size());
    product<Backend>(projection_.view(), x, u, ctx);
    cell_->step<Backend>(u, h, ctx);
    product<Backend>(gate_.view(), ConstRows(h), logits, ctx);
    return selection_.route(logits, in, plan, ctx);
  }

 private:
  GruRouter(const RecurrentCell& cell, ConstRows projection, ConstRows gate, Selection selection)
      : cell_(&cell), projection_(projection), gate_(gate), selection_(std::move(selection)) {}

  const RecurrentCell* cell_;
  Panel16<F32> projection_;  // (inputs, hidden_size)
  Panel16<F32> gate_;        // (num_experts, size)
  Selection selection_;
};
static_assert(Router<GruRouter<>>);

}  // namespace headgate::inline HEADGATE_ABI
