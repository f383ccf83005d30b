// MultiHeadLatentAttention (DeepSeek-AI 2024, "DeepSeek-V2"), causal. A position is remembered as a few latents c and
// rotary channels r that all heads share; head h makes its keys and values of them:
//   [c | r] = x W_a^T [+ bias],  c = rms_norm(c),  r rotated;   [q | p]_h = x W_q,h^T, or rms_norm(x W_qa^T) W_qb,h^T,
//   p rotated k_h = [W_k,h c | r],  v_h = W_v,h c;   o_h = sum over s <= t of softmax_s(scale [q | p]_h . k_h,s) v_h,s;
//   y = o W_o^T
// It is computed absorbed, in prefill as in decode: [q | p] . k = (W_k^T q) . c + p . r, and sum a v = W_v (sum a c).
// So a position costs each head two products with its latents, whatever the size of a head, and keys and values of
// heads never exist.
//
// Queries are stacked to tiles, heads of one row as well as rows of one head, and meet the latents chunk by chunk
// (attention_chunk.hpp). So neither tiles nor threads nor passes can change a bit.
//
// Rotary pairs are a half apart: rows of checkpoints that have them side by side are to be put apart before they get
// here.
#pragma once

#include <memory>
#include <vector>

#include "headgate/attention/mla_shape.hpp"
#include "headgate/attention/rope.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"

namespace headgate::inline HEADGATE_ABI {

// The format of each matrix; that of query_down says nothing without query_rank.
template <WeightFormat Format>
struct MlaFormats {
  [[no_unique_address]] Format query_down = {};
  [[no_unique_address]] Format query = {};
  [[no_unique_address]] Format latent = {};
  [[no_unique_address]] Format key_up = {};
  [[no_unique_address]] Format value_up = {};
  [[no_unique_address]] Format output = {};
  // Panels that somebody else owns and keeps; null: to be filled.
  const std::byte* query_down_panels = nullptr;
  const std::byte* query_panels = nullptr;
  const std::byte* latent_panels = nullptr;
  const std::byte* output_panels = nullptr;
};

template <WeightFormat Format = F32, class Backend = NativeBackend>
class MultiHeadLatentAttention {
 public:
  using State = LatentCache;
  using Formats = MlaFormats<Format>;

  // All weights zero (norms one), to be filled while a checkpoint streams by. rope: turns the rope_dim channels; null:
  // no positions. Throws std::bad_alloc.
  static Expected<MultiHeadLatentAttention> create(const MlaShape& shape, std::shared_ptr<const Rope> rope,
                                                   const Formats& formats = {}) {
    if (Status status = shape.check(); !status.ok()) return status;
    if (rope && 2 * rope->half() != shape.rope_dim)
      return Status::mismatch("rotary width against qk_rope_head_dim", 2 * rope->half(), shape.rope_dim);
    if constexpr (!std::is_empty_v<typename Format::Tile>) {
      for (const Format& format : {formats.key_up, formats.value_up}) {
        if (tile_of(format) != F32Tile{}) {
          return Status{ErrorCode::usage, "what goes to latents and back is multiplied with floats"};
        }
      }
    }
    return MultiHeadLatentAttention(shape, std::move(rope), formats, Checked{});
  }
  MultiHeadLatentAttention(const MlaShape& shape, std::shared_ptr<const Rope> rope, const Formats& formats = {})
    requires has_exceptions
      : MultiHeadLatentAttention(create(shape, std::move(rope), formats).value()) {}

