// AttentionProjections: what the attentions of a decoder have in common: the weights, and all that happens to a row
// before and after it is mixed with others:
//   q, k, v = x W_q^T, x W_k^T, x W_v^T [+ biases];  q, k = rms_norm(q), rms_norm(k), each head [Qwen3] or whole
//   [OLMoE]; q, k, v clamped [OLMoE];  the first 2 half channels of every head of q and k rotated [RoPE]; q times
//   scale, k and v to the cache;    ...    y = o W_o^T [+ bias]
// Beside each of the four matrices may stand something that adds to it (added_projection.hpp), before the bias.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "headgate/attention/added_projection.hpp"
#include "headgate/attention/gqa_shape.hpp"
#include "headgate/attention/rope.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"

namespace headgate::inline HEADGATE_ABI {

// Of each matrix; and where it lies in panels that somebody else owns and keeps (null: it is to be filled).
template <WeightFormat Format>
struct AttentionFormats {
  [[no_unique_address]] Format query;
  [[no_unique_address]] Format key;
  [[no_unique_address]] Format value;
  [[no_unique_address]] Format output;
  const std::byte* query_panels = nullptr;
  const std::byte* key_panels = nullptr;
  const std::byte* value_panels = nullptr;
  const std::byte* output_panels = nullptr;
};

template <WeightFormat Format = F32, class Backend = NativeBackend>
class AttentionProjections {
 public:
  // Preconditions: the row exists; values has hidden_size elements, in set_output_row num_heads * head_dim.
  void set_query_row(index_t row, WeightRow values) noexcept { qkv_.set_row(0, row, values); }
  void set_key_row(index_t row, WeightRow values) noexcept { qkv_.set_row(1, row, values); }
  void set_value_row(index_t row, WeightRow values) noexcept { qkv_.set_row(2, row, values); }
  void set_output_row(index_t row, WeightRow values) noexcept { output_.set_row(row, values); }
  // To be filled; empty where the shape has none.
  std::span<float> query_bias() noexcept { return query_bias_; }    // (num_heads * head_dim)
  std::span<float> key_bias() noexcept { return key_bias_; }        // (num_kv_heads * head_dim)
  std::span<float> value_bias() noexcept { return value_bias_; }    // (num_kv_heads * head_dim)
  std::span<float> output_bias() noexcept { return output_bias_; }  // (hidden_size)
  std::span<float> query_norm() noexcept { return query_norm_; }    // (head_dim), or as the bias
  std::span<float> key_norm() noexcept { return key_norm_; }        // (head_dim), or as the bias
  std::span<float> sinks() noexcept { return sinks_; }              // (num_heads)

  // Puts something beside a projection, or takes it away (null). Rows of query and key are in the order of this
  // attention, halves of rotary pairs apart, as those of the weights. usage: its widths are not the projection's.
  Status set_added(AttentionProjection projection, std::shared_ptr<const AddedProjection> added) {
    const bool is_output = projection == AttentionProjection::output;
    const index_t width =
        projection == AttentionProjection::query || is_output ? shape_.query_size() : shape_.kv_size();
    if (added != nullptr) {
      const index_t in = is_output ? width : shape_.hidden_size;
      const index_t out = is_output ? shape_.hidden_size : width;
      if (added->in_size() != in) return Status::mismatch("in_size of an added projection", added->in_size(), in);
      if (added->out_size() != out) return Status::mismatch("out_size of an added projection", added->out_size(), out);
    }
    added_[static_cast<std::size_t>(projection)] = std::move(added);
    return Status::success();
  }

  const GqaShape& shape() const noexcept { return shape_; }
  index_t hidden_size() const noexcept { return shape_.hidden_size; }
  const Rope* rope() const noexcept { return rope_.get(); }
  std::int64_t weight_bytes() const noexcept {
    std::size_t floats = 0;
    for (const auto* values :
         {&query_bias_, &key_bias_, &value_bias_, &output_bias_, &query_norm_, &key_norm_, &sinks_}) {
      floats += values->size();
    }
    return qkv_.bytes() + output_.bytes() + static_cast<std::int64_t>(floats * sizeof(float));
  }

