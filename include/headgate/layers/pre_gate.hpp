// PreGate: one router for a whole network that never sees its hidden states, Read-ME (Cai et al. 2024, arXiv
// 2410.19123, section 3): a small causal transformer from token ids to one expert a token, which all layers use with
// weight 1.
//   h = embedding[id]                                   the first `width` columns of the model's table, copied
//   h = h + W_o attention(rope(W_q n), rope(W_k n), W_v n),  n = rms_norm(h);  scores are q . k / normalizer
//   h = h + W_2 act(W_1 rms_norm(h))                    of every layer, usually one; projections have biases
//   z = W rms_norm(h) + b;   expert = argmax z          ties to the lower id
// So the plan of every layer is known before the model runs (routing/lookahead.hpp), for a queue of tokens that wait,
// too. Follows the code, VITA-Group/READ-ME (cluster_predictor_class): norms are RMSNorm and the normalizer is 1
// instead of sqrt(head_dim). Where that code generates it reads keys of uninitialised memory; here they are cached,
// which is what its path of full_input_ids computes again each time.
//
// It is no Router: what it remembers grows with the text. Layers take its plan as a forced plan, by one RoutingRule for
// all of them, or from a PlannedRouter.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "headgate/attention/gqa.hpp"
#include "headgate/layers/linear.hpp"
#include "headgate/layers/norm.hpp"
#include "headgate/routing/lookahead.hpp"
#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

struct PreGateShape {
  index_t width = 0;  // embedding_dim, which inter_dim is as well
  index_t num_heads = 0;
  index_t num_experts = 0;  // N_cluster
  float normalizer = 1.0f;
  double rope_theta = 10000.0;
  Activation activation = {};  // of the MLP
  float norm_epsilon = 1e-6f;
};

// A matrix and its bias (rows).
struct PreGateLinear {
  ConstRows weight;
  std::span<const float> bias;
};
struct PreGateLayer {
  std::span<const float> input_norm;           // (width) input_layernorm_i
  PreGateLinear query, key, value, output;     // (width, width) q_proj_i, k_proj_i, v_proj_i, o_proj_i
  std::span<const float> post_attention_norm;  // (width)
  PreGateLinear first, last;                   // (width, width) proj_1_i, proj_2_i
};
struct PreGateWeights {
  ConstRows embedding;  // (vocabulary, width); its stride may be that of a wider table
  std::span<const PreGateLayer> layers;
  std::span<const float> out_norm;  // (width)
  PreGateLinear out;                // (num_experts, width) proj_out
};

// Table of structures: PreGate | a causal transformer of token ids routes for all layers, before the model runs |
//   Cai et al. 2024, 2410.19123
template <class Backend = NativeBackend>
class PreGate {
  using Attention = GroupedQueryAttention<F32, Backend>;

 public:
  // Keys and values of one text. It goes back to any position.
  class State {
   public:
    index_t position() const noexcept { return caches_.front().position(); }
    index_t context_size() const noexcept { return caches_.front().context_size(); }
    // Forgets what came from there on. Precondition: 0 <= positions <= position().
    void truncate(index_t positions) noexcept {
      for (KvCache& cache : caches_) cache.truncate(positions);
    }
    std::int64_t bytes() const noexcept {
      std::int64_t total = 0;
      for (const KvCache& cache : caches_) total += cache.bytes();
      return total;
    }

   private:
    friend class PreGate;
    std::vector<KvCache> caches_;  // one a layer
  };

  static Expected<PreGate> create(const PreGateShape& shape, const PreGateWeights& weights) {
    if (Status status = check(shape, weights); !status.ok()) return status;
    Expected<Rope> rope = Rope::create(shape.rope_theta, shape.width / shape.num_heads);
    if (!rope) return rope.error();
    const auto shared_rope = std::make_shared<const Rope>(std::move(rope).value());
    std::vector<Layer> layers;
    for (const PreGateLayer& layer : weights.layers) {
      Expected<Layer> made = Layer::create(shape, layer, shared_rope);
      if (!made) return made.error();
      layers.push_back(std::move(made).value());
    }
    Expected<RmsNorm<Backend>> norm = norm_of(weights.out_norm, shape);
    if (!norm) return norm.error();
    Expected<Linear<F32, Backend>> out = linear_of(weights.out, shape.num_experts, shape.width);
    if (!out) return out.error();
    return PreGate(shape, weights.embedding, shared_rope, std::move(layers), std::move(norm).value(),
                   std::move(out).value());
  }

