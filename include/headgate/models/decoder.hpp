// Model: a decoder-only language model, immutable once loaded and shared by any number of sessions and threads.
//   x = embedding[token];  x = block_l(x) for every layer;  logits = head(norm(x))
// One type for every family, mixer, router and weight format (layers/decoder_block.hpp). The rows of a pass belong to
// one text or to several; what a text leaves behind is a Model::State; models/session.hpp keeps one.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "headgate/kernels/native.hpp"
#include "headgate/layers/decoder_block.hpp"
#include "headgate/layers/layer_schedule.hpp"
#include "headgate/models/embedding.hpp"
#include "headgate/models/model_config.hpp"
#include "headgate/models/packer.hpp"
#include "headgate/models/rope_list.hpp"
#include "headgate/models/routing_rule.hpp"
#include "headgate/models/scratch_count.hpp"
#include "headgate/routing/sequence_bias.hpp"

namespace headgate::inline HEADGATE_ABI {

// Called after every routed layer of a pass, on the calling thread: the layer, the position of the plan's first row,
// the plan. Dense layers have no plan. An exception it throws ends the forward and reaches its caller.
using RouteHook = std::function<void(index_t layer, index_t first_position, const RoutingPlan& plan)>;

class Model {
 public:
  struct Parts {
    ModelConfig config;
    Embedding embedding;
    float embedding_multiplier = 1.0f;
    std::vector<DecoderBlock> blocks;
    AnyNorm norm;
    std::shared_ptr<const Matrix> head = nullptr;  // null: tied to the embedding
    std::vector<float> head_bias = {};             // (vocab_size) or empty
    float logits_divisor = 1.0f;
    std::vector<std::shared_ptr<const void>> shared = {};  // what routers of several layers refer to
    std::int64_t weight_bytes = 0;                         // of all parts
    std::int64_t bytes_per_token = 0;                      // weights read for one token of decoding
    ScratchCount scratch = {};
    std::vector<RoutingSummary> routing = {};  // one a layer; without experts where it has no router
  };
  struct State {
    std::vector<AnyState> mixers;  // of every run of every layer, in order
    index_t context_size = 0;      // positions that the text may reach
    LayerSchedule schedule = {};
    // Of the pass in progress.
    DecoderBlock::State routing = {};
    RoutingPlan part_of_plan = {};
    bool has_bias = false;  // of texts, in routing
  };
  // Rows of a pass that are one text's.
  struct Sequence {
    SequenceRows rows;
    State& state;                           // of this model; holds the positions before rows.first_position
    const std::atomic<bool>& interrupted;   // looked at before every layer
    const RouteHook* on_route = nullptr;    // may be null or empty
    const HiddenHook* on_hidden = nullptr;  // may be null or empty
    // (num_experts) Added to the logits of its tokens in every layer whose router reads a SequenceBias; empty: nothing.
    std::span<const float> bias = {};
  };
  struct Pass {
    std::span<const std::int32_t> tokens;     // of all texts, one after the other, below vocab_size
    std::span<const Sequence> sequences;      // at least one; their rows add up to the tokens
    std::span<const RoutingRule> rules = {};  // of a pass of one text; none changes between its positions
  };