 protected:
  // A shape that is not possible, or a rope that turns more than a head.
  static Status check(const GqaShape& shape, const Rope* rope) noexcept {
    if (Status status = shape.check(); !status.ok()) return status;
    if (rope != nullptr && rope->half() > shape.head_dim / 2)
      return Status::mismatch("half of the rotary width against half of head_dim", rope->half(), shape.head_dim / 2);
    return Status::success();
  }
  // All weights zero, norms one. Precondition: check is a success. Throws std::bad_alloc.
  AttentionProjections(const GqaShape& shape, std::shared_ptr<const Rope> rope, const AttentionFormats<Format>& formats)
      : shape_(shape),
        rope_(std::move(rope)),
        qkv_(shape.hidden_size, {{shape.query_size(), formats.query, formats.query_panels},
                                 {shape.kv_size(), formats.key, formats.key_panels},
                                 {shape.kv_size(), formats.value, formats.value_panels}}),
        output_(Panel16<Format>::filled_or_seen(shape.hidden_size, shape.query_size(), formats.output,
                                                formats.output_panels)),
        query_bias_(shape.has_query_bias ? as_size(shape.query_size()) : 0),
        key_bias_(shape.has_key_bias ? as_size(shape.kv_size()) : 0),
        value_bias_(shape.has_value_bias ? as_size(shape.kv_size()) : 0),
        output_bias_(shape.has_output_bias ? as_size(shape.hidden_size) : 0),
        query_norm_(norm_size(shape, shape.query_size()), 1.0f),
        key_norm_(norm_size(shape, shape.kv_size()), 1.0f),
        sinks_(shape.has_sinks ? as_size(shape.num_heads) : 0) {}

  template <class State>
  Status check_input(const MixerInput& in, std::span<State* const> states, Rows y) const noexcept {
    const std::int64_t queries = std::int64_t{in.hidden.rows} * shape_.num_heads;
    if (queries > max_index) return {ErrorCode::limit, "queries of all heads", queries, max_index};
    return check_mixer(in, states, y, shape_.hidden_size, rope_ ? rope_->half() : 0);
  }

  // queries (rows, query_size) are written; keys and values are stored, but not yet appended.
  template <class State>
  Status project(const MixerInput& in, std::span<State* const> states, Rows queries, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const Rows keys = ctx.workspace.take_rows(in.hidden.rows, shape_.kv_size());
    const Rows values = ctx.workspace.take_rows(in.hidden.rows, shape_.kv_size());
    const Factor<Format> factors[] = {{qkv_.view(0), queries}, {qkv_.view(1), keys}, {qkv_.view(2), values}};
    products<Backend>(std::span<const Factor<Format>>(factors), in.hidden, ctx);
    for (const auto& [projection, rows] :
         {std::pair(AttentionProjection::query, queries), std::pair(AttentionProjection::key, keys),
          std::pair(AttentionProjection::value, values)}) {
      if (Status status = add(projection, in.hidden, rows, ctx); !status.ok()) return status;
    }
    for (std::size_t s = 0; s < states.size(); ++s) states[s]->reserve(in.sequences[s].rows);
    const index_t n = ctx.slices(in.hidden.rows);
    ctx.parallel(n, [&](index_t i) {
      const Slice rows = Slice::of(in.hidden.rows, n, i);
      SequenceCursor text{in.sequences};
      for (index_t t = rows.first; t < rows.last; ++t) {
        text.seek(t);
        prepare(in, t, queries.row_data(t), query_bias_, query_norm_, shape_.num_heads);
        prepare(in, t, keys.row_data(t), key_bias_, key_norm_, shape_.num_kv_heads);
        add_and_clip(value_bias_, values.row(t));
        for (float& q : queries.row(t)) q *= shape_.scale;
        for (index_t h = 0; h < shape_.num_kv_heads; ++h) {
          const index_t first = h * shape_.head_dim;
          states[text.index]->store(text.position(t), h, keys.row_data(t) + first, values.row_data(t) + first);
        }
      }
    });
    return Status::success();
  }
  // y (rows, hidden_size) from the mixed values (rows, query_size).
  Status finish(ConstRows mixed, Rows y, Context& ctx) const {
    product<Backend>(output_.view(), mixed, y, ctx);
    if (Status status = add(AttentionProjection::output, mixed, y, ctx); !status.ok()) return status;
    if (output_bias_.empty()) return Status::success();
    for (index_t t = 0; t < y.rows; ++t) Backend::axpy(1.0f, output_bias_.data(), y.cols, y.row_data(t));
    return Status::success();
  }
  // Null without sinks.
  const float* sink_logits() const noexcept { return sinks_.empty() ? nullptr : sinks_.data(); }

