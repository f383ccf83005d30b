// DecoderBlock: one layer of a decoder, a short list of steps
//   x = x + scale * norm_after(sum over branches of norm_after(operation(norm(x))))
// An operation mixes positions (attention, convolution), is a Mixture-of-Experts layer, or a dense network: one expert
// that every token passes through. Most decoders have two steps of one branch each, pre-norm attention and pre-norm
// experts. Norms behind the operation, several branches side by side, layers of one step and any other order are
// further lists.
//
// What a step adds may be late: the next step, also that of the next layer, reads x without it. Where all steps are, x
// is a ladder of residuals (Zhang et al. 2025, "Ladder-residual", arXiv 2501.06589, section 3.1), x_{i+1} = x_i +
// h_{i+1}(x_{i-1}), whose operations need not wait for each other; h_1 and h_2 read what enters the first layer.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <variant>
#include <vector>

#include "headgate/attention/any_mixer.hpp"
#include "headgate/core/exactly_equal.hpp"
#include "headgate/experts/any_experts.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/accelerator.hpp"
#include "headgate/layers/kept_rows.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/layers/norm.hpp"
#include "headgate/routing/any_router.hpp"

namespace headgate::inline HEADGATE_ABI {

// Called before every routed layer, on the calling thread: the layer, the position of the first row, and the rows that
// the router reads, (tokens, hidden_size), good for the call only.
using HiddenHook = std::function<void(index_t layer, index_t first_position, ConstRows hidden)>;

// One of what norm, operation and the like are, before packing (models/blueprint.hpp) and after.
template <class Norm, class Operation>
struct BranchOf {
  // Which rows the router of a routed operation reads: those of the experts; the residual x of the step; or x as it
  // came into the layer.
  enum class RouterReads : std::uint8_t { normed, residual, layer_input };

  std::optional<Norm> norm;  // none: the operation reads x itself
  Operation operation;
  std::optional<Norm> norm_after = std::nullopt;
  RouterReads router_reads = RouterReads::normed;
  std::optional<Norm> router_norm = std::nullopt;  // of the rows that the router reads, where it is not `normed`
};
template <class Norm, class Operation>
struct StepOf {
  std::vector<BranchOf<Norm, Operation>> branches;
  std::optional<Norm> norm_after = std::nullopt;
  float scale = 1.0f;    // of what is added to the residual
  bool is_late = false;  // it is added when the next step has read the residual, or behind the last layer
};

// Table of structures: DecoderBlock | ladder residual, an operation reads x without what the last one adds |
//   Zhang et al. 2025, 2501.06589
class DecoderBlock {
 public:
  using Routed = MoELayer<AnyRouter, AnyExperts>;
  using Dense = SharedExpert<AnyExperts>;
  using Branch = BranchOf<AnyNorm, std::variant<AnyMixer, Routed, Dense>>;
  using Step = StepOf<AnyNorm, std::variant<AnyMixer, Routed, Dense>>;
  // The routers' memory and the plan of the last routed layer: one for all layers, reset before the first.
  using State = Routed::State;

  // What a late step has left and nobody has added yet.
  struct Late {
    Rows rows;           // (tokens, hidden_size)
    float scale = 0.0f;  // 0: nothing
  };
  // Rows on their way through the layers.
  struct Pass {
    Rows x;                                        // (tokens, hidden_size), read and replaced
    std::span<const std::int32_t> token_ids = {};  // (tokens)
    std::span<const SequenceRows> sequences = {};  // whose rows they are
    RouteEdits edits = {};
    std::function<void(ConstRows)> on_hidden = nullptr;  // may be empty; the rows that the router reads
    // From layer to layer, to be added (add_late) behind the last; null: this layer's late steps are added at its end.
    Late* late = nullptr;
    // Which run of a layer this is in the pass, from 0, where layers are skipped or run twice: what a router that
    // remembers the layers before counts. -1: as many as layers.
    index_t run = -1;
    Rows fast = {};  // (tokens, hidden_size), the stream that accelerators move before their layer runs; empty: none
  };
  // What a pass lends to one mixer.
  struct MixerPass {
    std::span<AnyState* const> states;  // one a sequence
    ConstRows cosines;                  // (tokens, half) of its rope
    ConstRows sines;
  };