  index_t num_experts() const noexcept { return shape_.num_experts; }
  index_t vocabulary() const noexcept { return static_cast<index_t>(embedding_.size() / as_size(shape_.width)); }
  PlanKnown known() const noexcept { return PlanKnown::before_the_model(); }
  // Of a text of up to so many positions. Throws std::bad_alloc.
  State make_state(index_t context_size) const {
    State state;
    for (const Layer& layer : layers_) {
      state.caches_.push_back(layer.attention.make_state({context_size, context_size, 0, CacheType::f32}));
    }
    return state;
  }

  // Replaces the plan by one row per token: the expert of every layer, with weight 1. The tokens follow those that the
  // state has seen; the bits do not depend on how a text is cut. usage: a token id; limit: positions beyond the
  // context; numeric: a logit, with its token. On an error the state is what it was and the plan has no rows.
  Status plan(std::span<const std::int32_t> token_ids, State& state, RoutingPlan& plan, Context& ctx) const {
    plan.clear(num_experts());
    const Workspace::Mark mark(ctx.workspace);
    const auto tokens = static_cast<index_t>(token_ids.size());
    const Rows z = ctx.workspace.take_rows(tokens, num_experts());
    const index_t before = state.caches_.empty() ? 0 : state.position();
    if (Status status = logits(token_ids, state, z, ctx); !status.ok()) return status;
    Status status = plan.reserve(tokens, tokens);
    for (index_t t = 0; t < tokens && status.ok(); ++t) {
      ExpertId best = 0;
      constexpr float one = 1.0f;
      Backend::top_k(z.row_data(t), num_experts(), 1, &best);
      status = plan.append_row({&best, 1}, {&one, 1});
    }
    if (status.ok()) return status;
    plan.clear(num_experts());
    state.truncate(before);
    return status;
  }
  // The logits (tokens, num_experts) that it chooses by; errors as above.
  Status logits(std::span<const std::int32_t> token_ids, State& state, Rows logits, Context& ctx) const {
    if (state.caches_.size() != layers_.size()) {
      return Status::mismatch("layers of a pre-gate's state", static_cast<std::int64_t>(state.caches_.size()),
                              static_cast<std::int64_t>(layers_.size()));
    }
    const auto tokens = static_cast<std::int64_t>(token_ids.size());
    if (tokens > max_index) return {ErrorCode::limit, "tokens of a pre-gate", tokens, max_index};
    if (logits.rows != tokens) return Status::mismatch("rows of logits against tokens", logits.rows, tokens);
    for (index_t t = 0; t < tokens; ++t) {
      const std::int32_t id = token_ids[as_size(t)];
      if (id >= 0 && id < vocabulary()) continue;
      Status status = Status::mismatch("token id against the vocabulary of a pre-gate", id, vocabulary() - 1);
      status.token = t;
      return status;
    }
    const index_t before = state.position();
    const FloatModes modes;
    Status status = compute(token_ids, state, logits, ctx);
    if (!status.ok()) state.truncate(before);
    return status;
  }

 private:
  struct Layer {
    RmsNorm<Backend> input_norm;
    Attention attention;
    RmsNorm<Backend> post_attention_norm;
    Linear<F32, Backend> first, last;

