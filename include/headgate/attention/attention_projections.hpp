// AttentionProjections: what the attentions of a decoder have in common: the weights, and all that happens to a row
// before and after it is mixed with others:
//   q, k, v = x W_q^T, x W_k^T, x W_v^T [+ biases];  q, k = rms_norm(q), rms_norm(k) head by head [Qwen3], then
//   rotated; q times head_dim^-0.5, k and v to the cache;    ...    y = o W_o^T [+ bias]
#pragma once

#include <cmath>
#include <vector>

#include "headgate/attention/attention.hpp"
#include "headgate/attention/kv_cache.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"

namespace headgate::inline HEADGATE_ABI {

struct AttentionShape {
  index_t hidden_size = 0;
  index_t num_heads = 0;
  index_t num_kv_heads = 0;
  index_t head_dim = 0;
  bool has_bias = false;  // of all four projections
  bool qk_norm = false;   // RMSNorm of each head's query and key
  float norm_epsilon = 1e-6f;

  constexpr index_t query_size() const noexcept { return num_heads * head_dim; }
  constexpr index_t kv_size() const noexcept { return num_kv_heads * head_dim; }

  Status check() const noexcept {
    constexpr index_t max_size = index_t{1} << 20;
    if (hidden_size < 1) return Status::mismatch("hidden_size, at least", hidden_size, 1);
    if (num_heads < 1) return Status::mismatch("attention heads, at least", num_heads, 1);
    if (num_kv_heads < 1) return Status::mismatch("KV heads, at least", num_kv_heads, 1);
    if (num_heads % num_kv_heads != 0)
      return Status::mismatch("attention heads left over by KV heads", num_heads % num_kv_heads, 0);
    if (head_dim < 2 || head_dim % 2 != 0) return Status::mismatch("head_dim, even and at least", head_dim, 2);
    const std::int64_t all = std::int64_t{num_heads} * head_dim;
    if (hidden_size > max_size) return Status::mismatch("hidden_size", hidden_size, max_size);
    if (all > max_size) return Status::mismatch("attention heads times head_dim", all, max_size);
    return Status::success();
  }
};

template <WeightFormat Format = F32, class Backend = NativeBackend>
class AttentionProjections {
 public:
  // Preconditions: the row exists; values has hidden_size elements, in set_output_row num_heads * head_dim.
  void set_query_row(index_t row, const float* values) noexcept { qkv_.set_row(row, values); }
  void set_key_row(index_t row, const float* values) noexcept { qkv_.set_row(shape_.query_size() + row, values); }
  void set_value_row(index_t row, const float* values) noexcept {
    qkv_.set_row(shape_.query_size() + shape_.kv_size() + row, values);
  }
  void set_output_row(index_t row, const float* values) noexcept { output_.set_row(row, values); }
  // To be filled: query, key and value biases in this order; empty without has_bias.
  std::span<float> qkv_bias() noexcept { return qkv_bias_; }
  std::span<float> output_bias() noexcept { return output_bias_; }
  // To be filled: (head_dim); empty without qk_norm.
  std::span<float> query_norm() noexcept { return query_norm_; }
  std::span<float> key_norm() noexcept { return key_norm_; }

  const AttentionShape& shape() const noexcept { return shape_; }
  index_t hidden_size() const noexcept { return shape_.hidden_size; }
  std::int64_t weight_bytes() const noexcept {
    const std::size_t floats = qkv_bias_.size() + output_bias_.size() + query_norm_.size() + key_norm_.size();
    return qkv_.bytes() + output_.bytes() + static_cast<std::int64_t>(floats * sizeof(float));
  }

 protected:
  // All weights zero, norms one. Precondition: shape.check() is a success. Throws std::bad_alloc.
  explicit AttentionProjections(const AttentionShape& shape)
      : shape_(shape),
        qkv_(shape.query_size() + 2 * shape.kv_size(), shape.hidden_size),
        output_(shape.hidden_size, shape.query_size()),
        qkv_bias_(shape.has_bias ? as_size(qkv_.rows()) : 0),
        output_bias_(shape.has_bias ? as_size(shape.hidden_size) : 0),
        query_norm_(shape.qk_norm ? as_size(shape.head_dim) : 0, 1.0f),
        key_norm_(query_norm_) {}