  // Parts of different widths, and a router or a gate of tokens whose rows depend on each other, are refused.
  static Expected<Model> create(Parts parts) {
    const index_t width = parts.embedding.hidden_size();
    const auto check = [](const char* what, std::int64_t found, std::int64_t wanted) {
      return found == wanted ? Status::success() : Status::mismatch(what, found, wanted);
    };
    Status status = check("width of the last norm against the embedding", parts.norm.width(), width);
    if (status.ok() && parts.head) {
      status = check("width of the head against the embedding", parts.head->cols(), width);
      if (status.ok()) {
        status = check("rows of the head against the embedding", parts.head->rows(), parts.embedding.vocab_size());
      }
    }
    if (status.ok() && !parts.head_bias.empty()) {
      status = check("size of the bias of the head", static_cast<std::int64_t>(parts.head_bias.size()),
                     parts.embedding.vocab_size());
    }
    for (std::size_t l = 0; status.ok() && l < parts.blocks.size(); ++l) {
      const DecoderBlock& block = parts.blocks[l];
      status = check("width of a layer against the embedding", block.hidden_size(), width);
      if (status.ok() && block.gate() && block.gate()->batch_coupled()) {
        status = {ErrorCode::usage, "a gate of tokens whose rows depend on each other, which a decoder cannot use"};
        status.layer = static_cast<index_t>(l);
      }
      if (!status.ok() || block.routed() == nullptr) continue;
      status = check_router(static_cast<index_t>(l), block.routed()->router(), block.routed()->experts());
    }
    if (!status.ok()) return status;
    return Model(std::move(parts));
  }
  // usage, with the layer: a router that does not fit the experts of its layer, or whose rows depend on each other.
  static Status check_router(index_t layer, const AnyRouter& router, const AnyExperts& experts) noexcept {
    Status status = check_fit(router, experts);
    if (status.ok() && router.traits().batch_coupled) {
      status = {ErrorCode::usage, "a router whose rows depend on each other, which a decoder cannot use"};
    }
    if (!status.ok()) status.layer = layer;
    return status;
  }

  // A copy with routers of the caller's own, that shares everything else: make_router(layer, the router of this model)
  // -> AnyRouter, for every layer with experts; that router itself, with another bias or inside another one, will do.
  // Sessions of this model notice nothing. Throws what check_router says, and what make_router throws.
  template <class F>
    requires std::is_invocable_r_v<AnyRouter, F&, index_t, const AnyRouter&>
  std::shared_ptr<const Model> with_routers(F&& make_router) const {
    Parts parts = parts_;
    for (index_t l = 0; l < num_layers(); ++l) {
      const DecoderBlock::Routed* const layer = block(l).routed();
      if (layer == nullptr) continue;
      const AnyRouter router = make_router(l, layer->router());
      throw_if_error(check_router(l, router, layer->experts()));
      parts.blocks[as_size(l)] = block(l).with_router(router).value();
    }
    return std::make_shared<const Model>(create(std::move(parts)).value());
  }

  // A copy with gates of tokens on its layers, that shares everything else: make_gate(layer) ->
  // std::optional<TokenGate> (layers/token_gate.hpp). Throws what DecoderBlock::with_gate and create refuse, and what
  // make_gate throws.
  template <class F>
    requires std::is_invocable_r_v<std::optional<TokenGate>, F&, index_t>
  std::shared_ptr<const Model> with_token_gates(F&& make_gate) const {
    Parts parts = parts_;
    for (index_t l = 0; l < num_layers(); ++l) parts.blocks[as_size(l)] = block(l).with_gate(make_gate(l)).value();
    return std::make_shared<const Model>(create(std::move(parts)).value());
  }

  const ModelConfig& config() const noexcept { return parts_.config; }
  index_t vocab_size() const noexcept { return parts_.embedding.vocab_size(); }
  index_t hidden_size() const noexcept { return parts_.embedding.hidden_size(); }
  index_t num_layers() const noexcept { return static_cast<index_t>(parts_.blocks.size()); }
  const DecoderBlock& block(index_t layer) const noexcept { return parts_.blocks[as_size(layer)]; }
  std::int64_t weight_bytes() const noexcept { return parts_.weight_bytes; }
  std::int64_t bytes_per_token() const noexcept { return parts_.bytes_per_token; }
  const ScratchCount& scratch() const noexcept { return parts_.scratch; }
  const RoutingSummary& routing(index_t layer) const noexcept { return parts_.routing[as_size(layer)]; }

