// GluExperts: the bank of gated feed-forward experts. With the weights of expert e,
//   E_e(x) = W_down (act(W_gate x + b_gate) * (W_up x + b_up)) + b_down
// (Shazeer 2020, "GLU Variants Improve Transformer"; SwiGLU for act = silu; biases optional). Without a gate:
//   E_e(x) = W_down act(W_up x + b_up) + b_down
//
// Two runs of the executor serve a batch of any size. In the first a thread computes rows of gate and up and what their
// activation makes of them, h; in the second it owns columns of y and walks the experts in ascending id. So no sum is
// shared by two threads, skewed routing leaves no thread idle, and y has the same bits for any number of threads, any
// batch and any cut of a prompt. Rows of x that share an expert are gathered into tiles before; a lone one is read in
// place where the tile allows it. GluExperts<AnyFormat> has a format of its own for each matrix.
#pragma once

#include <utility>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/experts/expert_batch.hpp"
#include "headgate/experts/experts.hpp"
#include "headgate/experts/glu_layout.hpp"
#include "headgate/kernels/native.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of structures: GluExperts, SwiGluExperts | gated feed-forward experts, fast in every weight format |
//   Shazeer 2020, 2002.05202
template <WeightFormat Format = F32, class Backend = NativeBackend>
class GluExperts {
 public:
  using Formats = GluFormats<Format>;

  // All weights zero, to be filled row by row while a checkpoint streams by. Throws std::bad_alloc.
  static Expected<GluExperts> create(const GluShape& shape, const Formats& formats = {}) {
    const GluLayout<Format> layout{shape, formats};
    if (Status status = layout.check(); !status.ok()) return status;
    return GluExperts(layout, Checked{});
  }
  // From whole matrices, one element per expert.
  static Expected<GluExperts> create(const GluShape& shape, std::span<const GluMatrices> experts,
                                     const Formats& formats = {}) {
    if (static_cast<std::int64_t>(experts.size()) != shape.num_experts) {
      return Status::mismatch("experts given", static_cast<std::int64_t>(experts.size()), shape.num_experts);
    }
    Expected<GluExperts> bank = create(shape, formats);
    for (index_t e = 0; bank && e < shape.num_experts; ++e) {
      if (Status status = bank.value().set_expert(e, experts[as_size(e)]); !status.ok()) return status;
    }
    return bank;
  }
  // Over panels that somebody else owns and keeps, one element per expert; biases zero, to be filled.
  static Expected<GluExperts> over(const GluShape& shape, const Formats& formats, std::vector<GluPanels> experts) {
    const GluLayout<Format> layout{shape, formats, /*is_seen=*/true};
    if (Status status = layout.check(); !status.ok()) return status;
    if (static_cast<std::int64_t>(experts.size()) != shape.num_experts) {
      return Status::mismatch("experts given", static_cast<std::int64_t>(experts.size()), shape.num_experts);
    }
    return GluExperts(layout, std::move(experts));
  }
  explicit GluExperts(const GluShape& shape, const Formats& formats = {})
    requires has_exceptions
      : GluExperts(create(shape, formats).value()) {}
  GluExperts(const GluShape& shape, std::span<const GluMatrices> experts, const Formats& formats = {})
    requires has_exceptions
      : GluExperts(create(shape, experts, formats).value()) {}

  // Replaces the weights of one expert; on an error they stay what they were.
  Status set_expert(ExpertId e, const GluMatrices& m) {
    if (Status status = layout_.check(e, m); !status.ok()) return status;
    if (layout_.is_seen) return {ErrorCode::usage, "the weights of these experts belong to somebody else"};
    if (!(formats().up.packs_floats() && formats().down.packs_floats() &&
          (!shape().gated || formats().gate.packs_floats()))) {
      return {ErrorCode::usage, "a format of these experts keeps bytes of files and packs no floats"};
    }
    for (index_t r = 0; r < m.gate.rows; ++r) set_gate_row(e, r, m.gate.row_data(r));
    for (index_t r = 0; r < m.up.rows; ++r) set_up_row(e, r, m.up.row_data(r));
    for (index_t r = 0; r < m.down.rows; ++r) set_down_row(e, r, m.down.row_data(r));
    for (std::size_t r = 0; r < m.gate_bias.size(); ++r) set_gate_bias(e, static_cast<index_t>(r), m.gate_bias[r]);
    for (std::size_t r = 0; r < m.up_bias.size(); ++r) set_up_bias(e, static_cast<index_t>(r), m.up_bias[r]);
    for (std::size_t r = 0; r < m.down_bias.size(); ++r) set_down_bias(e, static_cast<index_t>(r), m.down_bias[r]);
    return Status::success();
  }
  // Preconditions: expert and row exist (a gate: gated, a bias: has_bias); values has hidden_size elements, in
  // set_down_row ffn_size, as the format packs them; weights are owned.
  void set_gate_row(ExpertId e, index_t row, WeightRow values) noexcept {
    pack(formats().gate, layout_.gate_panel(e, row / panel_rows), row, hidden_size(), values);
  }
  void set_up_row(ExpertId e, index_t row, WeightRow values) noexcept {
    pack(formats().up, layout_.up_panel(e, row / panel_rows), row, hidden_size(), values);
  }
  void set_down_row(ExpertId e, index_t row, WeightRow values) noexcept {
    pack(formats().down, layout_.down_panel(e, row / panel_rows), row, shape().ffn_size, values);
  }
  void set_gate_bias(ExpertId e, index_t row, float value) noexcept {
    biases_[as_size(layout_.gate_bias(e, row))] = value;
  }
  void set_up_bias(ExpertId e, index_t row, float value) noexcept { biases_[as_size(layout_.up_bias(e, row))] = value; }
  void set_down_bias(ExpertId e, index_t row, float value) noexcept {
    biases_[as_size(layout_.down_bias(e, row))] = value;
  }

