// BilevelRoutingAttention: attention of an image's tokens over routed regions (BiFormer, Zhu et al., CVPR 2023, section
// 3.2; exact to both official modules). An image (height, width, channels) is cut into regions;
//   1. q, k, v = W_qkv x + b                                   rows of W_qkv in the order q, k, v
//   2. each region is routed to the top_k regions of largest affinity <mean q, mean k>      routing/region_router.hpp
//   3. its queries attend, head by head, to all tokens of those: softmax(scale q k^T) v
//   4. out += local enhancement: a depthwise convolution of v, zero padded, with bias
//   5. W_o out + b_o
// scale is channels^-0.5 by default, of the full width and not of a head, as in both official modules and so in the
// released checkpoints. T is float, or double for comparisons.
#pragma once

#include <vector>

#include "headgate/core/context.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/routing/region_router.hpp"

namespace headgate::inline HEADGATE_ABI {

// What to do with an image whose sides are not multiples of the region's.
enum class RegionPadding : std::uint8_t {
  strict,     // an error
  input,      // zeros are appended to the image before the projection, up to regions_per_side equal regions; the
              // padded tokens have q = k = v = bias and count everywhere (bra_legacy.py, auto_pad)
  projected,  // regions of floor(side / regions_per_side); zeros are appended to q, k and v; means leave the padded
              // tokens out, the softmax counts them (bra_nchw.py)
};

template <std::floating_point T>
struct BilevelRoutingWeights {
  std::vector<T> qkv, qkv_bias;        // (3 channels, channels), (3 channels)
  std::vector<T> output, output_bias;  // (channels, channels), (channels)
  std::vector<T> local, local_bias;    // (channels, kernel, kernel), (channels)
};

struct BilevelRoutingShape {
  index_t channels = 0;
  index_t num_heads = 1;
  index_t regions_per_side = 7;  // n_win
  index_t top_k = 4;             // all regions where there are no more
  index_t local_kernel = 5;      // side of the convolution, odd; 0: none
  RegionPadding padding = RegionPadding::strict;
  bool mask_padding = false;  // true: padded tokens count nowhere, neither in means nor in the softmax
};

// Table of structures: BilevelRoutingAttention | the same over the regions of an image | Zhu et al. 2023, 2303.08810
template <std::floating_point T>
class BilevelRoutingAttention {
 public:
  static Expected<BilevelRoutingAttention> create(BilevelRoutingShape shape, BilevelRoutingWeights<T> weights) {
    const std::int64_t c = shape.channels;
    if (c < 1) return Status::mismatch("channels", c, 1);
    if (shape.num_heads < 1 || c % shape.num_heads != 0)
      return Status::mismatch("heads against channels", shape.num_heads, c);
    if (shape.regions_per_side < 1) return Status::mismatch("regions per side", shape.regions_per_side, 1);
    constexpr index_t max_side = 1 << 14;  // so that regions fit an index
    if (shape.regions_per_side > max_side)
      return Status::mismatch("regions per side", shape.regions_per_side, max_side);
    if (shape.top_k < 1) return Status::mismatch("routed regions", shape.top_k, 1);
    if (shape.local_kernel > max_side)
      return Status::mismatch("side of the local convolution", shape.local_kernel, max_side);
    if (shape.local_kernel < 0 || (shape.local_kernel > 0 && shape.local_kernel % 2 == 0)) {
      return Status::mismatch("side of the local convolution, which is odd or 0", shape.local_kernel, 5);
    }
    const std::int64_t local = c * shape.local_kernel * shape.local_kernel;
    const auto check = [](const char* what, const std::vector<T>& values, std::int64_t size) {
      return static_cast<std::int64_t>(values.size()) == size
                 ? Status::success()
                 : Status::mismatch(what, static_cast<std::int64_t>(values.size()), size);
    };
    for (const Status& status : {check("size of the qkv weight", weights.qkv, 3 * c * c),
                                 check("size of the qkv bias", weights.qkv_bias, 3 * c),
                                 check("size of the output weight", weights.output, c * c),
                                 check("size of the output bias", weights.output_bias, c),
                                 check("size of the local weight", weights.local, local),
                                 check("size of the local bias", weights.local_bias, shape.local_kernel > 0 ? c : 0)}) {
      if (!status.ok()) return status;
    }
    return BilevelRoutingAttention(shape, std::move(weights), T(1) / std::sqrt(static_cast<T>(c)));
  }

