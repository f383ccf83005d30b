// Model: a decoder-only language model, immutable once loaded and shared by any number of sessions and threads.
//   x = embedding[token];  x = block_l(x) for every layer;  logits = head(norm(x))
// One type for every family, router, attention and weight format (layers/decoder_block.hpp). What a text leaves behind
// is a Model::State; models/session.hpp keeps one.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "headgate/attention/rope.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/decoder_block.hpp"
#include "headgate/layers/linear.hpp"
#include "headgate/models/embedding.hpp"
#include "headgate/models/model_config.hpp"
#include "headgate/models/routing_rule.hpp"

namespace headgate::inline HEADGATE_ABI {

// Called after every routed layer of a pass, on the calling thread: the layer, the position of the plan's first row,
// the plan. Dense layers have no plan. An exception it throws ends the forward and reaches its caller.
using RouteHook = std::function<void(index_t layer, index_t first_position, const RoutingPlan& plan)>;

class Model {
 public:
  struct Parts {
    ModelConfig config;
    Embedding embedding;
    Rope rope;
    std::vector<DecoderBlock> blocks;
    RmsNorm<> norm;
    std::shared_ptr<const Linear<AnyFormat>> head;  // null: tied to the embedding
    std::shared_ptr<const void> shared;             // what routers of several layers refer to; kept as long as they are
    std::int64_t weight_bytes = 0;                  // of all parts
    std::int64_t bytes_per_token = 0;               // weights read for one token of decoding
  };
  struct State {
    std::vector<DecoderBlock::Cache> caches;  // one a layer
    DecoderBlock::State routing;
    index_t context_size = 0;  // positions that the text may reach
    RoutingPlan forced_plan;   // of a pass that is a part of what a rule forces
  };
  // Rows that pass through all layers together: the tokens from first_position on.
  struct Pass {
    std::span<const std::int32_t> tokens;
    index_t first_position;
    const RouteHook& on_route;                // may be empty
    const std::atomic<bool>& interrupted;     // looked at before every layer
    const HiddenHook* on_hidden = nullptr;    // may be null or empty
    std::span<const RoutingRule> rules = {};  // none changes between these positions (RoutingRule::next_change)
  };

  // Parts of different widths, or a router whose rows depend on each other, are refused.
  static Expected<Model> create(Parts parts) {
    const index_t width = parts.embedding.hidden_size();
    if (parts.norm.width() != width) {
      return Status::mismatch("width of the last norm against the embedding", parts.norm.width(), width);
    }
    if (parts.head && parts.head->cols() != width) {
      return Status::mismatch("width of the head against the embedding", parts.head->cols(), width);
    }
    if (parts.head && parts.head->rows() != parts.embedding.vocab_size()) {
      return Status::mismatch("rows of the head against the embedding", parts.head->rows(),
                              parts.embedding.vocab_size());
    }
    for (std::size_t l = 0; l < parts.blocks.size(); ++l) {
      const DecoderBlock& block = parts.blocks[l];
      if (block.attention().hidden_size() != width) {
        return Status::mismatch("width of a layer against the embedding", block.attention().hidden_size(), width);
      }
      if (block.routed() == nullptr) continue;
      Status status = check_router(static_cast<index_t>(l), block.routed()->router(), block.routed()->experts());
      if (!status.ok()) return status;
    }
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

  const ModelConfig& config() const noexcept { return parts_.config; }
  index_t vocab_size() const noexcept { return parts_.embedding.vocab_size(); }
  index_t hidden_size() const noexcept { return parts_.embedding.hidden_size(); }
  index_t num_layers() const noexcept { return static_cast<index_t>(parts_.blocks.size()); }
  const DecoderBlock& block(index_t layer) const noexcept { return parts_.blocks[as_size(layer)]; }
  std::int64_t weight_bytes() const noexcept { return parts_.weight_bytes; }
  std::int64_t bytes_per_token() const noexcept { return parts_.bytes_per_token; }

  // Throws std::bad_alloc.
  State make_state(index_t context_size) const {
    State state;
    state.context_size = context_size;
    for (const DecoderBlock& block : parts_.blocks) {
      state.caches.push_back(block.attention().make_state({context_size, context_size, 0}));
    }
    return state;
  }

  // x (tokens, hidden_size) = the rows behind the last layer. Status.token is the row. Preconditions: the ids are below
  // vocab_size, the state is of this model and holds the positions before first_position.
  Status forward(const Pass& pass, State& state, Rows x, Context& ctx) const {
    if (x.rows != static_cast<std::int64_t>(pass.tokens.size())) {
      return Status::mismatch("rows of x against tokens", x.rows, static_cast<std::int64_t>(pass.tokens.size()));
    }
    if (x.cols != hidden_size()) return Status::mismatch("width of x against hidden_size", x.cols, hidden_size());
    if (Status status = check_view(x); !status.ok()) return status;
    if (state.caches.size() != parts_.blocks.size()) {
      return Status::mismatch("caches of the state against layers", static_cast<std::int64_t>(state.caches.size()),
                              num_layers());
    }
    const FloatModes modes;
    const Workspace::Mark mark(ctx.workspace);
    const Rows cosines = ctx.workspace.take_rows(x.rows, parts_.rope.half());
    const Rows sines = ctx.workspace.take_rows(x.rows, parts_.rope.half());
    parts_.rope.angles(pass.first_position, state.context_size, cosines, sines);
    parts_.embedding.read(pass.tokens, x);
    state.routing.reset(x.rows);
    for (index_t l = 0; l < num_layers(); ++l) {
      if (pass.interrupted.load(std::memory_order_relaxed)) return {ErrorCode::interrupted, "interrupted"};
      DecoderRows rows{x, pass.tokens, pass.first_position, cosines, sines, pass.on_hidden};
      if (!pass.rules.empty() && block(l).routed() != nullptr) {
        Status status = edits_of(pass, l, state.forced_plan, rows.edits);
        if (!status.ok()) return status;
      }
      if (Status status = block(l).forward(rows, l, state.caches[as_size(l)], state.routing, ctx); !status.ok())
        return status;
      if (pass.on_route && block(l).routed() != nullptr) pass.on_route(l, pass.first_position, state.routing.plan);
    }
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
      if (!NativeBackend::all_finite(logits.row_data(t), logits.cols)) {
        status = Status::not_finite("a logit is not finite", num_layers(), t);
      }
    }
    return status;
  }

 private:
  // What the rules of a pass ask of a layer.
  static Status edits_of(const Pass& pass, index_t layer, RoutingPlan& forced_plan, RouteEdits& edits) {
    index_t row = 0;
    Status status = RoutingRule::resolve(pass.rules, layer, pass.first_position, edits, row);
    if (!status.ok() || edits.forced_plan == nullptr) return status;
    status = forced_plan.copy_rows(*edits.forced_plan, row, static_cast<index_t>(pass.tokens.size()));
    edits.forced_plan = &forced_plan;
    return status;
  }

  explicit Model(Parts parts) : parts_(std::move(parts)) {}
  Parts parts_;
};

}  // namespace headgate::inline HEADGATE_ABI