  const GluShape& shape() const noexcept { return layout_.shape; }
  const Formats& formats() const noexcept { return layout_.formats; }
  index_t num_experts() const noexcept { return shape().num_experts; }
  index_t hidden_size() const noexcept { return shape().hidden_size; }
  std::int64_t expert_bytes() const noexcept {
    return layout_.expert_bytes() + layout_.biases_per_expert() * std::int64_t{sizeof(float)};
  }
  std::int64_t bytes() const noexcept { return expert_bytes() * num_experts(); }

  // On an error y holds part of the sum.
  Status apply(const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) const {
    return apply_by_expert<Backend>(*this, plan, x, y, ctx);
  }
  // The same for a checked plan that stands by expert already.
  Status apply(const ExpertMajor& plan, ConstRows x, Rows y, Context& ctx) const {
    const index_t step = shape().entries_at_a_time();
    const index_t entries = plan.offsets.back();
    for (index_t first = 0; first < entries; first += step) {
      const Slice part{first, entries - first < step ? entries : first + step};
      if (Status status = apply_batch(ExpertBatch(plan, part, Tile::max_rows), x, y, ctx); !status.ok()) return status;
      if (part.last == entries) break;
    }
    return Status::success();
  }

 private:
  struct Checked {};
  using Tile = typename Format::Tile;
  using Element = typename Tile::Element;

  // A kernel call makes at most 16 panels x the rows of a tile of outputs, which stay in the L1 cache.
  static constexpr index_t max_panels = 16;
  static constexpr std::size_t scratch_size = as_size(max_panels * panel_rows * Tile::max_rows);

  GluExperts(const GluLayout<Format>& layout, Checked)
      : layout_(layout),
        buffer_(as_size(layout.expert_bytes() * layout.shape.num_experts)),
        biases_(as_size(layout.biases_per_expert() * layout.shape.num_experts)) {}
  GluExperts(const GluLayout<Format>& layout, std::vector<GluPanels> experts)
      : layout_(layout),
        seen_(std::move(experts)),
        biases_(as_size(layout.biases_per_expert() * layout.shape.num_experts)) {}

  void pack(Format format, std::int64_t panel, index_t row, index_t k, WeightRow values) noexcept {
    format.pack(values, k, row % panel_rows, buffer_.data() + panel);
  }
  static void multiply(Format format, const std::byte* panels, index_t k, index_t num_panels, const Element* tile,
                       index_t m, float* out, std::int64_t stride) noexcept {
    multiply_any<Backend>(format, panels, k, num_panels, tile, m, out, stride);
  }
  const std::byte* gate_panel(ExpertId e, index_t b) const noexcept {
    if (layout_.is_seen) return seen_[as_size(e)].gate + b * layout_.gate_panel_bytes();
    return buffer_.data() + layout_.gate_panel(e, b);
  }
  const std::byte* up_panel(ExpertId e, index_t b) const noexcept {
    if (layout_.is_seen) return seen_[as_size(e)].up + b * layout_.up_panel_bytes();
    return buffer_.data() + layout_.up_panel(e, b);
  }
  const std::byte* down_panel(ExpertId e, index_t p) const noexcept {
    if (layout_.is_seen) return seen_[as_size(e)].down + p * layout_.down_panel_bytes();
    return buffer_.data() + layout_.down_panel(e, p);
  }
  index_t h_width() const noexcept { return layout_.ffn_blocks() * panel_rows; }
  index_t block_rows() const noexcept { return layout_.panels_per_block() * panel_rows; }
  // Of the rows of x, and of those of h.
  Tile x_tile() const noexcept { return tile_of(formats().up); }
  Tile h_tile() const noexcept { return tile_of(formats().down); }
  // A tile of h is made piece by piece: so many blocks are one.
  index_t blocks_at_once() const noexcept { return divide_up(h_tile().columns, panel_rows); }

