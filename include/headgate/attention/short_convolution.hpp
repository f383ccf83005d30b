// ShortConvolution: the gated convolution of LFM2 (Liquid AI 2025), a mixer that is no attention. Of a row u
//   [b | c | x] = u W_in^T,  h = b * x,  g_t = sum over j < K of w_j * h_{t-K+1+j},  y = (c * g) W_out^T
// channel by channel, with K taps a channel, zeros before position 0 and, where there are any, a bias behind each of
// the three. As transformers' Lfm2ShortConv: the last tap belongs to the row itself, and nothing is activated.
//
// The few products of a sum are added in double, tap by tap, where a product of floats is exact: so a compiler that
// fuses them changes no bit.
#pragma once

#include <vector>

#include "headgate/attention/fir_state.hpp"
#include "headgate/attention/mixer.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"

namespace headgate::inline HEADGATE_ABI {

struct ShortConvolutionShape {
  index_t hidden_size = 0;
  index_t taps = 0;
  bool has_bias = false;  // of both projections and the convolution

  Status check() const noexcept {
    constexpr index_t max_size = index_t{1} << 20;
    constexpr index_t max_taps = 1024;
    if (hidden_size < 1) return Status::mismatch("hidden_size, at least", hidden_size, 1);
    if (hidden_size > max_size) return Status::mismatch("hidden_size", hidden_size, max_size);
    if (taps < 1) return Status::mismatch("taps of a convolution, at least", taps, 1);
    if (taps > max_taps) return Status::mismatch("taps of a convolution", taps, max_taps);
    return Status::success();
  }
  // Bytes of the state of one text. Precondition of this and the next: check() is a success.
  std::int64_t state_bytes(const StateSize& size) const noexcept { return FirState::bytes(size, taps, hidden_size); }
  // What forward takes from the workspace at a time, at most, in floats, through an AnyMixer, too; x and y excluded.
  std::int64_t scratch_floats(const PassSize& pass) const noexcept {
    constexpr std::int64_t take_padding = 4 * 16;  // a take is rounded up to lines of 16 floats
    const std::int64_t pointers = 4 * pass.sequences;
    return pass.rows * (std::int64_t{3} + 1) * hidden_size + pointers +
           take_padding;  // projected, and a product's tiles
  }
};

// The format of each matrix.
template <WeightFormat Format>
struct ShortConvolutionFormats {
  [[no_unique_address]] Format input = {};
  [[no_unique_address]] Format output = {};
};

template <WeightFormat Format = F32, class Backend = NativeBackend>
class ShortConvolution {
 public:
  using State = FirState;
  using Formats = ShortConvolutionFormats<Format>;

  // All weights zero, to be filled while a checkpoint streams by. Throws std::bad_alloc.
  static Expected<ShortConvolution> create(const ShortConvolutionShape& shape, const Formats& formats = {}) {
    if (Status status = shape.check(); !status.ok()) return status;
    return ShortConvolution(shape, formats, Checked{});
  }
  explicit ShortConvolution(const ShortConvolutionShape& shape, const Formats& formats = {})
    requires has_exceptions
      : ShortConvolution(create(shape, formats).value()) {}

  // Rows of the input projection, (3 hidden_size, hidden_size): first of b, then of c, then of x. Preconditions of all
  // setters: the row or channel exists, values has hidden_size elements, of a channel `taps`, the current row's last.
  void set_input_row(index_t row, WeightRow values) noexcept { input_.set_row(row, values); }
  void set_output_row(index_t row, WeightRow values) noexcept { output_.set_row(row, values); }
  void set_taps(index_t channel, const float* values) noexcept {
    for (index_t j = 0; j < shape_.taps; ++j) taps_[as_size(j) * as_size(hidden_size()) + as_size(channel)] = values[j];
  }
  // To be filled; empty without has_bias.
  std::span<float> input_bias() noexcept { return input_bias_; }    // (3 hidden_size)
  std::span<float> taps_bias() noexcept { return taps_bias_; }      // (hidden_size)
  std::span<float> output_bias() noexcept { return output_bias_; }  // (hidden_size)

  const ShortConvolutionShape& shape() const noexcept { return shape_; }
  index_t hidden_size() const noexcept { return shape_.hidden_size; }
  const Rope* rope() const noexcept { return nullptr; }
  std::int64_t weight_bytes() const noexcept {
    const std::size_t floats = taps_.size() + input_bias_.size() + taps_bias_.size() + output_bias_.size();
    return input_.bytes() + output_.bytes() + static_cast<std::int64_t>(floats * sizeof(float));
  }
  bool holds(CacheType) const noexcept { return true; }
  FirState make_state(const StateSize& size) const { return {size, shape_.taps, shape_.hidden_size}; }

