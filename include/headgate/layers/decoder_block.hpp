// DecoderBlock: one layer of a decoder, pre-norm:
//   x = x + mixer(norm(x));  x = x + ffn(norm(x))
// where ffn is a Mixture-of-Experts layer or, in a dense layer, a single expert that every token passes through.
#pragma once

#include <functional>
#include <variant>

#include "headgate/attention/any_mixer.hpp"
#include "headgate/experts/any_experts.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/layers/norm.hpp"
#include "headgate/routing/any_router.hpp"

namespace headgate::inline HEADGATE_ABI {

// Called before every routed layer, on the calling thread: the layer, the position of the first row, and the rows that
// the router and the experts read, (tokens, hidden_size), good for the call only.
using HiddenHook = std::function<void(index_t layer, index_t first_position, ConstRows hidden)>;

// Rows on their way through the layers of a decoder.
struct DecoderRows {
  Rows x;                                   // (tokens, hidden_size), read and replaced
  std::span<const std::int32_t> token_ids;  // (tokens)
  index_t first_position = 0;               // of row 0
  ConstRows cosines;                        // (tokens, half) of the rotary angles
  ConstRows sines;                          // (tokens, half)
  const HiddenHook* on_hidden = nullptr;    // may be null or empty
  RouteEdits edits = {};                    // of a routed layer
};

class DecoderBlock {
 public:
  using Routed = MoELayer<AnyRouter, AnyExperts>;
  using Dense = SharedExpert<AnyExperts>;
  using Cache = AnyState;
  // The routers' memory and the plan of the last routed layer: one for all layers, reset before the first.
  using State = Routed::State;

  static Expected<DecoderBlock> create(RmsNorm<> attention_norm, AnyMixer attention, RmsNorm<> ffn_norm,
                                       std::variant<Routed, Dense> ffn) {
    const index_t width = attention.hidden_size();
    const index_t ffn_width = std::holds_alternative<Routed>(ffn) ? std::get<Routed>(ffn).experts().hidden_size()
                                                                  : std::get<Dense>(ffn).hidden_size();
    for (const index_t other : {attention_norm.width(), ffn_norm.width(), ffn_width}) {
      if (other != width) return Status::mismatch("width of norm or FFN against that of the attention", other, width);
    }
    return DecoderBlock(std::move(attention_norm), std::move(attention), std::move(ffn_norm), std::move(ffn),
                        Checked{});
  }

  Status forward(const DecoderRows& rows, index_t layer, Cache& cache, State& state, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const Rows normed = ctx.workspace.take_rows(rows.x.rows, rows.x.cols);
    const Rows out = ctx.workspace.take_rows(rows.x.rows, rows.x.cols);
    const SequenceRows text{rows.x.rows, rows.first_position};
    const MixerInput mixer_in{normed, {&text, 1}, rows.cosines, rows.sines};
    AnyState* const states[] = {&cache};

    Status status = attention_norm_.forward(rows.x, normed, ctx);
    if (status.ok()) status = attention_.forward(mixer_in, states, out, ctx);
    if (status.ok()) add(out, rows.x, ctx);
    if (status.ok()) status = ffn_norm_.forward(rows.x, normed, ctx);
    if (status.ok() && routed() != nullptr && rows.on_hidden != nullptr && *rows.on_hidden) {
      (*rows.on_hidden)(layer, rows.first_position, normed);
    }
    if (status.ok()) status = forward_ffn({normed, rows.token_ids, layer, rows.edits}, state, out, ctx);
    if (status.ok()) add(out, rows.x, ctx);
    if (!status.ok() && status.layer < 0) status.layer = layer;
    return status;
  }

  // The same layer with another router; everything else is shared. usage: it does not fit, or the layer is dense.
  Expected<DecoderBlock> with_router(AnyRouter router) const {
    if (routed() == nullptr) return Status{ErrorCode::usage, "a dense layer has no router"};
    Expected<Routed> layer = Routed::create(std::move(router), routed()->experts(), routed()->shared());
    if (!layer) return layer.error();
    return create(attention_norm_, attention_, ffn_norm_, std::move(layer).value());
  }

  const AnyMixer& attention() const noexcept { return attention_; }
  // Null in a dense layer.
  const Routed* routed() const noexcept { return std::get_if<Routed>(&ffn_); }

 private:
  struct Checked {};
  DecoderBlock(RmsNorm<> attention_norm, AnyMixer attention, RmsNorm<> ffn_norm, std::variant<Routed, Dense> ffn,
               Checked)
      : attention_norm_(std::move(attention_norm)),
        attention_(std::move(attention)),
        ffn_norm_(std::move(ffn_norm)),
        ffn_(std::move(ffn)) {}

  // x += y
  static void add(ConstRows y, Rows x, Context& ctx) {
    const index_t n = ctx.slices(x.rows);
    ctx.parallel(n, [&](index_t i) {
      const Slice rows = Slice::of(x.rows, n, i);
      for (index_t t = rows.first; t < rows.last; ++t) NativeBackend::axpy(1.0f, y.row_data(t), x.cols, x.row_data(t));
    });
  }
  Status forward_ffn(const RouterInput& in, State& state, Rows y, Context& ctx) const {
    if (const Routed* const moe = routed()) return moe->forward(in, state, y, ctx);
    fill(y, 0.0f);
    return std::get<Dense>(ffn_).add(in.hidden, y, state.shared_plan, ctx);
  }

  RmsNorm<> attention_norm_;
  AnyMixer attention_;
  RmsNorm<> ffn_norm_;
  std::variant<Routed, Dense> ffn_;
};

}  // namespace headgate::inline HEADGATE_ABI