  // Preconditions: the row or head exists, values has as many elements as the matrix has columns.
  void set_query_down_row(index_t row, WeightRow values) noexcept { query_down_.set_row(row, values); }
  // (num_heads * (nope_dim + rope_dim), query_rank or hidden_size)
  void set_query_row(index_t row, WeightRow values) noexcept { query_.set_row(row, values); }
  // (latent_size + rope_dim, hidden_size)
  void set_latent_row(index_t row, WeightRow values) noexcept { latent_.set_row(row, values); }
  // Of a head: (nope_dim, latent_size), which is packed transposed, so that its format packs floats. Throws
  // std::bad_alloc.
  void set_key_up(index_t head, ConstRows weights) {
    std::vector<float> column(as_size(shape_.nope_dim));
    for (index_t i = 0; i < shape_.latent_size; ++i) {
      for (index_t r = 0; r < shape_.nope_dim; ++r) column[as_size(r)] = weights.row_data(r)[i];
      key_up_.set_row(head * shape_.padded_latents() + i, column.data());
    }
  }
  // Of a head: row < value_dim, (latent_size).
  void set_value_up_row(index_t head, index_t row, WeightRow values) noexcept {
    value_up_.set_row(head * shape_.padded_values() + row, values);
  }
  void set_output_row(index_t row, WeightRow values) noexcept { output_.set_row(row, values); }
  // To be filled.
  std::span<float> query_norm() noexcept { return query_norm_; }            // (query_rank)
  std::span<float> latent_norm() noexcept { return latent_norm_; }          // (latent_size)
  std::span<float> query_down_bias() noexcept { return query_down_bias_; }  // (query_rank), empty without has_bias
  std::span<float> latent_bias() noexcept { return latent_bias_; }          // (latent_size + rope_dim), likewise
  std::span<float> output_bias() noexcept { return output_bias_; }          // (hidden_size), likewise

  const MlaShape& shape() const noexcept { return shape_; }
  index_t hidden_size() const noexcept { return shape_.hidden_size; }
  const Rope* rope() const noexcept { return rope_.get(); }
  std::int64_t weight_bytes() const noexcept {
    const std::size_t floats =
        query_norm_.size() + latent_norm_.size() + query_down_bias_.size() + latent_bias_.size() + output_bias_.size();
    return query_down_.bytes() + query_.bytes() + latent_.bytes() + key_up_.bytes() + value_up_.bytes() +
           output_.bytes() + static_cast<std::int64_t>(floats * sizeof(float));
  }
  bool holds(CacheType) const noexcept { return true; }
  LatentCache make_state(const StateSize& size) const { return {size, shape_.latent_size, shape_.rope_dim}; }

  Status forward(const MixerInput& in, std::span<LatentCache* const> states, Rows y, Context& ctx) const {
    const std::int64_t all_queries = std::int64_t{in.hidden.rows} * shape_.num_heads;
    if (all_queries > max_index) return {ErrorCode::limit, "queries of all heads", all_queries, max_index};
    if (Status status = check_mixer(in, states, y, hidden_size(), rope_ ? rope_->half() : 0); !status.ok())
      return status;
    for (const LatentCache* const state : states) {
      if (state->latent_size() != shape_.latent_size || state->rope_dim() != shape_.rope_dim)
        return {ErrorCode::usage, "the state was made by an attention of another shape"};
    }
    const Workspace::Mark mark(ctx.workspace);
    const Rows queries = ctx.workspace.take_rows(in.hidden.rows, shape_.query_size());
    const Rows values = ctx.workspace.take_rows(in.hidden.rows, shape_.value_size());
    project(in, states, queries, ctx);
    if (Status status = attend(in.sequences, states, queries, values, ctx); !status.ok()) return status;
    product<Backend>(output_.view(), values, y, ctx);
    for (index_t t = 0; t < y.rows; ++t) add_bias(output_bias_, y.row_data(t));
    return Status::success();
  }

 private:
  struct Checked {};
  MultiHeadLatentAttention(const MlaShape& shape, std::shared_ptr<const Rope> rope, const Formats& formats, Checked)
      : shape_(shape),
        rope_(std::move(rope)),
        query_down_(matrix(shape.query_rank, shape.query_rank == 0 ? 0 : shape.hidden_size, formats.query_down,
                           formats.query_down_panels)),
        query_(matrix(shape.query_size(), shape.query_rank == 0 ? shape.hidden_size : shape.query_rank, formats.query,
                      formats.query_panels)),
        latent_(matrix(shape.key_size(), shape.hidden_size, formats.latent, formats.latent_panels)),
        key_up_(shape.num_heads * shape.padded_latents(), shape.nope_dim, formats.key_up),
        value_up_(shape.num_heads * shape.padded_values(), shape.latent_size, formats.value_up),
        output_(matrix(shape.hidden_size, shape.value_size(), formats.output, formats.output_panels)),
        query_norm_(as_size(shape.query_rank), 1.0f),
        latent_norm_(as_size(shape.latent_size), 1.0f),
        query_down_bias_(shape.has_bias ? as_size(shape.query_rank) : 0),
        latent_bias_(shape.has_bias ? as_size(shape.key_size()) : 0),
        output_bias_(shape.has_bias ? as_size(shape.hidden_size) : 0) {}

