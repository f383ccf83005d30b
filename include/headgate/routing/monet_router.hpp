// Monet's router (Park et al. 2024, "Monet: Mixture of Monosemantic Experts for Transformers", arXiv 2412.04139):
// product keys with a threshold in place of a k. For each side s and head h, with H I rows of W_s:
//   z = W_s x;  n = (z - mean_h) / sqrt(variance_h + epsilon)    a batch norm with running statistics
//   kept: the i with n_i >= min(sigma, max n), so at least one
//   sigma = Phi^-1(1 - topk / I), so that topk are kept on average
//   g_i = softmax of z over those kept
// The plan is factored (routing/factored_plan.hpp). Follows dmis-lab/Monet, of which golden vectors come. Models
// compute it in every fourth layer and use it in the three that follow (layers/monet_layer.hpp).
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"
#include "headgate/routing/factored_plan.hpp"
#include "headgate/routing/plan_writer.hpp"
#include "headgate/routing/router.hpp"

namespace headgate::inline HEADGATE_ABI {

// The x below which a normal variable is with probability p in [0, 1].
inline double normal_quantile(double p) noexcept {
  if (p <= 0.0) return -std::numeric_limits<double>::infinity();
  if (p >= 1.0) return std::numeric_limits<double>::infinity();
  double low = -40.0;
  double high = 40.0;
  for (int i = 0; i < 100; ++i) {
    const double middle = 0.5 * (low + high);
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

// One side of a router, which keeps copies.
struct MonetSide {
  ConstRows gate;                   // router.w1 or w2 (heads * I, hidden_size), a head after the other
  std::span<const float> mean;      // router.norm1 or norm2 .running_mean (heads)
  std::span<const float> variance;  // .running_var (heads)
};

struct MonetOptions {
  index_t heads = 8;      // moe_heads
  index_t topk = 32;      // moe_topk: kept of a side on average, 1 to I
  float epsilon = 1e-5f;  // of the norms
};

template <class Backend = NativeBackend>
class MonetRouter {
 public:
  static Expected<MonetRouter> create(const MonetSide& first, const MonetSide& second, const MonetOptions& options) {
    if (options.heads < 1) return Status::mismatch("heads of a router, at least", options.heads, 1);
    if (options.topk < 1) return Status::mismatch("topk of a router, at least", options.topk, 1);
    for (const MonetSide* side : {&first, &second}) {
      if (Status status = check_view(side->gate); !status.ok()) return status;
      if (side->gate.cols < 1) return Status::mismatch("columns of a router's gate, at least", side->gate.cols, 1);
      if (side->gate.rows < options.heads || side->gate.rows % options.heads != 0) {
        return Status::mismatch("rows of a router's gate, which are a multiple of the heads,", side->gate.rows,
                                options.heads);
      }
      if (side->gate.rows / options.heads < options.topk) {
        return Status::mismatch("topk of a router against a side", options.topk, side->gate.rows / options.heads);
      }
      for (const std::span<const float> values : {side->mean, side->variance}) {
        const auto count = static_cast<std::int64_t>(values.size());
        if (count != options.heads) return Status::mismatch("numbers of a norm against heads", count, options.heads);
      }
      for (std::size_t h = 0; h < side->mean.size(); ++h) {
        if (!std::isfinite(side->mean[h]) || !(side->variance[h] >= 0.0f) ||
            !(side->variance[h] + options.epsilon > 0.0f) || !std::isfinite(side->variance[h] + options.epsilon)) {
          return Status{ErrorCode::usage, "mean or variance of a router's norm is no finite number, or negative"};
        }
      }
    }
    if (second.gate.cols != first.gate.cols) {
      return Status::mismatch("columns of the second gate against the first", second.gate.cols, first.gate.cols);
    }
    const std::int64_t experts = std::int64_t{first.gate.rows / options.heads} * (second.gate.rows / options.heads);
    if (experts > max_index) return Status::mismatch("number of experts", experts, max_index);
    return MonetRouter(first, second, options);
  }

  index_t side(index_t s) const noexcept { return sides_[s]->gate.rows() / heads_; }  // I, J
  index_t heads() const noexcept { return heads_; }
  index_t hidden_size() const noexcept { return sides_[0]->gate.cols(); }
  float sigma(index_t s) const noexcept { return sides_[s]->sigma; }

  // Replaces the plan, whose sides' rows list what is kept in ascending order. A number that is not finite is named by
  // its first expert. On an error the plan has no rows.
  Status route(ConstRows x, index_t layer, FactoredPlan& plan, Context& ctx) const {
    plan.heads = heads_;
    plan.removed.clear();
    for (const index_t s : {0, 1}) plan.side[s].clear(side(s));
    if (Status status = check_hidden(x, hidden_size()); !status.ok()) return status;
    if (const std::int64_t rows = std::int64_t{x.rows} * heads_; rows > max_index) {
      return Status::mismatch("rows of a factored plan", rows, max_index);
    }
    Status first;
    for (const index_t s : {0, 1}) {
      const Status status = route_side(x, s, plan.side[s], ctx);
      if (!status.ok() && (first.ok() || status.token < first.token)) first = status;
    }
    if (first.ok()) return first;
    for (const index_t s : {0, 1}) plan.side[s].clear(side(s));
    first.layer = layer;
    return first;
  }

 private:
  struct Side {
    Panel16<F32> gate;         // (heads * I, hidden_size)
    std::vector<float> mean;   // (heads)
    std::vector<float> scale;  // (heads) 1 / sqrt(variance + epsilon)
    float sigma;
  };

  MonetRouter(const MonetSide& first, const MonetSide& second, const MonetOptions& options) : heads_(options.heads) {
    for (const MonetSide* from : {&first, &second}) {
      const double kept = static_cast<double>(options.topk) / static_cast<double>(from->gate.rows / heads_);
      Side made{Panel16<F32>(from->gate), {from->mean.begin(), from->mean.end()}, {}, 0.0f};
      for (const float variance : from->variance) made.scale.push_back(1.0f / std::sqrt(variance + options.epsilon));
      made.sigma = static_cast<float>(normal_quantile(1.0 - kept));
      sides_[from == &first ? 0 : 1] = std::make_shared<const Side>(std::move(made));
    }
  }

  Status route_side(ConstRows x, index_t s, RoutingPlan& plan, Context& ctx) const {
    const Side& of = *sides_[s];
    const index_t size = side(s);
    const index_t rows = x.rows * heads_;
    PlanWriter writer(plan);
    if (Status status = writer.open(size, rows, size); !status.ok()) return status;
    const Workspace::Mark mark(ctx.workspace);
    const Rows logits = ctx.workspace.take_rows(x.rows, of.gate.rows());
    product<Backend>(of.gate.view(), x, logits, ctx);
    const index_t n = ctx.slices(rows);
    const std::span<index_t> table = ctx.workspace.take<index_t>(n * writer.scratch_size());
    std::fill(table.begin(), table.end(), 0);
    const Status status = ctx.try_parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(rows, n, i);
      const auto own = table.subspan(as_size(i * writer.scratch_size()), as_size(writer.scratch_size()));
      Status failure;
      for (index_t row = slice.first; row < slice.last && failure.ok(); ++row) {
        const index_t head = row % heads_;
        const float* const z = logits.row_data(row / heads_) + head * size;
        failure = Backend::all_finite(z, size) ? keep(of, z, head, row, writer, own) : not_finite(z, s);
        failure.token = failure.ok() ? -1 : row / heads_;
      }
      return failure;
    });
    if (status.ok()) writer.finish();
    return status;
  }

  Status not_finite(const float* z, index_t s) const noexcept {
    index_t i = 0;
    while (std::isfinite(z[i])) ++i;
    return Status::not_finite("router logit is not finite", -1, -1, s == 0 ? i * side(1) : i);
  }

  static Status keep(const Side& of, const float* z, index_t head, index_t row, PlanWriter& writer,
                     std::span<index_t> table) noexcept {
    const auto normed = [&](float value) { return (value - of.mean[as_size(head)]) * of.scale[as_size(head)]; };
    const index_t size = writer.max_row();
    const float largest = normed(Backend::max(z, size));
    const float least = largest < of.sigma ? largest : of.sigma;
    const std::span<float> weights = writer.weights(row);
    index_t count = 0;
    for (index_t i = 0; i < size; ++i) {
      if (!(normed(z[i]) >= least)) continue;
      writer.experts(row)[as_size(count)] = i;
      weights[as_size(count++)] = z[i];
    }
    Backend::softmax(weights.data(), count);
    return writer.close_row(row, count, table);
  }

  index_t heads_;
  std::shared_ptr<const Side> sides_[2];  // which copies share
};

}  // namespace headgate::inline HEADGATE_ABI
