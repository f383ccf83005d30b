// GroupedQueryAttention (Ainslie et al. 2023, "GQA"), causal. Query head h of a row reads the KV head
// h / (heads / kv_heads):
//   q, k, v = the row's projections (attention_projections.hpp)
//   o_t = sum over s of w_s v_s,  w_s = exp(q_t . k_s) / (exp(sink_h) + sum over s of exp(q_t . k_s)),  y = o W_o^T [+
//   b]
// where s runs over the positions up to t, of which a window reads the last t - window < s <= t (Beltagy et al. 2020,
// "Longformer"); the sink, a learned logit of the head, stands in the sum with sinks alone (gpt-oss).
//
// Queries that share a KV head are stacked to tiles, whatever row of a text they belong to, and several tiles meet each
// chunk of positions (attention_chunk.hpp) one after the other. What a query gets depends on the positions that its row
// reads alone. So neither the tiles nor the threads, nor where a window's cache begins, can change a bit.
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

  bool holds(CacheType) const noexcept { return true; }
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
    if (Status status = Base::project(in, states, queries, ctx); !status.ok()) return status;
    for (std::size_t s = 0; s < states.size(); ++s) states[s]->append(in.sequences[s].rows);
    if (Status status = attend(in.sequences, states, queries, mixed, ctx); !status.ok()) return status;
    return Base::finish(mixed, y, ctx);
  }

 private:
  struct Checked {};
  GroupedQueryAttention(const GqaShape& sizes, std::shared_ptr<const Rope> rope,
                        const AttentionFormats<Format>& formats, Checked)
      : Base(sizes, std::move(rope), formats) {}

  // Where a text begins among the rows of the pass and among the units of work, and how its queries are cut to units.
  struct Text {
    index_t first_row;
    index_t first_unit;
    TileCut cut;
  };
  // Queries of one KV head are a unit of work; the threads take units in turn, because later ones are longer. A score
  // that is not finite is an error, because softmax would make a weight of it: 0, as if it were masked.
  Status attend(std::span<const SequenceRows> sequences, std::span<KvCache* const> states, ConstRows queries,
                Rows mixed, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const std::span<Text> texts = ctx.workspace.take<Text>(static_cast<std::int64_t>(sequences.size()));
    // No more at once than leaves every thread several units.
    const index_t at_once = std::clamp(divide_up(queries.rows * shape().num_heads, 4 * ctx.executor.size()),
                                       F32Tile::max_rows, GqaShape::queries_at_once);
    index_t rows = 0;
    index_t units = 0;
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      texts[s] = {rows, units, {sequences[s].rows * shape().group(), at_once}};
      rows += sequences[s].rows;
      units += texts[s].cut.count() * shape().num_kv_heads;
    }
    const index_t n = ctx.slices(units);
    const std::int64_t scratch = shape().attend_floats();
    float* const all_scratch = ctx.workspace.take<float>(n * scratch).data();
    const std::span<index_t> first_bad = ctx.workspace.take<index_t>(n);
    ctx.parallel(n, [&](index_t i) {
      first_bad[as_size(i)] = queries.rows;
      std::size_t s = 0;
      for (index_t unit = i; unit < units; unit += n) {
        while (s + 1 < texts.size() && unit >= texts[s + 1].first_unit) ++s;
        const Text& text = texts[s];
        const index_t own = unit - text.first_unit;
        const index_t bad =
            attend_unit(queries.middle_rows(text.first_row, sequences[s].rows), sequences[s].first_position, *states[s],
                        own % shape().num_kv_heads, text.cut.tile(own / shape().num_kv_heads),
                        all_scratch + i * scratch, mixed.middle_rows(text.first_row, sequences[s].rows));
        if (bad < sequences[s].rows) first_bad[as_size(i)] = std::min(first_bad[as_size(i)], text.first_row + bad);
      }
    });
    return Base::check_scores(first_bad, queries.rows);
  }
  // The positions that a row reads.
  Slice positions_read(index_t position) const noexcept {
    const index_t window = shape().window;
    return {window == 0 ? 0 : std::max(position - window + 1, 0), position + 1};
  }
  // Query j of a KV head is head j % group of the group, of row j / group of the text. Returns the first row with a
  // score that is not finite, or the number of rows.
  index_t attend_unit(ConstRows queries, index_t first_position, const KvCache& cache, index_t kv_head, Slice unit,
                      float* scratch, Rows mixed) const noexcept {
    const index_t group = shape().group();
    const index_t d = shape().head_dim;
    const auto width = static_cast<index_t>(shape().value_width());
    const auto head = [&](index_t j) { return kv_head * group + j % group; };
    const auto read_by = [&](index_t j) { return positions_read(first_position + j / group); };
    float* const tiles = scratch;
    float* const sums = tiles + GqaShape::queries_at_once * d;
    float* const part = sums + std::int64_t{GqaShape::queries_at_once} * width;
    float* const scores = part + std::int64_t{F32Tile::max_rows} * width;
    const TileCut cut{unit.last - unit.first, F32Tile::max_rows};
    Softmax softmaxes[as_size(GqaShape::queries_at_once)];

    for (index_t t = 0; t < cut.count(); ++t) {
      const Slice own = cut.tile(t);
      const float* rows[as_size(F32Tile::max_rows)];
      for (index_t r = own.first; r < own.last; ++r) {
        const index_t j = unit.first + r;
        rows[r - own.first] = queries.row_data(j / group) + head(j) * d;
        if (const float* const sinks = Base::sink_logits()) softmaxes[r] = {sinks[head(j)], 1.0f};
      }
      Backend::make_tile(F32Tile{}, rows, own.last - own.first, d, tiles + own.first * d);
    }
    std::fill_n(sums, std::int64_t{unit.last - unit.first} * width, 0.0f);

    const CacheView view = cache.view(kv_head);
    const index_t end = read_by(unit.last - 1).last;
    for (index_t first = read_by(unit.first).first / chunk_positions * chunk_positions; first < end;
         first += chunk_positions) {
      for (index_t t = 0; t < cut.count(); ++t) {
        const Slice own = cut.tile(t);
        const index_t m = own.last - own.first;
        Slice reads[as_size(F32Tile::max_rows)];
        bool reads_any = false;
        for (index_t r = 0; r < m; ++r) {
          const Slice all = read_by(unit.first + own.first + r);
          reads[r] = {std::max(all.first, first), std::min(all.last, first + chunk_positions)};
          reads_any = reads_any || reads[r].first < reads[r].last;
        }
        if (!reads_any) continue;
        Softmax found[as_size(F32Tile::max_rows)];
        attend_chunk<Backend>(view, tiles + own.first * d, std::span(reads, as_size(m)), scores, part, found);
        for (index_t r = 0; r < m; ++r) {
          if (reads[r].first >= reads[r].last) continue;
          softmaxes[own.first + r].template join<Backend>(found[r], part + std::int64_t{r} * width,
                                                          sums + std::int64_t{own.first + r} * width, width);
        }
      }
    }
    index_t bad = queries.rows;
    for (index_t r = 0; r < unit.last - unit.first; ++r) {
      const index_t j = unit.first + r;
      if (bad == queries.rows && !softmaxes[r].is_finite()) bad = j / group;
      softmaxes[r].finish(sums + std::int64_t{r} * width, d, mixed.row_data(j / group) + head(j) * d);
    }
    return bad;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