  // For weights trained with another scale (the official modules' qk_scale).
  void set_scale(T scale) noexcept { scale_ = scale; }

  // image and out: (height * width, channels), row by row. The plan is left to the caller: rows are query regions.
  Status forward(MatrixView<const T> image, index_t height, index_t width, MatrixView<T> out, RoutingPlan& plan,
                 Context& ctx) const {
    const index_t c = shape_.channels;
    if (height < 1 || width < 1) return Status::mismatch("side of the image", height < width ? height : width, 1);
    const std::int64_t tokens = std::int64_t{height} * width;
    if (image.rows != tokens || out.rows != tokens) return Status::mismatch("tokens of the image", image.rows, tokens);
    if (image.cols != c || out.cols != c) return Status::mismatch("channels of the image", image.cols, c);
    if (Status status = check_view(image); !status.ok()) return status;
    if (Status status = check_view(out); !status.ok()) return status;
    Grid grid;
    if (Status status = make_grid(height, width, grid); !status.ok()) return status;
    if (grid.tokens() > max_index) return {ErrorCode::limit, "tokens of the padded image", grid.tokens(), max_index};

    const Workspace::Mark mark(ctx.workspace);
    // q, k, v of every token of the padded image, (padded tokens, 3 channels); zero where `projected` appends.
    const MatrixView<T> qkv = ctx.workspace.take_rows<T>(static_cast<index_t>(grid.tokens()), 3 * c);
    project(image, grid, qkv, ctx);
    const MatrixView<T> q_mean = ctx.workspace.take_rows<T>(grid.regions(), c);
    const MatrixView<T> k_mean = ctx.workspace.take_rows<T>(grid.regions(), c);
    const std::span<std::uint8_t> allowed = ctx.workspace.take<std::uint8_t>(grid.regions());
    average(grid, qkv, q_mean, k_mean, allowed, ctx);
    const RegionRouter router(shape_.top_k);
    Status status = router.route(MatrixView<const T>(q_mean), MatrixView<const T>(k_mean), allowed, plan, ctx);
    if (!status.ok()) return status;

    const MatrixView<T> mixed = ctx.workspace.take_rows<T>(static_cast<index_t>(tokens), c);
    attend(grid, qkv, plan, mixed, ctx);
    if (shape_.local_kernel > 0) enhance(grid, qkv, mixed, ctx);
    rows(static_cast<index_t>(tokens), ctx, [&](index_t t) {
      linear(weights_.output.data(), weights_.output_bias.data(), mixed.row_data(t), c, c, out.row_data(t));
    });
    return Status::success();
  }

 private:
  // The image (height, width) inside its padded grid of regions.
  struct Grid {
    index_t height, width;  // the image
    index_t region_height, region_width;
    index_t regions_down, regions_across;

    index_t padded_width() const noexcept { return regions_across * region_width; }
    std::int64_t tokens() const noexcept { return std::int64_t{regions_down} * region_height * padded_width(); }
    index_t regions() const noexcept { return regions_down * regions_across; }
    bool real(index_t y, index_t x) const noexcept { return y < height && x < width; }
    index_t token(index_t y, index_t x) const noexcept { return y * padded_width() + x; }
    // visit(y, x) for every token of a region, row by row.
    template <class F>
    void each(index_t region, F&& visit) const {
      const index_t top = region / regions_across * region_height;
      const index_t left = region % regions_across * region_width;
      for (index_t y = top; y < top + region_height; ++y) {
        for (index_t x = left; x < left + region_width; ++x) visit(y, x);
      }
    }
  };

