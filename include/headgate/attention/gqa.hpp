// GroupedQueryAttention (Ainslie et al. 2023, "GQA"), causal: query head h of row t reads the KV head h / (heads /
// kv_heads):
//   q, k, v = x W_q^T, x W_k^T, x W_v^T [+ biases];  q, k = rms_norm(q), rms_norm(k) head by head [Qwen3], then rotated
//   o_t = sum over s <= t of softmax_s(q_t . k_s / sqrt(head_dim)) v_s;   y = o W_o^T [+ bias]
//
// Queries that share a KV head are stacked to tiles, whatever token they belong to; every score is one chain of
// multiply-adds (kernels/kernel_backend.hpp), softmax and weighted sum run over positions 0 to t. So neither the tiles
// nor the threads can change a bit.
#pragma once

#include <cmath>
#include <vector>

#include "headgate/attention/attention.hpp"
#include "headgate/attention/kv_cache.hpp"
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
class GroupedQueryAttention {
 public:
  using Cache = KvCache;

  // All weights zero (norms one), to be filled row by row while a checkpoint streams by. Throws std::bad_alloc.
  static Expected<GroupedQueryAttention> create(const AttentionShape& shape) {
    if (Status status = shape.check(); !status.ok()) return status;
    return GroupedQueryAttention(shape, Checked{});
  }
  explicit GroupedQueryAttention(const AttentionShape& shape) requires has_exceptions
      : GroupedQueryAttention(create(shape).value()) {}

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
  KvCache make_cache(index_t context_size) const { return {context_size, shape_.num_kv_heads, shape_.head_dim}; }

  Status forward(const AttentionInput& in, KvCache& cache, Rows y, Context& ctx) const {
    if (Status status = check_attention(in, y, hidden_size(), shape_.head_dim / 2, cache.context_size());
        !status.ok()) {
      return status;
    }
    const Workspace::Mark mark(ctx.workspace);
    const Rows qkv = take_rows(in.hidden.rows, qkv_.rows(), ctx);
    const Rows queries = take_rows(in.hidden.rows, shape_.query_size(), ctx);
    const Rows mixed = take_rows(in.hidden.rows, shape_.query_size(), ctx);
    product<Backend>(qkv_.view(), in.hidden, qkv, ctx);
    prepare(in, qkv, queries, cache, ctx);
    if (Status status = attend(queries, in.first_position, cache, mixed, ctx); !status.ok()) return status;
    product<Backend>(output_.view(), ConstRows(mixed), y, ctx);
    add_bias(output_bias_, y);
    return Status::success();
  }

 private:
  struct Checked {};
  GroupedQueryAttention(const AttentionShape& shape, Checked)
      : shape_(shape),
        qkv_(shape.query_size() + 2 * shape.kv_size(), shape.hidden_size),
        output_(shape.hidden_size, shape.query_size()),
        qkv_bias_(shape.has_bias ? at(qkv_.rows()) : 0),
        output_bias_(shape.has_bias ? at(shape.hidden_size) : 0),
        query_norm_(shape.qk_norm ? at(shape.head_dim) : 0, 1.0f),
        key_norm_(query_norm_) {}

  static Rows take_rows(index_t rows, index_t cols, Context& ctx) {
    return {ctx.workspace.take<float>(std::int64_t{rows} * cols).data(), rows, cols};
  }
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
        std::memcpy(out, head, at(d) * sizeof(float));
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

  // Tiles of queries of one KV head are the units of work; the threads take them in turn, because later ones are
  // longer. A score that is not finite is an error, because softmax would make a weight of it: 0, as if it were masked.
  Status attend(ConstRows queries, index_t first_position, const KvCache& cache, Rows mixed, Context& ctx) const {
    const index_t group = shape_.num_heads / shape_.num_kv_heads;
    const TileCut cut{queries.rows * group};
    const index_t units = cut.count() * shape_.num_kv_heads;
    const index_t n = ctx.slices(units);
    const index_t padded = divide_up(first_position + queries.rows, panel_rows) * panel_rows;
    const std::int64_t scratch = std::int64_t{max_tile_rows} * (padded + shape_.head_dim);
    float* const all_scratch = ctx.workspace.take<float>(n * scratch).data();
    const std::span<index_t> first_bad = ctx.workspace.take<index_t>(n);
    ctx.parallel(n, [&](index_t i) {
      float* const tile = all_scratch + i * scratch;
      float* const scores = tile + max_tile_rows * shape_.head_dim;
      first_bad[at(i)] = queries.rows;
      for (index_t unit = i; unit < units; unit += n) {
        const index_t kv_head = unit % shape_.num_kv_heads;
        const index_t bad = attend_tile(queries, first_position, cache, kv_head, cut.tile(unit / shape_.num_kv_heads),
                                        tile, scores, mixed);
        if (bad < first_bad[at(i)]) first_bad[at(i)] = bad;
      }
    });
    index_t bad = queries.rows;
    for (const index_t row : first_bad) bad = row < bad ? row : bad;
    return bad == queries.rows ? Status::success() : Status::not_finite("attention score is not finite", -1, bad);
  }
  // Query j of a KV head is head j % group of the group, of row j / group. Returns the first row with a score that is
  // not finite, or the number of rows.
  index_t attend_tile(ConstRows queries, index_t first_position, const KvCache& cache, index_t kv_head,
                      Slice tile_queries, float* tile, float* scores, Rows mixed) const noexcept {
    const index_t group = shape_.num_heads / shape_.num_kv_heads;
    const index_t d = shape_.head_dim;
    const auto column = [&](index_t j) { return (kv_head * group + j % group) * d; };
    const index_t m = tile_queries.last - tile_queries.first;
    const float* rows[max_tile_rows];
    for (index_t r = 0; r < m; ++r) {
      const index_t j = tile_queries.first + r;
      rows[r] = queries.row_data(j / group) + column(j);
    }
    Backend::make_tile(rows, m, d, tile);

    const PanelView<F32> keys = cache.keys(kv_head);
    const index_t panels = (first_position + (tile_queries.last - 1) / group) / panel_rows + 1;
    const index_t stride = panels * panel_rows;
    Backend::multiply(F32{}, keys.data, d, panels, tile, m, scores, stride);
    index_t bad = queries.rows;
    for (index_t r = 0; r < m; ++r) {
      const index_t j = tile_queries.first + r;
      const index_t positions = first_position + j / group + 1;
      float* const weights = scores + std::int64_t{r} * stride;
      if (bad == queries.rows && !Backend::all_finite(weights, positions)) bad = j / group;
      Backend::softmax(weights, positions);
      Backend::weighted_sum(weights, positions, cache.values(kv_head).data, d, d,
                            mixed.row_data(j / group) + column(j));
    }
    return bad;
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
