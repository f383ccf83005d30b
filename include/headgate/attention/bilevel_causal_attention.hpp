// BilevelCausalAttention: bi-level routing attention (BiFormer, Zhu et al., CVPR 2023) for decoders: one-dimensional,
// causal, with a KV cache. Positions are cut into regions of region_size, counted from 0. A query at position t in
// region r = t div region_size attends to its own region up to t and to every position of `regions` earlier ones: those
// j < r with the largest affinity
//   sum over query heads h of q_{t,h} . (mean over region j of the rotated keys of h's KV head)
// ties to the earlier region; to all earlier regions where there are no more. One choice for all heads of a layer. With
// `regions` at least their number it is causal attention, bit for bit.
// Differs from the paper: causal, no local enhancement, biases, norms and scale as in gqa.hpp.
#pragma once

#include <algorithm>

#include "headgate/attention/attention_projections.hpp"
#include "headgate/attention/region_cache.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/routing/region_router.hpp"

namespace headgate::inline HEADGATE_ABI {

struct BilevelCausalShape {
  GqaShape attention;
  index_t region_size = 0;
  index_t regions = 0;  // earlier regions a query attends to

  Status check() const noexcept {
    if (Status status = attention.check(); !status.ok()) return status;
    if (attention.window != 0 || attention.has_sinks)
      return {ErrorCode::usage, "bi-level attention has neither a window nor sinks"};
    if (region_size < 1) return Status::mismatch("positions of a region, at least", region_size, 1);
    if (regions < 1) return Status::mismatch("routed regions, at least", regions, 1);
    return Status::success();
  }
  // Preconditions and meaning of these two: as in GqaShape.
  std::int64_t state_bytes(const StateSize& size) const noexcept {
    return RegionCache::bytes(size, attention.num_kv_heads, attention.head_dim, region_size);
  }
  // Chosen regions of every row; of every thread a sum of queries and affinities, and what attending takes.
  std::int64_t scratch_floats(const PassSize& pass) const noexcept {
    const std::int64_t earlier = pass.positions / region_size;
    const std::int64_t choice = attention.kv_size() + earlier + attend_floats() + 1;
    return attention.projection_floats(pass, pass.rows * chosen_width(pass.positions) + pass.threads * choice) +
           GqaShape::take_padding;
  }

  // How many regions a row reads, and their numbers: sized by the text, for a config may name more than any text has.
  std::int64_t chosen_width(std::int64_t positions) const noexcept {
    return std::min<std::int64_t>(positions / region_size, regions) + 1;
  }
  // Positions that a query before `end` reads at most.
  std::int64_t longest_read(std::int64_t end) const noexcept {
    return std::min((std::int64_t{regions} + 1) * region_size, end);
  }
  // Of one thread: a tile of queries, what they have read, their part of a chunk, and scores as products give them and
  // as they are read.
  std::int64_t attend_floats() const noexcept {
    return std::int64_t{F32Tile::max_rows} * (attention.head_dim + 2 * attention.value_width()) + 2 * chunk_scores;
  }
};

// Table of structures: BilevelCausalAttention | attention to regions of positions that a router chose |
//   after Zhu et al. 2023, 2303.08810
template <WeightFormat Format = F32, class Backend = NativeBackend>
class BilevelCausalAttention : public AttentionProjections<Format, Backend> {
  using Base = AttentionProjections<Format, Backend>;

 public:
  using State = RegionCache;
  using Base::hidden_size;
  using Base::shape;

  // All weights zero (norms one), to be filled row by row while a checkpoint streams by. Throws std::bad_alloc.
  static Expected<BilevelCausalAttention> create(const BilevelCausalShape& sizes, std::shared_ptr<const Rope> rope,
                                                 const AttentionFormats<Format>& formats = {}) {
    if (Status status = sizes.check(); !status.ok()) return status;
    if (Status status = Base::check(sizes.attention, rope.get()); !status.ok()) return status;
    return BilevelCausalAttention(sizes, std::move(rope), formats);
  }

  bool holds(CacheType) const noexcept { return true; }
  RegionCache make_state(const StateSize& size) const {
    return {size, shape().num_kv_heads, shape().head_dim, regions_.region_size};
  }
  // Positions that a query at position t reads, at most.
  index_t positions_read(index_t t) const noexcept {
    const index_t earlier = t / regions_.region_size;
    const index_t chosen = earlier < regions_.regions ? earlier : regions_.regions;
    return chosen * regions_.region_size + t % regions_.region_size + 1;
  }