  BilevelRoutingAttention(BilevelRoutingShape shape, BilevelRoutingWeights<T> weights, T scale)
      : shape_(shape), weights_(std::move(weights)), scale_(scale) {}

  Status make_grid(index_t height, index_t width, Grid& grid) const noexcept {
    const index_t n = shape_.regions_per_side;
    if (shape_.padding == RegionPadding::strict && (height % n != 0 || width % n != 0)) {
      return Status::mismatch("side of the image, a multiple of regions_per_side", height % n != 0 ? height : width, n);
    }
    if (shape_.padding == RegionPadding::projected && (height < n || width < n)) {
      return Status::mismatch("side of the image", height < width ? height : width, n);
    }
    if (shape_.padding == RegionPadding::projected) {
      grid = {height, width, height / n, width / n, divide_up(height, height / n), divide_up(width, width / n)};
    } else {
      grid = {height, width, divide_up(height, n), divide_up(width, n), n, n};
    }
    return Status::success();
  }
  bool counts(const Grid& grid, index_t y, index_t x) const noexcept { return !shape_.mask_padding || grid.real(y, x); }

  template <class F>
  static void rows(index_t count, Context& ctx, F&& row) {
    const index_t n = ctx.slices(count);
    ctx.parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(count, n, i);
      for (index_t r = slice.first; r < slice.last; ++r) row(r);
    });
  }
  static void linear(const T* weight, const T* bias, const T* x, index_t inputs, index_t outputs, T* y) noexcept {
    for (index_t o = 0; o < outputs; ++o) {
      T sum = 0;
      for (index_t i = 0; i < inputs; ++i) sum += weight[std::int64_t{o} * inputs + i] * x[i];
      y[o] = sum + bias[o];
    }
  }

  void project(MatrixView<const T> image, const Grid& grid, MatrixView<T> qkv, Context& ctx) const {
    const index_t c = shape_.channels;
    rows(qkv.rows, ctx, [&](index_t t) {
      const index_t y = t / grid.padded_width();
      const index_t x = t % grid.padded_width();
      T* const row = qkv.row_data(t);
      if (grid.real(y, x)) {
        linear(weights_.qkv.data(), weights_.qkv_bias.data(), image.row_data(y * grid.width + x), c, 3 * c, row);
      } else {
        for (index_t i = 0; i < 3 * c; ++i)
          row[i] = shape_.padding == RegionPadding::input ? weights_.qkv_bias[as_size(i)] : T(0);
      }
    });
  }
  void average(const Grid& grid, MatrixView<T> qkv, MatrixView<T> q_mean, MatrixView<T> k_mean,
               std::span<std::uint8_t> allowed, Context& ctx) const {
    const index_t c = shape_.channels;
    const bool real_only = shape_.mask_padding || shape_.padding == RegionPadding::projected;
    rows(grid.regions(), ctx, [&](index_t region) {
      T* const q = q_mean.row_data(region);
      T* const k = k_mean.row_data(region);
      for (index_t i = 0; i < c; ++i) q[i] = k[i] = 0;
      index_t count = 0;
      grid.each(region, [&](index_t y, index_t x) {
        if (real_only && !grid.real(y, x)) return;
        const T* const row = qkv.row_data(grid.token(y, x));
        for (index_t i = 0; i < c; ++i) {
          q[i] += row[i];
          k[i] += row[c + i];
        }
        ++count;
      });
      allowed[as_size(region)] = count > 0 ? 1 : 0;
      for (index_t i = 0; i < c && count > 0; ++i) {
        q[i] /= static_cast<T>(count);
        k[i] /= static_cast<T>(count);
      }
    });
  }
  // One softmax per query and head over the tokens of the routed regions, read where they lie: nothing is gathered.
  void attend(const Grid& grid, MatrixView<T> qkv, const RoutingPlan& plan, MatrixView<T> mixed, Context& ctx) const {
    const index_t c = shape_.channels;
    const index_t head_dim = c / shape_.num_heads;
    index_t most = 0;
    for (index_t r = 0; r < plan.tokens(); ++r) {
      const auto regions = static_cast<index_t>(plan.experts(r).size());
      most = most > regions ? most : regions;
    }
    const index_t keys = most * grid.region_height * grid.region_width;
    const index_t n = ctx.slices(grid.regions());
    const std::span<T> scratch = ctx.workspace.take<T>(std::int64_t{n} * keys);
    ctx.parallel(n, [&](index_t i) {
      T* const scores = scratch.data() + std::int64_t{i} * keys;
      const Slice slice = Slice::of(grid.regions(), n, i);
      for (index_t region = slice.first; region < slice.last; ++region) {
        grid.each(region, [&](index_t y, index_t x) {
          if (!grid.real(y, x)) return;
          for (index_t head = 0; head < shape_.num_heads; ++head) {
            attend_one(grid, qkv, plan.experts(region), grid.token(y, x), head * head_dim, head_dim, scores,
                       mixed.row_data(y * grid.width + x) + head * head_dim);
          }
        });
      }
    });
  }
  void attend_one(const Grid& grid, MatrixView<T> qkv, std::span<const ExpertId> regions, index_t query, index_t first,
                  index_t head_dim, T* scores, T* out) const noexcept {
    const index_t c = shape_.channels;
    const T* const q = qkv.row_data(query) + first;
    T largest = -std::numeric_limits<T>::infinity();
    index_t count = 0;
    for (const ExpertId region : regions) {
      grid.each(region, [&](index_t y, index_t x) {
        if (!counts(grid, y, x)) return;
        const T* const k = qkv.row_data(grid.token(y, x)) + c + first;
        T sum = 0;
        for (index_t i = 0; i < head_dim; ++i) sum += q[i] * scale_ * k[i];
        scores[count++] = sum;
        largest = sum > largest ? sum : largest;
      });
    }
    T total = 0;
    for (index_t j = 0; j < count; ++j) {
      scores[j] = std::exp(scores[j] - largest);
      total += scores[j];
    }
    for (index_t i = 0; i < head_dim; ++i) out[i] = 0;
    index_t j = 0;
    for (const ExpertId region : regions) {
      grid.each(region, [&](index_t y, index_t x) {
        if (!counts(grid, y, x)) return;
        const T* const v = qkv.row_data(grid.token(y, x)) + 2 * c + first;
        const T weight = scores[j++] / total;
        for (index_t i = 0; i < head_dim; ++i) out[i] += weight * v[i];
      });
    }
  }
  // The convolution sees the padded image where padding is `input` and counts, and zeros beyond it.
  void enhance(const Grid& grid, MatrixView<T> qkv, MatrixView<T> mixed, Context& ctx) const {
    const index_t c = shape_.channels;
    const index_t side = shape_.local_kernel;
    const bool padded = shape_.padding == RegionPadding::input && !shape_.mask_padding;
    const index_t bottom = padded ? grid.regions_down * grid.region_height : grid.height;
    const index_t right = padded ? grid.padded_width() : grid.width;
    rows(mixed.rows, ctx, [&](index_t t) {
      T* const out = mixed.row_data(t);
      for (index_t i = 0; i < c; ++i) out[i] += weights_.local_bias[as_size(i)];
      for (index_t dy = 0; dy < side; ++dy) {
        const index_t y = t / grid.width + dy - side / 2;
        for (index_t dx = 0; dx < side; ++dx) {
          const index_t x = t % grid.width + dx - side / 2;
          if (y < 0 || y >= bottom || x < 0 || x >= right) continue;
          const T* const v = qkv.row_data(grid.token(y, x)) + 2 * c;
          for (index_t i = 0; i < c; ++i)
            out[i] += weights_.local[as_size((std::int64_t{i} * side + dy) * side + dx)] * v[i];
        }
      }
    });
  }

  BilevelRoutingShape shape_;
  BilevelRoutingWeights<T> weights_;
  T scale_;
};

}  // namespace headgate::inline HEADGATE_ABI