  Status apply_batch(const ExpertBatch& batch, ConstRows x, Rows y, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const bool gathers = !x_tile().is_row || batch.has_tiles();
    const std::int64_t tiles_size = gathers ? batch.size() * x_tile().row_size(hidden_size()) : 0;
    const index_t n = ctx.slices(layout_.down_panels());
    const std::span<std::int64_t> bad = ctx.workspace.take<std::int64_t>(n);
    Element* const tiles = ctx.workspace.take<Element>(tiles_size + batch.size() * h_tile().row_size(h_width())).data();
    Element* const h = tiles + tiles_size;
    if (gathers) {
      const index_t units = divide_up(hidden_size(), x_tile().columns);
      ctx.parallel(n, [&](index_t i) { gather(batch, x, Slice::of(units, n, i), tiles); });
    }
    const index_t threads = ctx.executor.size();
    ctx.parallel(threads, [&](index_t i) { compute_h(batch, x, tiles, i, threads, h); });
    ctx.parallel(n, [&](index_t i) { bad[as_size(i)] = add(batch, Slice::of(layout_.down_panels(), n, i), h, y); });

    std::int64_t first_bad = batch.size();
    for (const std::int64_t place : bad) first_bad = place < first_bad ? place : first_bad;
    if (first_bad == batch.size()) return Status::success();
    return Status::not_finite("output of an expert is not finite", -1, batch.token(first_bad), batch.expert(first_bad));
  }

  // Some columns of the tiles of x, counted as tiles do.
  void gather(const ExpertBatch& batch, ConstRows x, Slice units, Element* tiles) const noexcept {
    const Tile kind = x_tile();
    const index_t first = units.first * kind.columns;
    const index_t last = units.last * kind.columns < hidden_size() ? units.last * kind.columns : hidden_size();
    batch.for_each_tile([&](ExpertId, const ExpertBatch::Tile& tile) {
      if (kind.is_row && tile.m == 1) return;
      const float* rows[as_size(Tile::max_rows)];
      for (index_t r = 0; r < tile.m; ++r) rows[r] = x.row_data(tile.tokens[as_size(r)]) + first;
      make_any_tile<Backend>(kind, rows, tile.m, last - first,
                             tiles + tile.place * kind.row_size(hidden_size()) + tile.m * kind.row_size(first));
    });
  }
  const Element* tile_of_x(const ExpertBatch::Tile& tile, ConstRows x, const Element* tiles) const noexcept {
    if (x_tile().is_row && tile.m == 1) return reinterpret_cast<const Element*>(x.row_data(tile.tokens[0]));
    return tiles + tile.place * x_tile().row_size(hidden_size());
  }