  Status check_input(const AttentionInput& in, Rows y, index_t context_size) const noexcept {
    const std::int64_t queries = std::int64_t{in.hidden.rows} * shape_.num_heads;
    if (queries > max_index) return {ErrorCode::limit, "queries of all heads", queries, max_index};
    return check_attention(in, y, shape_.hidden_size, shape_.head_dim / 2, context_size);
  }

  // queries (tokens, query_size) are written; keys and values of these positions are stored.
  void project(const AttentionInput& in, Rows queries, KvCache& cache, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const Rows qkv = ctx.workspace.take_rows(in.hidden.rows, qkv_.rows());
    product<Backend>(qkv_.view(), in.hidden, qkv, ctx);
    prepare(in, qkv, queries, cache, ctx);
  }
  // y (tokens, hidden_size) from the mixed values (tokens, query_size).
  void finish(ConstRows mixed, Rows y, Context& ctx) const {
    product<Backend>(output_.view(), mixed, y, ctx);
    add_bias(output_bias_, y);
  }
  // The status of an attention whose threads found rows with a score that is not finite: `tokens` where there is none.
  static Status check_scores(std::span<const index_t> first_bad, index_t tokens) noexcept {
    index_t bad = tokens;
    for (const index_t row : first_bad) bad = row < bad ? row : bad;
    return bad == tokens ? Status::success() : Status::not_finite("attention score is not finite", -1, bad);
  }

 private:
  static void add_bias(std::span<const float> bias, Rows y) noexcept {
    if (bias.empty()) return;
    for (index_t t = 0; t < y.rows; ++t) Backend::axpy(1.0f, bias.data(), y.cols, y.row_data(t));
  }

  // Biases, norms and rotation: keys and values go to the cache, queries, scaled, to their rows.
  void prepare(const AttentionInput& in, Rows qkv, Rows queries, KvCache& cache, Context& ctx) const {
    const index_t n = ctx.slices(qkv.rows);
    ctx.parallel(n, [&](index_t i) {
      const Slice rows = Slice::of(qkv.rows, n, i);
      add_bias(qkv_bias_, qkv.middle_rows(rows.first, rows.last - rows.first));
      for (index_t t = rows.first; t < rows.last; ++t) prepare_row(in, t, qkv.row_data(t), queries.row_data(t), cache);
    });
  }
  void prepare_row(const AttentionInput& in, index_t t, float* qkv, float* query, KvCache& cache) const noexcept {
    const index_t d = shape_.head_dim;
    const float scale = 1.0f / std::sqrt(static_cast<float>(d));
    const auto norm_and_turn = [&](const float* head, const std::vector<float>& norm, float* out) {
      if (norm.empty()) {
        std::memcpy(out, head, as_size(d) * sizeof(float));
      } else {
        Backend::rms_norm(head, norm.data(), shape_.norm_epsilon, d, out);
      }
      Backend::rope(out, in.cosines.row_data(t), in.sines.row_data(t), d / 2);
    };
    for (index_t h = 0; h < shape_.num_heads; ++h) {
      float* const out = query + h * d;
      norm_and_turn(qkv + h * d, query_norm_, out);
      for (index_t i = 0; i < d; ++i) out[i] *= scale;
    }
    float* const keys = qkv + shape_.query_size();
    const float* const values = keys + shape_.kv_size();
    for (index_t h = 0; h < shape_.num_kv_heads; ++h) {
      float* const turned = qkv + h * d;  // the query that stood here has been read
      norm_and_turn(keys + h * d, key_norm_, turned);
      cache.store(in.first_position + t, h, turned, values + h * d);
    }
  }

  AttentionShape shape_;
  Panel16<Format> qkv_;     // (query_size + 2 kv_size, hidden_size): queries, keys, values
  Panel16<Format> output_;  // (hidden_size, query_size)
  std::vector<float> qkv_bias_;
  std::vector<float> output_bias_;
  std::vector<float> query_norm_;
  std::vector<float> key_norm_;
};

}  // namespace headgate::inline HEADGATE_ABI
