// GroupedQueryAttention (Ainslie et al. 2023, "GQA"), causal. Query head h of a row reads the KV head
// h / (heads / kv_heads):
//   q, k, v = x W_q^T, x W_k^T, x W_v^T [+ biases];  q, k = rms_norm(q), rms_norm(k) head by head [Qwen3], then rotated
//   o_t = sum over s <= t of softmax_s(q_t . k_s / sqrt(head_dim)) v_s;   y = o W_o^T [+ bias]
//
// Queries that share a KV head are stacked to tiles, whatever token they belong to; every score is one chain of
// multiply-adds (kernels/kernel_backend.hpp), softmax and weighted sum run over positions 0 to t. So neither the tiles
// nor the threads can change a bit.
#pragma once

#include "headgate/attention/attention_projections.hpp"
#include "headgate/kernels/native.hpp"

namespace headgate::inline HEADGATE_ABI {

template <WeightFormat Format = F32, class Backend = NativeBackend>
class GroupedQueryAttention : public AttentionProjections<Format, Backend> {
  using Base = AttentionProjections<Format, Backend>;

 public:
  using Cache = KvCache;
  using Base::hidden_size;
  using Base::shape;

  // All weights zero (norms one), to be filled row by row while a checkpoint streams by. Throws std::bad_alloc.
  static Expected<GroupedQueryAttention> create(const AttentionShape& sizes) {
    if (Status status = sizes.check(); !status.ok()) return status;
    return GroupedQueryAttention(sizes, Checked{});
  }
  explicit GroupedQueryAttention(const AttentionShape& sizes)
    requires has_exceptions
      : GroupedQueryAttention(create(sizes).value()) {}

  KvCache make_cache(index_t context_size) const { return {context_size, shape().num_kv_heads, shape().head_dim}; }

  Status forward(const AttentionInput& in, KvCache& cache, Rows y, Context& ctx) const {
    if (Status status = Base::check_input(in, y, cache.context_size()); !status.ok()) return status;
    const Workspace::Mark mark(ctx.workspace);
    const Rows queries = ctx.workspace.take_rows(in.hidden.rows, shape().query_size());
    const Rows mixed = ctx.workspace.take_rows(in.hidden.rows, shape().query_size());
    Base::project(in, queries, cache, ctx);
    if (Status status = attend(queries, in.first_position, cache, mixed, ctx); !status.ok()) return status;
    Base::finish(mixed, y, ctx);
    return Status::success();
  }

 private:
  struct Checked {};
  GroupedQueryAttention(const AttentionShape& sizes, Checked) : Base(sizes) {}

  // Tiles of queries of one KV head are the units of work; the threads take them in turn, because later ones are
  // longer. A score that is not finite is an error, because softmax would make a weight of it: 0, as if it were masked.
  Status attend(ConstRows queries, index_t first_position, const KvCache& cache, Rows mixed, Context& ctx) const {
    const index_t group = shape().num_heads / shape().num_kv_heads;
    const TileCut cut{queries.rows * group, F32Tile::max_rows};
    const index_t units = cut.count() * shape().num_kv_heads;
    const index_t n = ctx.slices(units);
    const index_t padded = divide_up(first_position + queries.rows, panel_rows) * panel_rows;
    const std::int64_t scratch = std::int64_t{F32Tile::max_rows} * (padded + shape().head_dim);
    float* const all_scratch = ctx.workspace.take<float>(n * scratch).data();
    const std::span<index_t> first_bad = ctx.workspace.take<index_t>(n);
    ctx.parallel(n, [&](index_t i) {
      float* const tile = all_scratch + i * scratch;
      float* const scores = tile + F32Tile::max_rows * shape().head_dim;
      first_bad[as_size(i)] = queries.rows;
      for (index_t unit = i; unit < units; unit += n) {
        const index_t kv_head = unit % shape().num_kv_heads;
        const index_t bad = attend_tile(queries, first_position, cache, kv_head, cut.tile(unit / shape().num_kv_heads),
                                        tile, scores, mixed);
        if (bad < first_bad[as_size(i)]) first_bad[as_size(i)] = bad;
      }
    });
    return Base::check_scores(first_bad, queries.rows);
  }
  // Query j of a KV head is head j % group of the group, of row j / group. Returns the first row with a score that is
  // not finite, or the number of rows.
  index_t attend_tile(ConstRows queries, index_t first_position, const KvCache& cache, index_t kv_head,
                      Slice tile_queries, float* tile, float* scores, Rows mixed) const noexcept {
    const index_t group = shape().num_heads / shape().num_kv_heads;
    const index_t d = shape().head_dim;
    const auto column = [&](index_t j) { return (kv_head * group + j % group) * d; };
    const index_t m = tile_queries.last - tile_queries.first;
    const float* rows[as_size(F32Tile::max_rows)];
    for (index_t r = 0; r < m; ++r) {
      const index_t j = tile_queries.first + r;
      rows[r] = queries.row_data(j / group) + column(j);
    }
    Backend::make_tile(F32Tile{}, rows, m, d, tile);

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
};

}  // namespace headgate::inline HEADGATE_ABI