  // usage: parts of different widths, a step that does nothing, more than one router.
  static Expected<DecoderBlock> create(std::vector<Step> steps) {
    DecoderBlock block(std::move(steps));
    index_t routers = 0;
    for (const Step& step : block.steps_) {
      if (step.branches.empty()) return Status{ErrorCode::usage, "a step of a layer without a branch"};
      if (Status status = block.check(step.norm_after); !status.ok()) return status;
      for (const Branch& branch : step.branches) {
        if (width_of(branch) != block.hidden_size()) {
          return Status::mismatch("width of an operation against the layer", width_of(branch), block.hidden_size());
        }
        for (const auto* norm : {&branch.norm, &branch.norm_after, &branch.router_norm}) {
          if (Status status = block.check(*norm); !status.ok()) return status;
        }
        routers += std::holds_alternative<Routed>(branch.operation) ? 1 : 0;
      }
    }
    if (block.steps_.empty()) return Status{ErrorCode::usage, "a layer without steps"};
    if (routers > 1) return Status::mismatch("routers of a layer", routers, 1);
    return block;
  }

  // The commonest layer: pre-norm attention, then pre-norm experts or a dense network.
  static Expected<DecoderBlock> pre_norm(AnyNorm mixer_norm, AnyMixer mixer, AnyNorm ffn_norm,
                                         std::variant<Routed, Dense> ffn) {
    using Operation = decltype(Branch::operation);
    Operation second = std::visit([](auto& layer) -> Operation { return std::move(layer); }, ffn);
    std::vector<Step> steps(2);
    steps[0].branches.push_back({.norm = std::move(mixer_norm), .operation = std::move(mixer)});
    steps[1].branches.push_back({.norm = std::move(ffn_norm), .operation = std::move(second)});
    return create(std::move(steps));
  }

  // What a mixer of the block remembers of a text: with a gate which positions it has seen, too. Throws std::bad_alloc.
  AnyState make_state(const AnyMixer& mixer, const StateSize& size) const {
    if (!gate_) return mixer.make_state(size);
    return AnyState(ThinnedState(mixer.make_state(size), size.context_size));
  }

  // mixers: of the block, in the order of mixers().
  Status forward(const Pass& pass, index_t layer, std::span<const MixerPass> mixers, State& state, Context& ctx) const {
    Status status;
    if (accelerator_ && pass.fast.data != nullptr) status = accelerator_->advance(layer, pass.x, pass.fast, ctx);
    if (status.ok()) {
      status = gate_ ? forward_kept(pass, layer, mixers, state, ctx) : forward_all(pass, layer, mixers, state, ctx);
    }
    if (!status.ok() && status.layer < 0) status.layer = layer;
    return status;
  }

  // The same layer, which only tokens pass that the gate keeps; none: all. usage: a layer with a router, whose plan and
  // memory are of all tokens, or with late steps.
  Expected<DecoderBlock> with_gate(std::optional<TokenGate> gate) const {
    if (gate && routed() != nullptr) return Status{ErrorCode::usage, "a gate of tokens on a layer with a router"};
    if (gate && has_late_steps()) return Status{ErrorCode::usage, "a gate of tokens on a layer with late steps"};
    DecoderBlock copy = *this;
    copy.gate_ = std::move(gate);
    return copy;
  }
  const std::optional<TokenGate>& gate() const noexcept { return gate_; }
  // The same layer, which moves the accelerated stream of a pass, where there is one. usage: of another width.
  Expected<DecoderBlock> with_accelerator(std::optional<Accelerator> accelerator) const {
    if (accelerator && accelerator->hidden_size() != hidden_size()) {
      return Status::mismatch("width of an accelerator against the layer", accelerator->hidden_size(), hidden_size());
    }
    DecoderBlock copy = *this;
    copy.accelerator_ = std::move(accelerator);
    return copy;
  }
  const std::optional<Accelerator>& accelerator() const noexcept { return accelerator_; }

  // x += what is late, if anything is.
  static void add_late(Late& late, Rows x, Context& ctx) {
    if (!exactly_equal(late.scale, 0.0f)) add(late.scale, late.rows, x, ctx);
    late.scale = 0.0f;
  }
  bool has_late_steps() const noexcept {
    return std::any_of(steps_.begin(), steps_.end(), [](const Step& step) { return step.is_late; });
  }

