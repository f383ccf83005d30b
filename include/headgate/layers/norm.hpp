// Norms of rows x, with weights w and biases b as wide as they:
//   RmsNorm (Zhang and Sennrich 2019)    x / sqrt(mean(x^2) + epsilon) * w
//   LayerNorm (Ba et al. 2016)           (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * w [+ b]
// AnyNorm is one of them, chosen at run time.
#pragma once

#include <variant>
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

  // What forward takes: x (T, width), y (T, width); y is x or does not overlap it.
  Status check(ConstRows x, Rows y) const noexcept {
    if (x.cols != width()) return Status::mismatch("width of x against width of a norm", x.cols, width());
    if (y.cols != width()) return Status::mismatch("width of y against width of a norm", y.cols, width());
    if (y.rows != x.rows) return Status::mismatch("rows of y against rows of x", y.rows, x.rows);
    const bool in_place = x.data == y.data && x.stride == y.stride;
    return in_place ? check_view(y) : check_apart(x, y);
  }
  Status forward(ConstRows x, Rows y, Context& ctx) const {
    if (Status status = check(x, y); !status.ok()) return status;
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

template <class Backend = NativeBackend>
class LayerNorm {
 public:
  // weight (width); bias (width) or empty; epsilon finite and not negative.
  static Expected<LayerNorm> create(std::vector<float> weight, std::vector<float> bias, float epsilon) {
    if (!bias.empty() && bias.size() != weight.size()) {
      return Status::mismatch("size of the bias of a norm against its width", static_cast<std::int64_t>(bias.size()),
                              static_cast<std::int64_t>(weight.size()));
    }
    Expected<RmsNorm<Backend>> scaled = RmsNorm<Backend>::create(std::move(weight), epsilon);
    if (!scaled) return scaled.error();
    return LayerNorm(std::move(scaled).value(), std::move(bias));
  }

  index_t width() const noexcept { return scaled_.width(); }

  // As of RmsNorm.
  Status forward(ConstRows x, Rows y, Context& ctx) const {
    if (Status status = scaled_.check(x, y); !status.ok()) return status;
    const index_t n = ctx.slices(x.rows);
    ctx.parallel(n, [&](index_t i) {
      const Slice rows = Slice::of(x.rows, n, i);
      for (index_t t = rows.first; t < rows.last; ++t) {
        const float* const from = x.row_data(t);
        float* const to = y.row_data(t);
        const float mean = Backend::sum(from, width()) / static_cast<float>(width());
        for (index_t c = 0; c < width(); ++c) to[c] = from[c] - mean;
        Backend::rms_norm(to, scaled_.weight().data(), scaled_.epsilon(), width(), to);
        if (!bias_.empty()) Backend::axpy(1.0f, bias_.data(), width(), to);
      }
    });
    return Status::success();
  }

 private:
  LayerNorm(RmsNorm<Backend> scaled, std::vector<float> bias) : scaled_(std::move(scaled)), bias_(std::move(bias)) {}

  RmsNorm<Backend> scaled_;  // of the centred row
  std::vector<float> bias_;  // (width) or empty
};

class AnyNorm {
 public:
  AnyNorm(RmsNorm<> norm) : norm_(std::move(norm)) {}    // NOLINT(google-explicit-constructor)
  AnyNorm(LayerNorm<> norm) : norm_(std::move(norm)) {}  // NOLINT(google-explicit-constructor)

  index_t width() const noexcept {
    return std::visit([](const auto& norm) { return norm.width(); }, norm_);
  }
  Status forward(ConstRows x, Rows y, Context& ctx) const {
    return std::visit([&](const auto& norm) { return norm.forward(x, y, ctx); }, norm_);
  }

 private:
  std::variant<RmsNorm<>, LayerNorm<>> norm_;
};

}  // namespace headgate::inline HEADGATE_ABI