  // Part i of n of the tiles of h.
  void compute_h(const ExpertBatch& batch, ConstRows x, const Element* tiles, index_t i, index_t n,
                 Element* h) const noexcept {
    // What the division leaves over goes to another thread with every expert.
    const index_t each = blocks_at_once();
    const index_t units = divide_up(layout_.ffn_blocks(), each);
    const auto units_of = [&](ExpertId e) { return Slice::of(units, n, (i + e % n) % n); };
    float out[scratch_size];
    batch.for_each_block(units_of, each * layout_.block_bytes(), max_panels / layout_.panels_per_block() / each,
                         [&](ExpertId e, Slice unit, const ExpertBatch::Tile& tile) {
                           const Slice blocks{unit.first * each,
                                              unit.last == units ? layout_.ffn_blocks() : unit.last * each};
                           multiply_block(e, blocks, tile_of_x(tile, x, tiles), tile.m, out);
                           activate(e, blocks, tile.m, out, h + tile.place * h_tile().row_size(h_width()));
                         });
  }
  // Rows of up, and of gate where there is one, of some blocks: out (m, block_rows * blocks). The 16 numbers of gate
  // and of up of a block lie side by side, or, where their panels do not, all of gate before all of up.
  void multiply_block(ExpertId e, Slice blocks, const Element* tile, index_t m, float* out) const noexcept {
    const index_t count = blocks.last - blocks.first;
    const std::int64_t stride = count * block_rows();
    if (layout_.is_interleaved()) {
      multiply(formats().up, shape().gated ? gate_panel(e, blocks.first) : up_panel(e, blocks.first), hidden_size(),
               count * layout_.panels_per_block(), tile, m, out, stride);
    } else {
      multiply(formats().gate, gate_panel(e, blocks.first), hidden_size(), count, tile, m, out, stride);
      multiply(formats().up, up_panel(e, blocks.first), hidden_size(), count, tile, m, out + stride / 2, stride);
    }
  }
  // The tile of h of some blocks, from what multiply_block made.
  void activate(ExpertId e, Slice blocks, index_t m, float* out, Element* h) const noexcept {
    const index_t count = blocks.last - blocks.first;
    const index_t step = layout_.is_interleaved() ? block_rows() : panel_rows;
    const index_t up = shape().gated ? (layout_.is_interleaved() ? panel_rows : count * panel_rows) : 0;
    for (index_t b = 0; b < count; ++b) {
      const index_t first = (blocks.first + b) * panel_rows;  // row of gate and up
      for (index_t r = 0; r < m; ++r) {
        float* const row = out + r * count * block_rows() + b * step;
        if (shape().has_bias) {
          if (shape().gated) Backend::axpy(1.0f, bias(layout_.gate_bias(e, first)), panel_rows, row);
          Backend::axpy(1.0f, bias(layout_.up_bias(e, first)), panel_rows, row + up);
        }
        if (shape().gated) {
          Backend::glu(shape().activation, row, row + up, panel_rows, row);
        } else {
          Backend::activate(shape().activation, row, panel_rows, row);
        }
      }
    }
    make_h_tile(blocks, m, out, count * block_rows(), step, h);
  }
  // From the first 16 of every `step` floats of m rows, the numbers of a block.
  void make_h_tile(Slice blocks, index_t m, float* out, index_t stride, index_t step, Element* h) const noexcept {
    const Tile kind = h_tile();
    const index_t each = blocks_at_once();
    for (index_t b = blocks.first; b < blocks.last; b += each) {
      const index_t taken = blocks.last - b < each ? blocks.last - b : each;
      const float* rows[as_size(Tile::max_rows)];
      for (index_t r = 0; r < m; ++r) {
        float* const row = out + r * stride + (b - blocks.first) * step;
        for (index_t i = 1; i < taken && step != panel_rows; ++i) {
          std::memmove(row + i * panel_rows, row + i * step, panel_rows * sizeof(float));
        }
        rows[r] = row;
      }
      make_any_tile<Backend>(kind, rows, m, taken * panel_rows, h + m * kind.row_size(b * panel_rows));
    }
  }

  // y += weight * (W_down h + b_down), in the columns of some panels. Returns the place of the first entry whose output
  // is not finite, or the size of the batch.
  std::int64_t add(const ExpertBatch& batch, Slice panels, const Element* h, Rows y) const noexcept {
    std::int64_t bad = batch.size();
    float out[scratch_size];
    batch.for_each_block(
        [&](ExpertId) { return panels; }, layout_.down_panel_bytes(), max_panels,
        [&](ExpertId e, Slice block, const ExpertBatch::Tile& tile) {
          const index_t stride = (block.last - block.first) * panel_rows;
          multiply(formats().down, down_panel(e, block.first), shape().ffn_size, block.last - block.first,
                   h + tile.place * h_tile().row_size(h_width()), tile.m, out, stride);
          const index_t column = block.first * panel_rows;
          const index_t width = hidden_size() - column < stride ? hidden_size() - column : stride;
          for (index_t r = 0; r < tile.m; ++r) {
            float* const row = out + r * stride;
            if (shape().has_bias) Backend::axpy(1.0f, bias(layout_.down_bias(e, column)), width, row);
            if (!Backend::all_finite(row, width) && tile.place + r < bad) bad = tile.place + r;
            Backend::axpy(tile.weights[as_size(r)], row, width, y.row_data(tile.tokens[as_size(r)]) + column);
          }
        });
    return bad;
  }
  const float* bias(std::int64_t position) const noexcept { return biases_.data() + position; }

  GluLayout<Format> layout_;
  AlignedBuffer buffer_;
  std::vector<GluPanels> seen_;  // with layout_.is_seen, in place of the buffer
  std::vector<float> biases_;
};

// The usual one: silu, gated, no biases is what GluShape says by default.
template <WeightFormat Format = F32, class Backend = NativeBackend>
using SwiGluExperts = GluExperts<Format, Backend>;

}  // namespace headgate::inline HEADGATE_ABI