  // schedule: of this many layers, or of any. Throws std::bad_alloc.
  State make_state(const StateSize& size, LayerSchedule schedule = {}) const {
    State state;
    state.context_size = size.context_size;
    state.schedule = std::move(schedule);
    for_each_run(state.schedule, [&](index_t l, const LayerMixers& layer) {
      for (const AnyMixer& mixer : layer.mixers) state.mixers.push_back(block(l).make_state(mixer, size));
    });
    return state;
  }

  // x (tokens, hidden_size) = the rows behind the last layer. Status.token is the row. Every text has the bits that it
  // has alone.
  Status forward(const Pass& pass, Rows x, Context& ctx) const { return forward(pass, nullptr, x, ctx); }
  // The same for the first rows of one text, where the policy says how often each layer runs. The state has a schedule
  // with room for it; afterwards it has the chosen one, and what belongs to other runs is gone.
  Status forward(const Pass& pass, const LayerPolicy& policy, Rows x, Context& ctx) const {
    if (pass.sequences.size() != 1) return {ErrorCode::usage, "layers are chosen for one text at a time"};
    if (pass.sequences.front().rows.first_position != 0) {
      return {ErrorCode::usage, "layers are chosen for the first rows of a text"};
    }
    State& state = pass.sequences.front().state;
    std::vector<std::uint8_t> chosen(as_size(num_layers()));
    const Choice choice{policy, chosen};
    if (Status status = forward(pass, &choice, x, ctx); !status.ok()) return status;
    std::vector<AnyState> kept;
    std::size_t next = 0;
    for (index_t l = 0; l < num_layers(); ++l) {
      const std::size_t mixers = mixers_[as_size(l)].mixers.size();
      for (index_t run = 0; run < state.schedule.runs(l); ++run, next += mixers) {
        if (run >= chosen[as_size(l)]) continue;
        for (std::size_t m = 0; m < mixers; ++m) kept.push_back(std::move(state.mixers[next + m]));
      }
    }
    state.mixers = std::move(kept);
    state.schedule = LayerSchedule::create(std::move(chosen)).value();
    return Status::success();
  }

  // logits (T, vocab_size) of rows that forward made. Those that are not finite are an error; Status.token is the row.
  Status logits(ConstRows x, Rows logits, Context& ctx) const {
    const FloatModes modes;
    const Workspace::Mark mark(ctx.workspace);
    const Rows normed = ctx.workspace.take_rows(x.rows, x.cols);
    Status status = parts_.norm.forward(x, normed, ctx);
    if (status.ok()) {
      status = parts_.head ? parts_.head->forward(normed, logits, ctx) : parts_.embedding.forward(normed, logits, ctx);
    }
    for (index_t t = 0; status.ok() && t < logits.rows; ++t) {
      float* const row = logits.row_data(t);
      if (!parts_.head_bias.empty()) NativeBackend::axpy(1.0f, parts_.head_bias.data(), logits.cols, row);
      if (!exactly_equal(parts_.logits_divisor, 1.0f)) {
        for (float& logit : logits.row(t)) logit /= parts_.logits_divisor;
      }
      if (!NativeBackend::all_finite(row, logits.cols)) {
        status = Status::not_finite("a logit is not finite", num_layers(), t);
      }
    }
    return status;
  }

 private:
  using HiddenSight = std::function<void(ConstRows)>;
  // The mixers of a layer, and which of the distinct ropes each turns by.
  struct LayerMixers {
    std::vector<AnyMixer> mixers;
    std::vector<index_t> ropes;  // RopeList::none: none
  };
  // What a policy chose, layer by layer.
  struct Choice {
    const LayerPolicy& policy;
    std::span<std::uint8_t> runs;  // one a layer
  };

  // use(layer, its mixers) for every run of every layer, in order.
  template <class F>
  void for_each_run(const LayerSchedule& schedule, F&& use) const {
    for (index_t l = 0; l < num_layers(); ++l) {
      for (index_t run = 0; run < schedule.runs(l); ++run) use(l, mixers_[as_size(l)]);
    }
  }