  // The same layer with another router; everything else is shared. usage: it does not fit, or there is none.
  Expected<DecoderBlock> with_router(AnyRouter router) const {
    DecoderBlock copy = *this;
    for (Step& step : copy.steps_) {
      for (Branch& branch : step.branches) {
        Routed* const routed = std::get_if<Routed>(&branch.operation);
        if (routed == nullptr) continue;
        Expected<Routed> layer = Routed::create(std::move(router), routed->experts(), routed->shared());
        if (!layer) return layer.error();
        *routed = std::move(layer).value();
        return copy;
      }
    }
    return Status{ErrorCode::usage, "a layer without routed experts has no router"};
  }

  index_t hidden_size() const noexcept {
    return steps_.empty() || steps_[0].branches.empty() ? 0 : width_of(steps_[0].branches[0]);
  }
  std::span<const Step> steps() const noexcept { return steps_; }
  // In the order in which they run.
  std::vector<const AnyMixer*> mixers() const {
    std::vector<const AnyMixer*> found;
    for (const Step& step : steps_) {
      for (const Branch& branch : step.branches) {
        if (const auto* const mixer = std::get_if<AnyMixer>(&branch.operation)) found.push_back(mixer);
      }
    }
    return found;
  }
  // Null where the layer has no router.
  const Routed* routed() const noexcept {
    for (const Step& step : steps_) {
      for (const Branch& branch : step.branches) {
        if (const auto* const routed = std::get_if<Routed>(&branch.operation)) return routed;
      }
    }
    return nullptr;
  }

 private:
  using RouterReads = Branch::RouterReads;
  // Rows (tokens, hidden_size) each.
  struct Buffers {
    Rows normed;
    Rows sum;    // of the branches of a step
    Rows out;    // of a branch that is not the first, empty where there is none
    Rows entry;  // x as it came in, empty where no router reads it
  };

  explicit DecoderBlock(std::vector<Step> steps) : steps_(std::move(steps)) {}

  static index_t width_of(const Branch& branch) noexcept {
    if (const auto* const routed = std::get_if<Routed>(&branch.operation)) return routed->experts().hidden_size();
    if (const auto* const dense = std::get_if<Dense>(&branch.operation)) return dense->hidden_size();
    return std::get<AnyMixer>(branch.operation).hidden_size();
  }
  Status check(const std::optional<AnyNorm>& norm) const noexcept {
    if (!norm || norm->width() == hidden_size()) return Status::success();
    return Status::mismatch("width of a norm against the layer", norm->width(), hidden_size());
  }
  bool has_branches() const noexcept {
    for (const Step& step : steps_) {
      if (step.branches.size() > 1) return true;
    }
    return false;
  }
  bool reads_entry() const noexcept {
    for (const Step& step : steps_) {
      for (const Branch& branch : step.branches) {
        if (branch.router_reads == RouterReads::layer_input) return true;
      }
    }
    return false;
  }

  Status forward_all(const Pass& pass, index_t layer, std::span<const MixerPass> mixers, State& state,
                     Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const auto take = [&] { return ctx.workspace.take_rows(pass.x.rows, pass.x.cols); };
    const Buffers rows{take(), take(), has_branches() ? take() : Rows(), reads_entry() ? take() : Rows()};
    Late own{pass.late == nullptr && has_late_steps() ? take() : Rows()};
    Late& late = pass.late == nullptr ? own : *pass.late;
    if (rows.entry.data != nullptr) copy(pass.x, rows.entry);
    const MixerPass* mixer = mixers.data();
    Status status;
    for (const Step& step : steps_) {
      for (const Branch& branch : step.branches) {
        const bool is_first = &branch == step.branches.data();
        const Rows out = is_first ? rows.sum : rows.out;
        if (status.ok()) status = run(branch, pass, layer, mixer, state, rows, out, ctx);
        if (status.ok() && !is_first) add(1.0f, out, rows.sum, ctx);
      }
      if (status.ok() && step.norm_after) status = step.norm_after->forward(rows.sum, rows.sum, ctx);
      if (!status.ok()) break;
      add_late(late, pass.x, ctx);
      if (step.is_late) {
        copy(rows.sum, late.rows);
        late.scale = step.scale;
      } else {
        add(step.scale, rows.sum, pass.x, ctx);
      }
    }
    if (status.ok() && pass.late == nullptr) add_late(late, pass.x, ctx);
    return status;
  }