    static Expected<Layer> create(const PreGateShape& shape, const PreGateLayer& weights,
                                  std::shared_ptr<const Rope> rope) {
      Expected<RmsNorm<Backend>> input_norm = norm_of(weights.input_norm, shape);
      if (!input_norm) return input_norm.error();
      Expected<RmsNorm<Backend>> post_norm = norm_of(weights.post_attention_norm, shape);
      if (!post_norm) return post_norm.error();
      for (const PreGateLinear* linear : {&weights.query, &weights.key, &weights.value, &weights.output}) {
        if (Status status = check(*linear, shape.width, shape.width); !status.ok()) return status;
      }
      Expected<Linear<F32, Backend>> first = linear_of(weights.first, shape.width, shape.width);
      if (!first) return first.error();
      Expected<Linear<F32, Backend>> last = linear_of(weights.last, shape.width, shape.width);
      if (!last) return last.error();
      Expected<Attention> made = Attention::create({.hidden_size = shape.width,
                                                    .num_heads = shape.num_heads,
                                                    .num_kv_heads = shape.num_heads,
                                                    .head_dim = shape.width / shape.num_heads,
                                                    .has_query_bias = true,
                                                    .has_key_bias = true,
                                                    .has_value_bias = true,
                                                    .has_output_bias = true,
                                                    .scale = 1.0f / shape.normalizer},
                                                   std::move(rope));
      if (!made) return made.error();
      Attention attention = std::move(made).value();
      for (index_t r = 0; r < shape.width; ++r) {
        attention.set_query_row(r, weights.query.weight.row_data(r));
        attention.set_key_row(r, weights.key.weight.row_data(r));
        attention.set_value_row(r, weights.value.weight.row_data(r));
        attention.set_output_row(r, weights.output.weight.row_data(r));
      }
      std::copy(weights.query.bias.begin(), weights.query.bias.end(), attention.query_bias().begin());
      std::copy(weights.key.bias.begin(), weights.key.bias.end(), attention.key_bias().begin());
      std::copy(weights.value.bias.begin(), weights.value.bias.end(), attention.value_bias().begin());
      std::copy(weights.output.bias.begin(), weights.output.bias.end(), attention.output_bias().begin());
      return Layer{std::move(input_norm).value(), std::move(attention), std::move(post_norm).value(),
                   std::move(first).value(), std::move(last).value()};
    }
  };

  PreGate(const PreGateShape& shape, ConstRows embedding, std::shared_ptr<const Rope> rope, std::vector<Layer> layers,
          RmsNorm<Backend> out_norm, Linear<F32, Backend> out)
      : shape_(shape),
        rope_(std::move(rope)),
        layers_(std::move(layers)),
        out_norm_(std::move(out_norm)),
        out_(std::move(out)) {
    embedding_.reserve(as_size(embedding.rows) * as_size(embedding.cols));
    for (index_t v = 0; v < embedding.rows; ++v) {
      embedding_.insert(embedding_.end(), embedding.row_data(v), embedding.row_data(v) + embedding.cols);
    }
  }

  static Status check(const PreGateLinear& linear, index_t rows, index_t cols) noexcept {
    if (Status status = check_view(linear.weight); !status.ok()) return status;
    if (linear.weight.rows != rows) return Status::mismatch("rows of a pre-gate's matrix", linear.weight.rows, rows);
    if (linear.weight.cols != cols) return Status::mismatch("columns of a pre-gate's matrix", linear.weight.cols, cols);
    const auto bias = static_cast<std::int64_t>(linear.bias.size());
    return bias == rows ? Status::success() : Status::mismatch("size of a pre-gate's bias", bias, rows);
  }
  static Status check(const PreGateShape& shape, const PreGateWeights& weights) noexcept {
    if (shape.width < 1) return Status::mismatch("width of a pre-gate, at least", shape.width, 1);
    if (shape.num_heads < 1) return Status::mismatch("attention heads, at least", shape.num_heads, 1);
    if (shape.width % shape.num_heads != 0)
      return Status::mismatch("width of a pre-gate left over by its heads", shape.width % shape.num_heads, 0);
    if (shape.num_experts < 1) return Status::mismatch("experts of a router, at least", shape.num_experts, 1);
    if (!(shape.normalizer > 0.0f && std::isfinite(shape.normalizer)))
      return {ErrorCode::usage, "normalizer of a pre-gate is not a positive number"};
    if (shape.activation.kind == ActivationKind::clamped_swiglu)
      return {ErrorCode::usage, "activation of a pre-gate's MLP has no gate"};
    if (weights.layers.empty()) return Status::mismatch("layers of a pre-gate, at least", 0, 1);
    if (Status status = check_view(weights.embedding); !status.ok()) return status;
    if (weights.embedding.rows < 1)
      return Status::mismatch("rows of a pre-gate's embedding, at least", weights.embedding.rows, 1);
    if (weights.embedding.cols != shape.width)
      return Status::mismatch("columns of a pre-gate's embedding", weights.embedding.cols, shape.width);
    return Status::success();
  }
  static Expected<RmsNorm<Backend>> norm_of(std::span<const float> weight, const PreGateShape& shape) {
    const auto size = static_cast<std::int64_t>(weight.size());
    if (size != shape.width) return Status::mismatch("size of a pre-gate's norm", size, shape.width);
    return RmsNorm<Backend>::create({weight.begin(), weight.end()}, shape.norm_epsilon);
  }
  static Expected<Linear<F32, Backend>> linear_of(const PreGateLinear& linear, index_t rows, index_t cols) {
    if (Status status = check(linear, rows, cols); !status.ok()) return status;
    return Linear<F32, Backend>::create(linear.weight, linear.bias);
  }