  Status forward(const Pass& pass, const Choice* choice, Rows x, Context& ctx) const {
    if (Status status = check(pass, x); !status.ok()) return status;
    const FloatModes modes;
    const Workspace::Mark mark(ctx.workspace);
    Lent lent(*this, pass, ctx);
    parts_.embedding.read(pass.tokens, x);
    if (!exactly_equal(parts_.embedding_multiplier, 1.0f)) scale(x, parts_.embedding_multiplier);
    State& first = pass.sequences.front().state;
    first.routing.reset(x.rows);
    set_bias(pass, first);

    DecoderBlock::Late late{has_late_steps_ ? ctx.workspace.take_rows(x.rows, x.cols) : Rows()};
    index_t layer = 0;
    const auto show_hidden = [&pass, &layer](ConstRows hidden) { call_on_hidden(pass, layer, hidden); };
    DecoderBlock::Pass rows{
        x, pass.tokens, lent.sequences, {}, has_hidden_hook(pass) ? HiddenSight(show_hidden) : HiddenSight(), &late};
    for (layer = 0; layer < num_layers(); ++layer) {
      for (const Sequence& sequence : pass.sequences) {
        if (sequence.interrupted.load(std::memory_order_relaxed)) return {ErrorCode::interrupted, "interrupted"};
      }
      const index_t room = first.schedule.runs(layer);
      index_t runs = room;
      if (choice != nullptr) {
        if (Status status = choose(*choice, layer, x, room, runs, ctx); !status.ok()) return status;
      }
      for (index_t run = 0; run < room; ++run) {
        const std::span<const DecoderBlock::MixerPass> mixers = lent.take(layer);
        if (run >= runs) continue;
        ++rows.run;
        if (Status status = forward(pass, layer, rows, mixers, ctx); !status.ok()) return status;
      }
    }
    DecoderBlock::add_late(late, x, ctx);
    return Status::success();
  }
  // One run of a layer.
  Status forward(const Pass& pass, index_t layer, DecoderBlock::Pass& rows,
                 std::span<const DecoderBlock::MixerPass> mixers, Context& ctx) const {
    State& first = pass.sequences.front().state;
    const bool routes = block(layer).routed() != nullptr;
    rows.edits = {};
    if (!pass.rules.empty() && routes) {
      if (Status status = edits_of(pass, layer, rows.edits); !status.ok()) return status;
    }
    Status status = block(layer).forward(rows, layer, mixers, first.routing, ctx);
    return status.ok() && routes ? call_on_route(pass, layer, first) : status;
  }
  // room: runs that there is memory for.
  static Status choose(const Choice& choice, index_t layer, ConstRows x, index_t room, index_t& runs, Context& ctx) {
    Status status = choice.policy(layer, x, runs, ctx);
    if (status.ok() && (runs < 0 || runs > room)) status = Status::mismatch("runs of a layer", runs, room);
    if (status.ok()) {
      choice.runs[as_size(layer)] = static_cast<std::uint8_t>(runs);
    } else if (status.layer < 0) {
      status.layer = layer;
    }
    return status;
  }

  // What routers read of whole texts; rows of texts without a bias are -0, which leaves every logit its bits.
  static void set_bias(const Pass& pass, State& first) {
    std::size_t size = 0;
    for (const Sequence& sequence : pass.sequences) size = std::max(size, sequence.bias.size());
    if (size == 0 && !first.has_bias) return;
    first.has_bias = size != 0;
    SequenceBias& bias = first.routing.router.get<SequenceBias>();
    bias.logits.assign(size * pass.sequences.size(), -0.0f);
    bias.sequence_of.clear();
    for (std::size_t s = 0; s < pass.sequences.size() && size != 0; ++s) {
      const Sequence& sequence = pass.sequences[s];
      std::copy(sequence.bias.begin(), sequence.bias.end(),
                bias.logits.begin() + static_cast<std::ptrdiff_t>(s * size));
      bias.sequence_of.insert(bias.sequence_of.end(), as_size(sequence.rows.rows), static_cast<index_t>(s));
    }
  }