  Status forward(const MixerInput& in, std::span<RegionCache* const> states, Rows y, Context& ctx) const {
    if (Status status = Base::check_input(in, states, y); !status.ok()) return status;
    index_t longest = 0;
    for (const RegionCache* const state : states) {
      if (state->kv().num_kv_heads() != shape().num_kv_heads || state->kv().head_dim() != shape().head_dim ||
          state->region_size() != regions_.region_size)
        return {ErrorCode::usage, "the state was made by an attention of another shape"};
    }
    const Workspace::Mark mark(ctx.workspace);
    const index_t rows = in.hidden.rows;
    const Rows queries = ctx.workspace.take_rows(rows, shape().query_size());
    const Rows mixed = ctx.workspace.take_rows(rows, shape().query_size());
    if (Status status = Base::project(in, states, queries, ctx); !status.ok()) return status;
    for (std::size_t s = 0; s < states.size(); ++s) {
      states[s]->append(in.sequences[s].rows, ctx);
      longest = std::max(longest, states[s]->position());
    }
    if (Status status = mix(in.sequences, states, longest, queries, mixed, ctx); !status.ok()) return status;
    return Base::finish(mixed, y, ctx);
  }

 private:
  BilevelCausalAttention(const BilevelCausalShape& sizes, std::shared_ptr<const Rope> rope,
                         const AttentionFormats<Format>& formats)
      : Base(sizes.attention, std::move(rope), formats), regions_(sizes) {}

  // longest: positions of the longest text.
  Status mix(std::span<const SequenceRows> sequences, std::span<RegionCache* const> states, index_t longest,
             ConstRows queries, Rows mixed, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const auto width = static_cast<index_t>(regions_.chosen_width(longest));
    const MatrixView<index_t> chosen = ctx.workspace.take_rows<index_t>(queries.rows, width);
    choose(sequences, states, longest, queries, chosen, ctx);
    return attend(sequences, states, queries, chosen, mixed, ctx);
  }
  // A row of chosen: how many regions, then their numbers, ascending.
  void choose(std::span<const SequenceRows> sequences, std::span<RegionCache* const> states, index_t longest,
              ConstRows queries, MatrixView<index_t> chosen, Context& ctx) const {
    const index_t n = ctx.slices(queries.rows);
    const std::int64_t scratch = std::int64_t{shape().kv_size()} + longest / regions_.region_size;
    float* const all_scratch = ctx.workspace.take<float>(n * scratch).data();
    ctx.parallel(n, [&](index_t i) {
      float* const sums = all_scratch + i * scratch;
      float* const affinity = sums + shape().kv_size();
      const Slice rows = Slice::of(queries.rows, n, i);
      SequenceCursor text{sequences};
      for (index_t t = rows.first; t < rows.last; ++t) {
        text.seek(t);
        const ConstRows means = states[text.index]->means();
        const index_t earlier = text.position(t) / regions_.region_size;
        index_t* const row = chosen.row_data(t);
        if (earlier <= regions_.regions) {
          row[0] = earlier;
          for (index_t j = 0; j < earlier; ++j) row[1 + j] = j;
          continue;
        }
        sum_heads(queries.row_data(t), sums);
        for (index_t j = 0; j < earlier; ++j) affinity[j] = Backend::dot(sums, means.row_data(j), means.cols);
        row[0] = RegionRouter(regions_.regions).select(std::span<const float>(affinity, as_size(earlier)), row + 1);
        std::sort(row + 1, row + 1 + row[0]);
      }
    });
  }
  // The queries that share a KV head, added: their inner products with its mean keys add up to that of the sum.
  void sum_heads(const float* query, float* sums) const noexcept {
    const index_t group = shape().group();
    const index_t d = shape().head_dim;
    for (index_t i = 0; i < shape().kv_size(); ++i) sums[i] = 0.0f;
    for (index_t h = 0; h < shape().num_heads; ++h) Backend::axpy(1.0f, query + h * d, d, sums + h / group * d);
  }

  // The query heads of one token and one KV head are the units of work; at most F32Tile::max_rows of them are one tile.
  Status attend(std::span<const SequenceRows> sequences, std::span<RegionCache* const> states, ConstRows queries,
                MatrixView<const index_t> chosen, Rows mixed, Context& ctx) const {
    const index_t group = shape().group();
    const TileCut cut{group, F32Tile::max_rows};
    const index_t units = queries.rows * shape().num_kv_heads * cut.count();
    const index_t n = ctx.slices(units);
    const std::int64_t scratch = regions_.attend_floats();
    float* const all_scratch = ctx.workspace.take<float>(n * scratch).data();
    const std::span<index_t> first_bad = ctx.workspace.take<index_t>(n);
    ctx.parallel(n, [&](index_t i) {
      first_bad[as_size(i)] = queries.rows;
      SequenceCursor text{sequences};
      for (index_t unit = i; unit < units; unit += n) {
        const index_t t = unit / (shape().num_kv_heads * cut.count());
        const index_t kv_head = unit / cut.count() % shape().num_kv_heads;
        const Slice in_group = cut.tile(unit % cut.count());
        const Slice heads{kv_head * group + in_group.first, kv_head * group + in_group.last};
        text.seek(t);
        if (!attend_heads(queries.row_data(t), heads, states[text.index]->kv().view(kv_head), text.position(t),
                          chosen.row_data(t), all_scratch + i * scratch, mixed.row_data(t)) &&
            t < first_bad[as_size(i)]) {
          first_bad[as_size(i)] = t;
        }
      }
    });
    return Base::check_scores(first_bad, queries.rows);
  }