  static Panel16<Format> matrix(index_t rows, index_t cols, Format format, const std::byte* panels) {
    return Panel16<Format>::filled_or_seen(rows, cols, format, panels);
  }
  static void add_bias(const std::vector<float>& bias, float* row) noexcept {
    if (!bias.empty()) Backend::axpy(1.0f, bias.data(), static_cast<index_t>(bias.size()), row);
  }

  // queries (rows, query_size) are written, rotated and scaled; the rows are appended to their texts.
  void project(const MixerInput& in, std::span<LatentCache* const> states, Rows queries, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const Rows keys = ctx.workspace.take_rows(in.hidden.rows, shape_.key_size());
    if (shape_.query_rank == 0) {
      const Factor<Format> factors[] = {{query_.view(), queries}, {latent_.view(), keys}};
      products<Backend>(std::span<const Factor<Format>>(factors), in.hidden, ctx);
    } else {
      const Rows down = ctx.workspace.take_rows(in.hidden.rows, shape_.query_rank);
      const Factor<Format> factors[] = {{query_down_.view(), down}, {latent_.view(), keys}};
      products<Backend>(std::span<const Factor<Format>>(factors), in.hidden, ctx);
      each_row(in.hidden.rows, ctx, [&](Slice rows) {
        for (index_t t = rows.first; t < rows.last; ++t) {
          add_bias(query_down_bias_, down.row_data(t));
          Backend::rms_norm(down.row_data(t), query_norm_.data(), shape_.norm_epsilon, shape_.query_rank,
                            down.row_data(t));
        }
      });
      product<Backend>(query_.view(), down, queries, ctx);
    }
    for (std::size_t s = 0; s < states.size(); ++s) states[s]->append(in.sequences[s].rows);
    each_row(in.hidden.rows, ctx, [&](Slice rows) {
      SequenceCursor text{in.sequences};
      for (index_t t = rows.first; t < rows.last; ++t) {
        text.seek(t);
        for (index_t h = 0; h < shape_.num_heads; ++h) {
          rotate(in, t, queries.row_data(t) + h * shape_.head_dim() + shape_.nope_dim);
        }
        for (float& q : queries.row(t)) q *= shape_.scale;
        float* const key = keys.row_data(t);
        add_bias(latent_bias_, key);
        Backend::rms_norm(key, latent_norm_.data(), shape_.norm_epsilon, shape_.latent_size, key);
        rotate(in, t, key + shape_.latent_size);
        states[text.index]->store(text.position(t), key);
      }
    });
  }
  template <class Use>
  static void each_row(index_t rows, Context& ctx, Use&& use) {
    const index_t n = ctx.slices(rows);
    ctx.parallel(n, [&](index_t i) { use(Slice::of(rows, n, i)); });
  }
  void rotate(const MixerInput& in, index_t t, float* channels) const noexcept {
    if (rope_) Backend::rope(channels, in.cosines.row_data(t), in.sines.row_data(t), rope_->half());
  }