  // What a pass lends to the mixers: the states of all texts, and the angles at their positions.
  struct Lent {
    Lent(const Model& model, const Pass& pass, Context& ctx) : model_(model) {
      const auto count = static_cast<std::int64_t>(pass.sequences.size());
      const std::span<SequenceRows> rows = ctx.workspace.take<SequenceRows>(count);
      for (std::size_t s = 0; s < rows.size(); ++s) rows[s] = pass.sequences[s].rows;
      sequences = rows;

      const auto num_rows = static_cast<index_t>(pass.tokens.size());
      const std::span<const Rope* const> ropes = model.ropes_.all();
      const auto angles = ctx.workspace.take<Rows>(2 * static_cast<std::int64_t>(ropes.size()));
      for (std::size_t i = 0; i < ropes.size(); ++i) {
        const Rows cosines = angles[2 * i] = ctx.workspace.take_rows(num_rows, ropes[i]->half());
        const Rows sines = angles[2 * i + 1] = ctx.workspace.take_rows(num_rows, ropes[i]->half());
        index_t row = 0;
        for (const Sequence& sequence : pass.sequences) {
          const auto [sequence_rows, first_position] = sequence.rows;
          ropes[i]->angles(first_position, sequence.state.context_size, cosines.middle_rows(row, sequence_rows),
                           sines.middle_rows(row, sequence_rows));
          row += sequence_rows;
        }
      }

      const auto num_mixers = static_cast<std::int64_t>(pass.sequences.front().state.mixers.size());
      const auto states = ctx.workspace.take<AnyState*>(num_mixers * count);
      passes_ = ctx.workspace.take<DecoderBlock::MixerPass>(num_mixers);
      std::size_t mixer = 0;
      model.for_each_run(pass.sequences.front().state.schedule, [&](index_t, const LayerMixers& layer) {
        for (std::size_t m = 0; m < layer.mixers.size(); ++m, ++mixer) {
          const auto own = states.subspan(mixer * pass.sequences.size(), pass.sequences.size());
          for (std::size_t s = 0; s < own.size(); ++s) own[s] = &pass.sequences[s].state.mixers[mixer];
          const index_t rope = layer.ropes[m];
          passes_[mixer] = {own, {}, {}};
          if (rope == RopeList::none) continue;
          passes_[mixer].cosines = angles[2 * as_size(rope)];
          passes_[mixer].sines = angles[2 * as_size(rope) + 1];
        }
      });
    }
    // Of the next run, which is of this layer.
    std::span<const DecoderBlock::MixerPass> take(index_t layer) noexcept {
      const std::size_t count = model_.mixers_[as_size(layer)].mixers.size();
      const std::span<const DecoderBlock::MixerPass> taken = passes_.subspan(taken_, count);
      taken_ += count;
      return taken;
    }

    std::span<const SequenceRows> sequences;

   private:
    const Model& model_;
    std::span<DecoderBlock::MixerPass> passes_;
    std::size_t taken_ = 0;
  };

  explicit Model(Parts parts) : parts_(std::move(parts)) {
    for (const DecoderBlock& block : parts_.blocks) {
      has_late_steps_ = has_late_steps_ || block.has_late_steps();
      LayerMixers layer;
      for (const AnyMixer* const mixer : block.mixers()) {
        layer.mixers.push_back(*mixer);
        layer.ropes.push_back(ropes_.add(mixer->rope()));
      }
      mixers_.push_back(std::move(layer));
    }
  }