  Status compute(std::span<const std::int32_t> token_ids, State& state, Rows logits, Context& ctx) const {
    const auto tokens = static_cast<index_t>(token_ids.size());
    const index_t width = shape_.width;
    const Workspace::Mark mark(ctx.workspace);
    const Rows h = ctx.workspace.take_rows(tokens, width);
    const Rows a = ctx.workspace.take_rows(tokens, width);
    const Rows b = ctx.workspace.take_rows(tokens, width);
    const Rows cosines = ctx.workspace.take_rows(tokens, rope_->half());
    const Rows sines = ctx.workspace.take_rows(tokens, rope_->half());
    for (index_t t = 0; t < tokens; ++t) {
      const float* const row = embedding_.data() + std::int64_t{token_ids[as_size(t)]} * width;
      std::copy_n(row, width, h.row_data(t));
    }
    const SequenceRows text{tokens, state.position()};
    rope_->angles(text.first_position, state.context_size(), cosines, sines);
    const auto add = [&](ConstRows x) {
      for (index_t t = 0; t < tokens; ++t) Backend::axpy(1.0f, x.row_data(t), width, h.row_data(t));
    };
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const Layer& layer = layers_[l];
      KvCache* const cache = &state.caches_[l];
      if (Status status = layer.input_norm.forward(h, a, ctx); !status.ok()) return status;
      const MixerInput in{a, {&text, 1}, cosines, sines};
      if (Status status = layer.attention.forward(in, {&cache, 1}, b, ctx); !status.ok()) return status;
      add(b);
      if (Status status = layer.post_attention_norm.forward(h, a, ctx); !status.ok()) return status;
      if (Status status = layer.first.forward(a, b, ctx); !status.ok()) return status;
      for (index_t t = 0; t < tokens; ++t) {
        Backend::activate(shape_.activation, b.row_data(t), width, b.row_data(t));
      }
      if (Status status = layer.last.forward(b, a, ctx); !status.ok()) return status;
      add(a);
    }
    if (Status status = out_norm_.forward(h, a, ctx); !status.ok()) return status;
    if (Status status = out_.forward(a, logits, ctx); !status.ok()) return status;
    for (index_t t = 0; t < tokens; ++t) {
      if (!Backend::all_finite(logits.row_data(t), logits.cols))
        return Status::not_finite("router logit is not finite", -1, t);
    }
    return Status::success();
  }

  PreGateShape shape_;
  std::vector<float> embedding_;  // (vocabulary, width)
  std::shared_ptr<const Rope> rope_;
  std::vector<Layer> layers_;
  RmsNorm<Backend> out_norm_;
  Linear<F32, Backend> out_;  // (num_experts, width)
};

}  // namespace headgate::inline HEADGATE_ABI