  // Rows of a text are cut into bands of at most a tile's rows. The queries of a band, head by head, are cut into
  // tiles: in prefill the rows of one head, in decode several heads of one row.
  struct Text {
    index_t first_row;   // of the pass
    index_t first_unit;  // of the work
    index_t tiles;       // of a band
    TileCut bands;
  };
  Status attend(std::span<const SequenceRows> sequences, std::span<LatentCache* const> states, ConstRows queries,
                Rows values, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const std::span<Text> texts = ctx.workspace.take<Text>(static_cast<std::int64_t>(sequences.size()));
    // No taller than needed for every thread to have one.
    const index_t height = std::clamp(divide_up(queries.rows * shape_.num_heads, ctx.executor.size()), 1, tile_rows);
    index_t rows = 0;
    index_t units = 0;
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      const TileCut bands{sequences[s].rows, tile_rows};
      const index_t tallest = bands.count() == 0 ? 0 : divide_up(sequences[s].rows, bands.count());
      texts[s] = {rows, units, divide_up(tallest * shape_.num_heads, height), bands};
      rows += sequences[s].rows;
      units += texts[s].tiles * bands.count();
    }
    const index_t n = ctx.slices(units);
    const std::int64_t scratch = shape_.attend_floats();
    float* const all_scratch = ctx.workspace.take<float>(n * scratch).data();
    const std::span<index_t> first_bad = ctx.workspace.take<index_t>(n);
    ctx.parallel(n, [&](index_t i) {
      index_t bad = queries.rows;
      std::size_t s = 0;
      // In turn, because later ones are longer.
      for (index_t unit = i; unit < units; unit += n) {
        while (s + 1 < texts.size() && unit >= texts[s + 1].first_unit) ++s;
        const Text& text = texts[s];
        const index_t own = unit - text.first_unit;
        const Slice band = text.bands.tile(own / text.tiles);
        const Slice tile = Slice::of((band.last - band.first) * shape_.num_heads, text.tiles, own % text.tiles);
        if (tile.first == tile.last) continue;
        const index_t found =
            attend_tile(queries.middle_rows(text.first_row + band.first, band.last - band.first),
                        sequences[s].first_position + band.first, *states[s], tile, all_scratch + i * scratch,
                        values.middle_rows(text.first_row + band.first, band.last - band.first));
        if (found < band.last - band.first) bad = std::min(bad, text.first_row + band.first + found);
      }
      first_bad[as_size(i)] = bad;
    });
    const index_t bad = n == 0 ? queries.rows : *std::min_element(first_bad.begin(), first_bad.end());
    if (bad < queries.rows) return Status::not_finite("attention score is not finite", -1, bad);
    return Status::success();
  }