  // Whether all scores are finite.
  bool attend_heads(const float* query, Slice heads, const CacheView& cache, index_t position, const index_t* chosen,
                    float* scratch, float* mixed) const noexcept {
    const index_t d = shape().head_dim;
    const index_t width = cache.value_width();
    const index_t m = heads.last - heads.first;
    float* const tile = scratch;
    float* const sums = tile + F32Tile::max_rows * d;
    float* const part = sums + std::int64_t{F32Tile::max_rows} * width;
    float* const panels = part + std::int64_t{F32Tile::max_rows} * width;
    float* const scores = panels + chunk_scores;
    const float* rows[as_size(F32Tile::max_rows)];
    for (index_t r = 0; r < m; ++r) rows[r] = query + (heads.first + r) * d;
    Backend::make_tile(F32Tile{}, rows, m, d, tile);
    std::fill_n(sums, std::int64_t{m} * width, 0.0f);

    Softmax softmaxes[as_size(F32Tile::max_rows)];
    each_chunk(chosen, position, [&](std::span<const Slice> stretches) {
      // Scores of the chunk's stretches side by side, as if there were nothing between them.
      index_t count = 0;
      for (const Slice& positions : stretches) {
        const index_t first_panel = positions.first / panel_rows;
        const index_t num_panels = (positions.last - 1) / panel_rows + 1 - first_panel;
        score_cache<Backend>(cache, positions.first, num_panels, tile, m, panels);
        for (index_t r = 0; r < m; ++r) {
          std::memcpy(scores + r * score_stride + count, panels + r * score_stride + positions.first % panel_rows,
                      as_size(positions.last - positions.first) * sizeof(float));
        }
        count += positions.last - positions.first;
      }
      Softmax found[as_size(F32Tile::max_rows)];
      for (index_t r = 0; r < m; ++r) found[r] = soften<Backend>(scores + r * score_stride, count);
      std::fill_n(part, std::int64_t{m} * width, 0.0f);
      index_t read = 0;
      for (const Slice& positions : stretches) {
        weigh_cache<Backend>(cache, positions, scores + read, m, part);
        read += positions.last - positions.first;
      }
      for (index_t r = 0; r < m; ++r) {
        softmaxes[r].template join<Backend>(found[r], part + std::int64_t{r} * width, sums + std::int64_t{r} * width,
                                            width);
      }
    });
    bool is_finite = true;
    for (index_t r = 0; r < m; ++r) {
      is_finite = is_finite && softmaxes[r].is_finite();
      softmaxes[r].finish(sums + std::int64_t{r} * width, d, mixed + (heads.first + r) * d);
    }
    return is_finite;
  }
  // use(stretches) for every chunk that a query reads of, ascending.
  template <class F>
  void each_chunk(const index_t* chosen, index_t position, F&& use) const {
    Slice stretches[chunk_positions / 2];  // with something between them
    std::size_t count = 0;
    each_stretch(chosen, position, [&](Slice stretch) {
      while (stretch.first < stretch.last) {
        const index_t chunk = stretch.first / chunk_positions;
        if (count > 0 && stretches[0].first / chunk_positions != chunk) {
          use(std::span<const Slice>(stretches, count));
          count = 0;
        }
        const index_t end = std::min(stretch.last, (chunk + 1) * chunk_positions);
        stretches[count++] = {stretch.first, end};
        stretch.first = end;
      }
    });
    use(std::span<const Slice>(stretches, count));
  }
  // use(positions) for every unbroken stretch that a query reads, ascending: neighbouring regions are one stretch.
  template <class F>
  void each_stretch(const index_t* chosen, index_t position, F&& use) const {
    const index_t size = regions_.region_size;
    Slice stretch{0, 0};
    for (index_t i = 0; i < chosen[0]; ++i) {
      const index_t first = chosen[1 + i] * size;
      if (first != stretch.last) {
        if (stretch.last > stretch.first) use(stretch);
        stretch.first = first;
      }
      stretch.last = first + size;
    }
    const index_t own = position / size * size;
    if (own != stretch.last) {
      if (stretch.last > stretch.first) use(stretch);
      stretch.first = own;
    }
    stretch.last = position + 1;
    use(stretch);
  }

  BilevelCausalShape regions_;
};

}  // namespace headgate::inline HEADGATE_ABI
