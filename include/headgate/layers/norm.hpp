// RmsNorm (Zhang and Sennrich 2019): every row x becomes  x / sqrt(mean(x^2) + epsilon) * weight.
#pragma once

#include <vector>

#include "headgate/core/context.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/core/matrix_view.hpp"
#include "headgate/kernels/native.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Backend = NativeBackend>
class RmsNorm {
 public:
  // weight (width); epsilon finite and not negative.
  static Expected<RmsNorm> create(std::vector<float> weight, float epsilon) {
    const auto width = static_cast<std::int64_t>(weight.size());
    if (width < 1) return Status::mismatch("width of a norm, at least", width, 1);
    if (width > max_index) return Status::mismatch("width of a norm, at most", width, max_index);
    if (!(epsilon >= 0.0f && epsilon <= std::numeric_limits<float>::max())) {
      return Status{ErrorCode::usage, "epsilon of a norm is not a finite number from 0 on"};
    }
    return RmsNorm(std::move(weight), epsilon, Checked{});
  }
  // Throws the same error.
  RmsNorm(std::vector<float> weight, float epsilon)
    requires has_exceptions
      : RmsNorm(create(std::move(weight), epsilon).value()) {}

  index_t width() const noexcept { return static_cast<index_t>(weight_.size()); }
  float epsilon() const noexcept { return epsilon_; }
  std::span<const float> weight() const noexcept { return weight_; }

  // x (T, width) -> y (T, width); y is x or does not overlap it.
  Status forward(ConstRows x, Rows y, Context& ctx) const {
    if (x.cols != width()) return Status::mismatch("width of x against width of a norm", x.cols, width());
    if (y.cols != width()) return Status::mismatch("width of y against width of a norm", y.cols, width());
    if (y.rows != x.rows) return Status::mismatch("rows of y against rows of x", y.rows, x.rows);
    const bool in_place = x.data == y.data && x.stride == y.stride;
    if (Status status = in_place ? check_view(y) : check_apart(x, y); !status.ok()) return status;
    const index_t n = ctx.slices(x.rows);
    ctx.parallel(n, [&](index_t i) {
      const Slice rows = Slice::of(x.rows, n, i);
      for (index_t t = rows.first; t < rows.last; ++t) {
        Backend::rms_norm(x.row_data(t), weight_.data(), epsilon_, width(), y.row_data(t));
      }
    });
    return Status::success();
  }

 private:
  struct Checked {};
  RmsNorm(std::vector<float> weight, float epsilon, Checked) noexcept : weight_(std::move(weight)), epsilon_(epsilon) {}

  std::vector<float> weight_;  // (width)
  float epsilon_;
};

}  // namespace headgate::inline HEADGATE_ABI