  // A pass of the rows that the gate keeps, which are then put back in their places.
  Status forward_kept(const Pass& pass, index_t layer, std::span<const MixerPass> mixers, State& state,
                      Context& ctx) const {
    if (pass.late != nullptr) add_late(*pass.late, pass.x, ctx);
    const Workspace::Mark mark(ctx.workspace);
    KeptRows kept(pass.sequences, ctx);
    if (Status status = kept.choose(*gate_, pass.x); !status.ok()) return status;
    const std::span<MixerPass> own = ctx.workspace.take<MixerPass>(static_cast<std::int64_t>(mixers.size()));
    for (std::size_t m = 0; m < mixers.size(); ++m) {
      const auto count = static_cast<std::int64_t>(mixers[m].states.size());
      const std::span<AnyState*> states = ctx.workspace.take<AnyState*>(count);
      for (std::size_t s = 0; s < states.size(); ++s) {
        ThinnedState* const thinned = mixers[m].states[s]->get_if<ThinnedState>();
        if (thinned == nullptr) return {ErrorCode::usage, "a layer with a gate of tokens has states of its own"};
        states[s] = &thinned->own();
      }
      own[m] = {states, kept.of(mixers[m].cosines), kept.of(mixers[m].sines)};
    }
    const Pass thin{.x = kept.of(ConstRows(pass.x)),
                    .token_ids = kept.of(pass.token_ids),
                    .sequences = kept.sequences(own.empty() ? std::span<AnyState* const>() : own[0].states)};
    Status status = forward_all(thin, layer, own, state, ctx);
    if (!status.ok()) {
      if (status.token >= 0 && status.token < kept.count()) status.token = kept.rows()[as_size(status.token)];
      return status;
    }
    kept.put_back(thin.x, pass.x);
    for (const MixerPass& mixer : mixers) kept.note(mixer.states);
    return status;
  }

  // y = norm_after(operation(norm(x))). Uses up a mixer, where it is one.
  Status run(const Branch& branch, const Pass& pass, index_t layer, const MixerPass*& mixer, State& state,
             const Buffers& rows, Rows y, Context& ctx) const {
    ConstRows in = pass.x;
    Status status;
    if (branch.norm) {
      status = branch.norm->forward(pass.x, rows.normed, ctx);
      in = rows.normed;
    }
    if (!status.ok()) return status;
    if (const auto* const mixing = std::get_if<AnyMixer>(&branch.operation)) {
      status = mixing->forward({in, pass.sequences, mixer->cosines, mixer->sines}, mixer->states, y, ctx);
      ++mixer;
    } else if (const auto* const dense = std::get_if<Dense>(&branch.operation)) {
      fill(y, 0.0f);
      status = dense->add(in, y, state.shared_plan, ctx);
    } else {
      status = route(branch, pass, layer, in, state, rows, y, ctx);
    }
    if (status.ok() && branch.norm_after) status = branch.norm_after->forward(y, y, ctx);
    return status;
  }
  Status route(const Branch& branch, const Pass& pass, index_t layer, ConstRows in, State& state, const Buffers& rows,
               Rows y, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    ConstRows read = in;
    if (branch.router_reads != RouterReads::normed) {
      read = branch.router_reads == RouterReads::residual ? ConstRows(pass.x) : ConstRows(rows.entry);
      if (branch.router_norm) {
        const Rows normed = ctx.workspace.take_rows(read.rows, read.cols);
        if (Status status = branch.router_norm->forward(read, normed, ctx); !status.ok()) return status;
        read = normed;
      }
    }
    if (pass.on_hidden) pass.on_hidden(read);
    const RouterInput input{read, pass.token_ids, pass.run < 0 ? layer : pass.run, pass.edits};
    Status status = std::get<Routed>(branch.operation).forward(input, in, state, y, ctx);
    if (!status.ok()) status.layer = layer;
    return status;
  }

  // x += scale * y
  static void add(float scale, ConstRows y, Rows x, Context& ctx) {
    const index_t n = ctx.slices(x.rows);
    ctx.parallel(n, [&](index_t i) {
      const Slice rows = Slice::of(x.rows, n, i);
      for (index_t t = rows.first; t < rows.last; ++t) NativeBackend::axpy(scale, y.row_data(t), x.cols, x.row_data(t));
    });
  }
  static void copy(ConstRows from, Rows to) noexcept {
    for (index_t t = 0; t < from.rows; ++t)
      std::memcpy(to.row_data(t), from.row_data(t), sizeof(float) * as_size(from.cols));
  }

  std::vector<Step> steps_;
  std::optional<TokenGate> gate_;
  std::optional<Accelerator> accelerator_;
};

}  // namespace headgate::inline HEADGATE_ABI