  Status forward(const MixerInput& in, std::span<FirState* const> states, Rows y, Context& ctx) const {
    if (Status status = check_mixer(in, states, y, hidden_size(), 0); !status.ok()) return status;
    for (const FirState* const state : states) {
      if (state->taps() != shape_.taps || state->width() != hidden_size())
        return {ErrorCode::usage, "the state was made by a convolution of another shape"};
    }
    const Workspace::Mark mark(ctx.workspace);
    const Rows projected = ctx.workspace.take_rows(in.hidden.rows, 3 * hidden_size());
    const std::span<float*> past = ctx.workspace.take<float*>(static_cast<std::int64_t>(states.size()));
    product<Backend>(input_.view(), in.hidden, projected, ctx);
    for (std::size_t s = 0; s < states.size(); ++s) past[s] = states[s]->append(in.sequences[s].rows).data;
    // A row convolves what rows before it put into the state, so all of them do that first.
    each_row(in, ctx, [&](index_t t, const SequenceCursor& text) {
      store(projected.row_data(t), past[text.index] + std::int64_t{t - text.first_row} * hidden_size());
    });
    each_row(in, ctx, [&](index_t t, const SequenceCursor& text) {
      convolve(past[text.index] + std::int64_t{t - text.first_row} * hidden_size(), projected.row_data(t));
    });
    // The mixed rows lie where the parts b did.
    product<Backend>(output_.view(), ConstRows(projected.data, projected.rows, hidden_size(), projected.stride), y,
                     ctx);
    if (!output_bias_.empty()) {
      for (index_t t = 0; t < y.rows; ++t) Backend::axpy(1.0f, output_bias_.data(), y.cols, y.row_data(t));
    }
    return Status::success();
  }

 private:
  struct Checked {};
  ShortConvolution(const ShortConvolutionShape& shape, const Formats& formats, Checked)
      : shape_(shape),
        input_(3 * shape.hidden_size, shape.hidden_size, formats.input),
        output_(shape.hidden_size, shape.hidden_size, formats.output),
        taps_(as_size(shape.taps) * as_size(shape.hidden_size)),
        input_bias_(shape.has_bias ? as_size(3 * shape.hidden_size) : 0),
        taps_bias_(shape.has_bias ? as_size(shape.hidden_size) : 0),
        output_bias_(shape.has_bias ? as_size(shape.hidden_size) : 0) {}

  template <class Use>
  static void each_row(const MixerInput& in, Context& ctx, Use&& use) {
    const index_t n = ctx.slices(in.hidden.rows);
    ctx.parallel(n, [&](index_t i) {
      const Slice rows = Slice::of(in.hidden.rows, n, i);
      SequenceCursor text{in.sequences};
      for (index_t t = rows.first; t < rows.last; ++t) {
        text.seek(t);
        use(t, text);
      }
    });
  }
  // h = b * x
  void store(float* projected, float* h) const noexcept {
    if (!input_bias_.empty()) Backend::axpy(1.0f, input_bias_.data(), 3 * hidden_size(), projected);
    const float* const x = projected + 2 * hidden_size();
    for (index_t i = 0; i < hidden_size(); ++i) h[i] = projected[i] * x[i];
  }
  // c * g, in the place of b. h is the row's own; the taps - 1 rows in front of it are those before it.
  void convolve(const float* h, float* projected) const noexcept {
    constexpr index_t block = 64;  // channels whose sums stay in registers or the L1 cache
    const index_t width = hidden_size();
    const float* const c = projected + width;
    for (index_t first = 0; first < width; first += block) {
      const index_t count = std::min(block, width - first);
      double sums[as_size(block)];
      for (index_t i = 0; i < count; ++i) {
        sums[i] = taps_bias_.empty() ? 0.0 : static_cast<double>(taps_bias_[as_size(first + i)]);
      }
      for (index_t j = 0; j < shape_.taps; ++j) {
        const float* const weights = taps_.data() + std::int64_t{j} * width + first;
        const float* const row = h + std::int64_t{j - (shape_.taps - 1)} * width + first;
        for (index_t i = 0; i < count; ++i) sums[i] += static_cast<double>(weights[i]) * static_cast<double>(row[i]);
      }
      for (index_t i = 0; i < count; ++i) projected[first + i] = c[first + i] * static_cast<float>(sums[i]);
    }
  }

  ShortConvolutionShape shape_;
  Panel16<Format> input_;    // (3 hidden_size, hidden_size): b, c, x
  Panel16<Format> output_;   // (hidden_size, hidden_size)
  std::vector<float> taps_;  // (taps, hidden_size)
  std::vector<float> input_bias_;
  std::vector<float> taps_bias_;
  std::vector<float> output_bias_;
};

}  // namespace headgate::inline HEADGATE_ABI