  Status check(const Pass& pass, Rows x) const noexcept {
    const auto tokens = static_cast<std::int64_t>(pass.tokens.size());
    if (x.rows != tokens) return Status::mismatch("rows of x against tokens", x.rows, tokens);
    if (x.cols != hidden_size()) return Status::mismatch("width of x against hidden_size", x.cols, hidden_size());
    if (Status status = check_view(x); !status.ok()) return status;
    if (pass.sequences.empty()) return Status::mismatch("sequences of a pass, at least", 0, 1);
    if (pass.sequences.size() > 1 && !pass.rules.empty()) {
      return {ErrorCode::usage, "routing rules are for a pass of one text"};
    }
    const LayerSchedule& schedule = pass.sequences.front().state.schedule;
    if (schedule.layers() != 0 && schedule.layers() != num_layers()) {
      return Status::mismatch("layers of a schedule against the model", schedule.layers(), num_layers());
    }
    std::int64_t num_mixers = 0;
    for_each_run(schedule, [&](index_t, const LayerMixers& layer) {
      num_mixers += static_cast<std::int64_t>(layer.mixers.size());
    });
    std::int64_t rows = 0;
    for (const Sequence& sequence : pass.sequences) {
      if (!(sequence.state.schedule == schedule)) {
        return {ErrorCode::usage, "texts of a pass whose layers run differently often"};
      }
      const auto found = static_cast<std::int64_t>(sequence.state.mixers.size());
      if (found != num_mixers) return Status::mismatch("mixers of the state against the model", found, num_mixers);
      if (sequence.rows.rows < 0) return Status::mismatch("rows of a sequence, at least", sequence.rows.rows, 0);
      rows += sequence.rows.rows;
    }
    if (rows != tokens) return Status::mismatch("rows of all sequences against tokens", rows, tokens);
    return Status::success();
  }

  static void scale(Rows x, float factor) noexcept {
    for (index_t t = 0; t < x.rows; ++t) {
      for (float& value : x.row(t)) value *= factor;
    }
  }

  // What the rules of a pass ask of a layer.
  static Status edits_of(const Pass& pass, index_t layer, RouteEdits& edits) {
    const Sequence& text = pass.sequences.front();
    index_t row = 0;
    Status status = RoutingRule::resolve(pass.rules, layer, text.rows.first_position, edits, row);
    if (!status.ok() || edits.forced_plan == nullptr) return status;
    RoutingPlan& part = text.state.part_of_plan;
    status = part.copy_rows(*edits.forced_plan, row, text.rows.rows);
    edits.forced_plan = &part;
    return status;
  }

  static bool has_hidden_hook(const Pass& pass) noexcept {
    for (const Sequence& sequence : pass.sequences) {
      if (sequence.on_hidden != nullptr && *sequence.on_hidden) return true;
    }
    return false;
  }
  static void call_on_hidden(const Pass& pass, index_t layer, ConstRows hidden) {
    index_t row = 0;
    for (const Sequence& sequence : pass.sequences) {
      const auto [rows, first_position] = sequence.rows;
      if (sequence.on_hidden != nullptr && *sequence.on_hidden && rows > 0) {
        (*sequence.on_hidden)(layer, first_position, hidden.middle_rows(row, rows));
      }
      row += rows;
    }
  }
  // Every text sees its own rows of the plan.
  static Status call_on_route(const Pass& pass, index_t layer, const State& first) {
    index_t row = 0;
    for (const Sequence& sequence : pass.sequences) {
      const auto [rows, first_position] = sequence.rows;
      const index_t first_row = row;
      row += rows;
      if (sequence.on_route == nullptr || !*sequence.on_route || rows == 0) continue;
      const RoutingPlan* plan = &first.routing.plan;
      if (pass.sequences.size() > 1) {
        RoutingPlan& own = sequence.state.part_of_plan;
        if (Status status = own.copy_rows(*plan, first_row, rows); !status.ok()) return status;
        plan = &own;
      }
      (*sequence.on_route)(layer, first_position, *plan);
    }
    return Status::success();
  }

  Parts parts_;
  std::vector<LayerMixers> mixers_;  // one a layer
  RopeList ropes_;                   // of all mixers
  bool has_late_steps_ = false;
};

}  // namespace headgate::inline HEADGATE_ABI