  // Query j of a band is that of head j / rows and row j % rows. Returns the first row of the band with a score that is
  // not finite, because softmax would make a weight of it, or the number of rows.
  index_t attend_tile(ConstRows queries, index_t first_position, const LatentCache& cache, Slice tile_queries,
                      float* scratch, Rows values) const noexcept {
    const index_t m = tile_queries.last - tile_queries.first;
    const index_t latents = shape_.padded_latents();
    const std::int64_t absorbed_width = std::int64_t{latents} + shape_.rope_dim;
    const auto row_of = [&](index_t r) { return (tile_queries.first + r) % queries.rows; };
    float* const absorbed = scratch;
    float* const scores = absorbed + tile_rows * absorbed_width;
    float* const part = scores + chunk_scores;
    float* const sums = part + std::int64_t{tile_rows} * latents;
    float* const made = sums + std::int64_t{tile_rows} * latents;
    float* const tile = made + std::int64_t{tile_rows} * shape_.padded_values();
    const float* rows[as_size(tile_rows)];

    // (W_k^T q | p): the latents first, then the rotary channels over what pads them.
    each_head(tile_queries, queries.rows, [&](index_t head, index_t first, index_t count) {
      const index_t column = head * shape_.head_dim();
      for (index_t r = 0; r < count; ++r) rows[r] = queries.row_data(row_of(first + r)) + column;
      Backend::make_tile(F32Tile{}, rows, count, shape_.nope_dim, tile);
      multiply(key_up_.view(), head * latents, latents, tile, count, absorbed + first * absorbed_width, absorbed_width);
      for (index_t r = 0; r < count; ++r) {
        std::memcpy(absorbed + (first + r) * absorbed_width + shape_.latent_size, rows[r] + shape_.nope_dim,
                    as_size(shape_.rope_dim) * sizeof(float));
      }
    });
    for (index_t r = 0; r < m; ++r) rows[r] = absorbed + r * absorbed_width;
    Backend::make_tile(F32Tile{}, rows, m, shape_.key_size(), tile);
    const CacheView view = cache.view();
    index_t longest = 0;
    for (index_t r = 0; r < m; ++r) longest = std::max(longest, first_position + row_of(r) + 1);
    Softmax softmaxes[as_size(tile_rows)];
    std::fill_n(sums, std::int64_t{m} * latents, 0.0f);
    for (index_t first = 0; first < longest; first += chunk_positions) {
      Slice reads[as_size(tile_rows)];
      for (index_t r = 0; r < m; ++r) {
        reads[r] = {first, std::min(first_position + row_of(r) + 1, first + chunk_positions)};
      }
      Softmax found[as_size(tile_rows)];
      attend_chunk<Backend>(view, tile, std::span(reads, as_size(m)), scores, part, found);
      for (index_t r = 0; r < m; ++r) {
        if (reads[r].first >= reads[r].last) continue;
        softmaxes[r].template join<Backend>(found[r], part + std::int64_t{r} * latents,
                                            sums + std::int64_t{r} * latents, latents);
      }
    }
    index_t bad = queries.rows;
    for (index_t r = 0; r < m; ++r) {
      if (!softmaxes[r].is_finite()) bad = std::min(bad, row_of(r));
      softmaxes[r].finish(sums + std::int64_t{r} * latents, latents, sums + std::int64_t{r} * latents);
    }
    each_head(tile_queries, queries.rows, [&](index_t head, index_t first, index_t count) {
      for (index_t r = 0; r < count; ++r) rows[r] = sums + std::int64_t{first + r} * latents;
      Backend::make_tile(F32Tile{}, rows, count, shape_.latent_size, tile);
      multiply(value_up_.view(), head * shape_.padded_values(), shape_.padded_values(), tile, count, made,
               shape_.padded_values());
      for (index_t r = 0; r < count; ++r) {
        std::memcpy(values.row_data(row_of(first + r)) + head * shape_.value_dim,
                    made + std::int64_t{r} * shape_.padded_values(), as_size(shape_.value_dim) * sizeof(float));
      }
    });
    return bad;
  }
  // use(head, first query of the tile, how many) for the heads of a tile's queries.
  template <class Use>
  static void each_head(Slice tile_queries, index_t rows, Use&& use) noexcept {
    for (index_t j = tile_queries.first; j < tile_queries.last;) {
      const index_t head = j / rows;
      const index_t end = std::min((head + 1) * rows, tile_queries.last);
      use(head, j - tile_queries.first, end - j);
      j = end;
    }
  }
  // Whole panels of a matrix by a tile.
  static void multiply(const PanelView<Format>& weights, index_t first_row, index_t rows, const float* tile, index_t m,
                       float* y, std::int64_t stride) noexcept {
    using Element = typename Format::Tile::Element;
    multiply_any<Backend>(weights.format, weights.panel(first_row / panel_rows), weights.cols, rows / panel_rows,
                          reinterpret_cast<const Element*>(tile), m, y, stride);
  }

  static constexpr index_t tile_rows = F32Tile::max_rows;

  MlaShape shape_;
  std::shared_ptr<const Rope> rope_;  // null: no rotary positions
  Panel16<Format> query_down_;        // (query_rank, hidden_size), or nothing
  Panel16<Format> query_;             // (query_size, query_rank or hidden_size)
  Panel16<Format> latent_;            // (key_size, hidden_size)
  Panel16<Format> key_up_;            // of each head (padded_latents, nope_dim)
  Panel16<Format> value_up_;          // of each head (padded_values, latent_size)
  Panel16<Format> output_;            // (hidden_size, value_size)
  std::vector<float> query_norm_, latent_norm_;
  std::vector<float> query_down_bias_, latent_bias_, output_bias_;
};

}  // namespace headgate::inline HEADGATE_ABI
