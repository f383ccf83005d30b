// GroupedQueryAttention (Ainslie et al. 2023, "GQA"), causal. Query head h of a row reads the KV head
// h / (heads / kv_heads):
//   q, k, v = the row's projections (attention_projections.hpp)
//   o_t = sum over s of w_s v_s,  w_s = exp(q_t . k_s) / (exp(sink_h) + sum over s of exp(q_t . k_s)),  y = o W_o^T [+
//   b]
// where s runs over the positions up to t, of which a window reads the last t - window < s <= t (Beltagy et al. 2020,
// "Longformer"); the sink, a learned logit of the head, stands in the sum with sinks alone (gpt-oss).
//
// Queries that share a KV head are stacked to tiles, whatever row of a text they belong to; every score is one chain of
// multiply-adds (kernels/kernel_backend.hpp), softmax and weighted sum run over the positions that the row reads. So
// neither the tiles nor the threads, nor where a window's cache begins, can change a bit.
#pragma once

#include "headgate/attention/attention_projections.hpp"
#include "headgate/kernels/native.hpp"

namespace headgate::inline HEADGATE_ABI {

template <WeightFormat Format = F32, class Backend = NativeBackend>
class GroupedQueryAttention : public AttentionProjections<Format, Backend> {
  using Base = AttentionProjections<Format, Backend>;

 public:
  using State = KvCache;
  using Base::hidden_size;
  using Base::shape;

  // All weights zero (norms one), to be filled row by row while a checkpoint streams by. rope: turns the first
  // 2 half() channels of a head; null: no positions. Throws std::bad_alloc.
  static Expected<GroupedQueryAttention> create(const GqaShape& sizes, std::shared_ptr<const Rope> rope,
                                                const AttentionFormats<Format>& formats = {}) {
    if (Status status = Base::check(sizes, rope.get()); !status.ok()) return status;
    return GroupedQueryAttention(sizes, std::move(rope), formats, Checked{});
  }
  GroupedQueryAttention(const GqaShape& sizes, std::shared_ptr<const Rope> rope,
                        const AttentionFormats<Format>& formats = {})
    requires has_exceptions
      : GroupedQueryAttention(create(sizes, std::move(rope), formats).value()) {}

  KvCache make_state(const StateSize& size) const {
    return {size, shape().num_kv_heads, shape().head_dim, shape().window};
  }

  Status forward(const MixerInput& in, std::span<KvCache* const> states, Rows y, Context& ctx) const {
    if (Status status = Base::check_input(in, states, y); !status.ok()) return status;
    for (const KvCache* const state : states) {
      if (state->num_kv_heads() != shape().num_kv_heads || state->head_dim() != shape().head_dim ||
          state->window() != shape().window)
        return {ErrorCode::usage, "the state was made by an attention of another shape"};
    }
    const Workspace::Mark mark(ctx.workspace);
    const Rows queries = ctx.workspace.take_rows(in.hidden.rows, shape().query_size());
    const Rows mixed = ctx.workspace.take_rows(in.hidden.rows, shape().query_size());
    Base::project(in, states, queries, ctx);
    for (std::size_t s = 0; s < states.size(); ++s) states[s]->append(in.sequences[s].rows);
    if (Status status = attend(in.sequences, states, queries, mixed, ctx); !status.ok()) return status;
    Base::finish(mixed, y, ctx);
    return Status::success();
  }

 private:
  struct Checked {};
  GroupedQueryAttention(const GqaShape& sizes, std::shared_ptr<const Rope> rope,
                        const AttentionFormats<Format>& formats, Checked)
      : Base(sizes, std::move(rope), formats) {}

