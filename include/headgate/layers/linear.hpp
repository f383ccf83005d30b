// Linear: y = x W^T + b with packed weights W (rows, cols), the bias optional. Linear<AnyFormat> is one type
// whatever format was chosen for its weights at run time.
#pragma once

#include <utility>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"

namespace headgate::inline HEADGATE_ABI {

template <WeightFormat Format = F32, class Backend = NativeBackend>
class Linear {
 public:
  // All zero, to be filled row by row while a checkpoint streams by. Throws std::bad_alloc.
  static Expected<Linear> create(index_t rows, index_t cols, bool has_bias = false, Format format = {}) {
    if (rows < 1) return Status::mismatch("rows of a linear layer, at least", rows, 1);
    if (cols < 1) return Status::mismatch("columns of a linear layer, at least", cols, 1);
    if (rows > max_index - panel_rows)
      return Status::mismatch("rows of a linear layer, at most", rows, max_index - panel_rows);
    if (!format.fits(cols)) return Status{ErrorCode::usage, "a row is no whole blocks of its format"};
    return Linear(rows, cols, has_bias, format, Checked{});
  }
  static Expected<Linear> create(ConstRows weights, std::span<const float> bias = {}, Format format = {}) {
    if (!bias.empty() && static_cast<std::int64_t>(bias.size()) != weights.rows) {
      return Status::mismatch("size of the bias against rows", static_cast<std::int64_t>(bias.size()), weights.rows);
    }
    if (Status status = check_view(weights); !status.ok()) return status;
    if (!format.packs_floats()) return Status{ErrorCode::usage, "the format keeps bytes of files and packs no floats"};
    Expected<Linear> linear = create(weights.rows, weights.cols, !bias.empty(), format);
    if (!linear) return linear;
    for (index_t r = 0; r < weights.rows; ++r) linear.value().set_row(r, weights.row_data(r));
    for (index_t r = 0; !bias.empty() && r < weights.rows; ++r) linear.value().set_bias(r, bias[as_size(r)]);
    return linear;
  }
  // Throw the same errors.
  Linear(index_t rows, index_t cols, bool has_bias = false, Format format = {})
    requires has_exceptions
      : Linear(create(rows, cols, has_bias, format).value()) {}
  explicit Linear(ConstRows weights, std::span<const float> bias = {}, Format format = {})
    requires has_exceptions
      : Linear(create(weights, bias, format).value()) {}

  // Of panels that somebody else owns and keeps; biases zero. Precondition: rows and columns as create wants them.
  static Linear over(PanelView<Format> panels, bool has_bias = false) {
    return Linear(Panel16<Format>::over(panels), has_bias);
  }

  // Preconditions: the row exists (and has_bias), values: cols() elements, as the format packs them; owned weights.
  void set_row(index_t row, WeightRow values) noexcept { weights_.set_row(row, values); }
  void set_bias(index_t row, float value) noexcept { bias_[as_size(row)] = value; }

  index_t rows() const noexcept { return weights_.rows(); }
  index_t cols() const noexcept { return weights_.cols(); }
  Format format() const noexcept { return weights_.format(); }
  std::int64_t bytes() const noexcept {
    return weights_.bytes() + static_cast<std::int64_t>(bias_.size() * sizeof(float));
  }
  PanelView<Format> weights() const noexcept { return weights_.view(); }

  // x (T, cols) -> y (T, rows). x and y do not overlap.
  Status forward(ConstRows x, Rows y, Context& ctx) const {
    if (x.cols != cols()) return Status::mismatch("width of x against columns of a linear layer", x.cols, cols());
    if (y.cols != rows()) return Status::mismatch("width of y against rows of a linear layer", y.cols, rows());
    if (y.rows != x.rows) return Status::mismatch("rows of y against rows of x", y.rows, x.rows);
    if (Status status = check_apart(x, y); !status.ok()) return status;
    product<Backend>(weights_.view(), x, y, ctx);
    if (bias_.empty()) return Status::success();
    const index_t n = ctx.slices(y.rows);
    ctx.parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(y.rows, n, i);
      for (index_t t = slice.first; t < slice.last; ++t) Backend::axpy(1.0f, bias_.data(), y.cols, y.row_data(t));
    });
    return Status::success();
  }

 private:
  struct Checked {};
  Linear(index_t rows, index_t cols, bool has_bias, Format format, Checked)
      : Linear(Panel16<Format>(rows, cols, format), has_bias) {}
  Linear(Panel16<Format> weights, bool has_bias)
      : weights_(std::move(weights)), bias_(has_bias ? as_size(weights_.rows()) : std::size_t{0}) {}

  Panel16<Format> weights_;
  std::vector<float> bias_;  // (rows) or empty
};

}  // namespace headgate::inline HEADGATE_ABI