  // The status of an attention whose threads found rows with a score that is not finite: `rows` where there is none.
  static Status check_scores(std::span<const index_t> first_bad, index_t rows) noexcept {
    index_t bad = rows;
    for (const index_t row : first_bad) bad = row < bad ? row : bad;
    return bad == rows ? Status::success() : Status::not_finite("attention score is not finite", -1, bad);
  }

 private:
  Status add(AttentionProjection projection, ConstRows x, Rows y, Context& ctx) const {
    const auto& added = added_[static_cast<std::size_t>(projection)];
    return added == nullptr ? Status::success() : added->add(x, y, ctx);
  }
  static std::size_t norm_size(const GqaShape& shape, index_t all_heads) noexcept {
    if (shape.qk_norm == QkNorm::none) return 0;
    return as_size(shape.qk_norm == QkNorm::full ? all_heads : shape.head_dim);
  }
  void clamp(std::span<float> x) const noexcept {
    if (!(shape_.clip > 0.0f)) return;
    for (float& value : x) value = std::clamp(value, -shape_.clip, shape_.clip);  // NaN stays what it is
  }
  void add_and_clip(const std::vector<float>& bias, std::span<float> x) const noexcept {
    if (!bias.empty()) Backend::axpy(1.0f, bias.data(), static_cast<index_t>(bias.size()), x.data());
    clamp(x);
  }
  // Bias, norm, clamping and rotation of all heads of a query or key.
  void prepare(const MixerInput& in, index_t t, float* x, const std::vector<float>& bias,
               const std::vector<float>& norm, index_t heads) const noexcept {
    const index_t d = shape_.head_dim;
    const index_t size = heads * d;
    if (!bias.empty()) Backend::axpy(1.0f, bias.data(), size, x);
    const index_t normed = static_cast<index_t>(norm.size());  // channels at a time
    for (index_t i = 0; normed > 0 && i < size; i += normed) {
      Backend::rms_norm(x + i, norm.data(), shape_.norm_epsilon, normed, x + i);
    }
    clamp({x, as_size(size)});
    if (!rope_) return;
    for (index_t i = 0; i < size; i += d)
      Backend::rope(x + i, in.cosines.row_data(t), in.sines.row_data(t), rope_->half());
  }

  GqaShape shape_;
  std::shared_ptr<const Rope> rope_;  // null: no rotary positions
  PanelStack<Format, 3> qkv_;         // (query_size, hidden_size), twice (kv_size, hidden_size)
  Panel16<Format> output_;            // (hidden_size, query_size)
  std::vector<float> query_bias_, key_bias_, value_bias_, output_bias_;
  std::vector<float> query_norm_, key_norm_;
  std::vector<float> sinks_;
  std::array<std::shared_ptr<const AddedProjection>, 4> added_;  // null: nothing
};

}  // namespace headgate::inline HEADGATE_ABI