  // Where a text begins among the rows of the pass and among the units of work.
  struct Text {
    index_t first_row;
    index_t first_unit;
  };
  // Tiles of queries of one KV head are the units of work; the threads take them in turn, because later ones are
  // longer. A score that is not finite is an error, because softmax would make a weight of it: 0, as if it were masked.
  Status attend(std::span<const SequenceRows> sequences, std::span<KvCache* const> states, ConstRows queries,
                Rows mixed, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const std::span<Text> texts = ctx.workspace.take<Text>(static_cast<std::int64_t>(sequences.size()));
    Text end{0, 0};
    index_t longest = 0;
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      texts[s] = end;
      end.first_row += sequences[s].rows;
      end.first_unit += TileCut{sequences[s].rows * shape().group(), F32Tile::max_rows}.count() * shape().num_kv_heads;
      longest = std::max(longest, sequences[s].first_position + sequences[s].rows);
    }
    const index_t units = end.first_unit;
    const index_t n = ctx.slices(units);
    const std::int64_t scratch = shape().attend_floats(shape().score_stride(longest));
    float* const all_scratch = ctx.workspace.take<float>(n * scratch).data();
    const std::span<index_t> first_bad = ctx.workspace.take<index_t>(n);
    ctx.parallel(n, [&](index_t i) {
      float* const tile = all_scratch + i * scratch;
      first_bad[as_size(i)] = queries.rows;
      std::size_t s = 0;
      for (index_t unit = i; unit < units; unit += n) {
        while (s + 1 < texts.size() && unit >= texts[s + 1].first_unit) ++s;
        const index_t own = unit - texts[s].first_unit;
        const TileCut cut{sequences[s].rows * shape().group(), F32Tile::max_rows};
        const index_t bad =
            attend_tile(queries.middle_rows(texts[s].first_row, sequences[s].rows), sequences[s].first_position,
                        *states[s], own % shape().num_kv_heads, cut.tile(own / shape().num_kv_heads), tile,
                        mixed.middle_rows(texts[s].first_row, sequences[s].rows));
        if (bad < sequences[s].rows) first_bad[as_size(i)] = std::min(first_bad[as_size(i)], texts[s].first_row + bad);
      }
    });
    return Base::check_scores(first_bad, queries.rows);
  }
  // Query j of a KV head is head j % group of the group, of row j / group of the text. Returns the first row with a
  // score that is not finite, or the number of rows.
  index_t attend_tile(ConstRows queries, index_t first_position, const KvCache& cache, index_t kv_head,
                      Slice tile_queries, float* tile, Rows mixed) const noexcept {
    const index_t group = shape().group();
    const index_t d = shape().head_dim;
    const auto head = [&](index_t j) { return kv_head * group + j % group; };
    const auto first_read = [&](index_t position) {
      return shape().window == 0 ? 0 : std::max(position - shape().window + 1, 0);
    };
    const index_t m = tile_queries.last - tile_queries.first;
    const float* rows[as_size(F32Tile::max_rows)];
    for (index_t r = 0; r < m; ++r) {
      const index_t j = tile_queries.first + r;
      rows[r] = queries.row_data(j / group) + head(j) * d;
    }
    Backend::make_tile(F32Tile{}, rows, m, d, tile);

    // Whole panels of the positions that the tile reads; rows of the cache count from its origin.
    const PanelView<F32> keys = cache.keys(kv_head);
    const index_t first_panel = (first_read(first_position + tile_queries.first / group) - cache.origin()) / panel_rows;
    const index_t end_panel = (first_position + (tile_queries.last - 1) / group - cache.origin()) / panel_rows + 1;
    const float* const sinks = Base::sink_logits();
    const index_t stride = (end_panel - first_panel + (sinks == nullptr ? 0 : 1)) * panel_rows;
    float* const scores = tile + std::int64_t{F32Tile::max_rows} * d;
    Backend::multiply(F32{}, keys.panel(first_panel), d, end_panel - first_panel, tile, m, scores, stride);
    index_t bad = queries.rows;
    for (index_t r = 0; r < m; ++r) {
      const index_t j = tile_queries.first + r;
      const index_t position = first_position + j / group;
      const index_t count = position - first_read(position) + 1;
      const index_t first_row = first_read(position) - cache.origin();
      float* const weights = scores + std::int64_t{r} * stride + (first_row - first_panel * panel_rows);
      if (bad == queries.rows && !Backend::all_finite(weights, count)) bad = j / group;
      if (sinks == nullptr) {
        Backend::softmax(weights, count);
      } else {
        weights[count] = sinks[head(j)];
        Backend::softmax(weights, count + 1);
      }
      Backend::weighted_sum(weights, count, cache.values(kv_head).row_data(first_row), d, d,
                            mixed.row_data(j / group) + head(j) * d);
    }
    return bad;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
