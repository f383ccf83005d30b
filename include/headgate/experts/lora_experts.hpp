// LoraExperts: low-rank experts of one linear map (Hu et al. 2021, "LoRA", arXiv 2106.09685, section 4.1), as MoLA (Gao
// et al. 2024, 2402.08562, section 3), AdaMoE's exp_1 and LoRA-Mixer (Li et al. 2025, 2507.00029) put them on any
// projection:
//   E_e(x) = s_e B_e (A_e x),  A_e (rank_e, in_size), B_e (out_size, rank_e), s_e = alpha / rank where they are trained
// Ranks may differ from expert to expert. A bank that adds them to y (tokens, out_size), which the base projection has
// written (layers/routed_linear.hpp); with out_size = in_size also a bank of a MoELayer. B = 0 adds nothing.
//
// MoLA's own code (AdaMoE's exp_1) runs every expert over its tokens in turn, as this does, and takes one rank and one
// scale for all experts of a layer.
#pragma once

#include <cmath>
#include <utility>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/experts/experts.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"

namespace headgate::inline HEADGATE_ABI {

// One low-rank map s B A. a: (rank, in_size), b: (out_size, rank).
struct LoraMatrices {
  ConstRows a;
  ConstRows b;
  float scale = 1.0f;

  Status check(index_t in_size, index_t out_size) const noexcept {
    for (const ConstRows matrix : {a, b}) {
      if (Status status = check_view(matrix); !status.ok()) return status;
    }
    if (a.rows < 1) return Status::mismatch("rank of a low-rank expert, at least", a.rows, 1);
    if (a.cols != in_size) return Status::mismatch("columns of a against in_size", a.cols, in_size);
    if (b.rows != out_size) return Status::mismatch("rows of b against out_size", b.rows, out_size);
    if (b.cols != a.rows) return Status::mismatch("columns of b against the rank of a", b.cols, a.rows);
    if (!std::isfinite(scale)) return Status::not_finite("scale of a low-rank expert is not finite", -1, -1);
    return Status::success();
  }
};

// Table of structures: LoraExperts | low-rank experts added to any linear map | Gao et al. 2024, 2402.08562;
//   Li et al. 2025, 2507.00029
template <WeightFormat Format = F32, class Backend = NativeBackend>
class LoraExperts {
 public:
  // Of one element per expert. usage: matrices of other widths than in_size and out_size, or of two ranks; the format
  // packs no floats. numeric: a scale that is not finite. Throws std::bad_alloc.
  static Expected<LoraExperts> create(index_t in_size, index_t out_size, std::span<const LoraMatrices> experts,
                                      Format format = {}) {
    if (in_size < 1) return Status::mismatch("in_size of low-rank experts, at least", in_size, 1);
    if (out_size < 1) return Status::mismatch("out_size of low-rank experts, at least", out_size, 1);
    if (!format.packs_floats()) return Status{ErrorCode::usage, "the format keeps bytes of files and packs no floats"};
    if (experts.size() > as_size(max_index)) {
      return Status::mismatch("low-rank experts, at most", static_cast<std::int64_t>(experts.size()), max_index);
    }
    LoraExperts bank(in_size, out_size);
    for (std::size_t e = 0; e < experts.size(); ++e) {
      Status status = experts[e].check(in_size, out_size);
      if (status.ok() && !(format.fits(in_size) && format.fits(experts[e].b.cols))) {
        status = {ErrorCode::usage, "a row is no whole blocks of its format"};
      }
      if (!status.ok()) {
        status.expert = static_cast<ExpertId>(e);
        return status;
      }
      const auto& [a, b, scale] = experts[e];
      bank.experts_.push_back({Panel16<Format>(a, format), Panel16<Format>(b, format), scale});
    }
    return bank;
  }
  // Throws the same error.
  LoraExperts(index_t in_size, index_t out_size, std::span<const LoraMatrices> experts, Format format = {})
    requires has_exceptions
      : LoraExperts(create(in_size, out_size, experts, format).value()) {}

  index_t num_experts() const noexcept { return static_cast<index_t>(experts_.size()); }
  index_t in_size() const noexcept { return in_size_; }
  index_t out_size() const noexcept { return out_size_; }
  index_t hidden_size() const noexcept { return in_size_; }  // of the rows that it reads
  // Preconditions: the expert exists.
  index_t rank(ExpertId e) const noexcept { return experts_[as_size(e)].a.rows(); }
  float scale(ExpertId e) const noexcept { return experts_[as_size(e)].scale; }
  // Of the largest expert.
  std::int64_t expert_bytes() const noexcept {
    std::int64_t most = 0;
    for (const Expert& expert : experts_) most = std::max(most, expert.a.bytes() + expert.b.bytes());
    return most;
  }
  std::int64_t bytes() const noexcept {
    std::int64_t sum = 0;
    for (const Expert& expert : experts_) sum += expert.a.bytes() + expert.b.bytes();
    return sum;
  }

  // y (tokens, out_size) += sum over the row's entries of weight * E_e(x_t), x (tokens, in_size). On an error y holds
  // part of the sum.
  Status apply(const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) const {
    if (Status status = check_apply(plan, x, y, num_experts(), in_size_, out_size_); !status.ok()) return status;
    if (Status status = check_finite<Backend>(plan, x); !status.ok()) return status;
    const Workspace::Mark mark(ctx.workspace);
    const ExpertMajor by_expert = ExpertMajor::of(plan, ctx.workspace);
    for (index_t i = 0; i < by_expert.size(); ++i) {
      if (Status status = add(by_expert, i, x, y, ctx); !status.ok()) return status;
    }
    return Status::success();
  }

  // w (out_size, in_size) += weight * s_e B_e A_e: the expert becomes a part of a matrix.
  Status merge(ExpertId e, float weight, Rows w) const {
    if (e < 0 || e >= num_experts()) return Status::mismatch("expert id", e, num_experts() - 1);
    if (w.rows != out_size_) return Status::mismatch("rows of w against out_size", w.rows, out_size_);
    if (w.cols != in_size_) return Status::mismatch("columns of w against in_size", w.cols, in_size_);
    const Expert& expert = experts_[as_size(e)];
    std::vector<float> row(as_size(in_size_));
    for (index_t j = 0; j < rank(e); ++j) {
      expert.a.view().read_row(j, row.data());
      for (index_t o = 0; o < out_size_; ++o) {
        Backend::axpy(weight * expert.scale * expert.b.view()(o, j), row.data(), in_size_, w.row_data(o));
      }
    }
    return Status::success();
  }

 private:
  struct Expert {
    Panel16<Format> a;
    Panel16<Format> b;
    float scale;
  };
  LoraExperts(index_t in_size, index_t out_size) : in_size_(in_size), out_size_(out_size) {}

  // y += weight * E(x) of the rows of one expert.
  Status add(const ExpertMajor& plan, index_t i, ConstRows x, Rows y, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const Expert& expert = experts_[as_size(plan.experts[as_size(i)])];
    const index_t first = plan.offsets[as_size(i)];
    const std::span<const index_t> tokens = plan.tokens_of(i);
    const auto count = static_cast<index_t>(tokens.size());
    const Rows h = ctx.workspace.take_rows(count, expert.a.rows());
    const Rows out = ctx.workspace.take_rows(count, out_size_);
    ConstRows rows = {x.row_data(tokens[0]), count, in_size_, x.stride};
    if (tokens.back() - tokens.front() != count - 1) {  // not one after the other
      const Rows gathered = ctx.workspace.take_rows(count, in_size_);
      for (index_t r = 0; r < count; ++r) {
        std::copy_n(x.row_data(tokens[as_size(r)]), in_size_, gathered.row_data(r));
      }
      rows = gathered;
    }
    product<Backend>(expert.a.view(), rows, h, ctx);
    product<Backend>(expert.b.view(), h, out, ctx);
    const index_t n = ctx.slices(count);
    const std::span<index_t> bad = ctx.workspace.take<index_t>(n);
    ctx.parallel(n, [&](index_t s) {
      const Slice slice = Slice::of(count, n, s);
      bad[as_size(s)] = count;
      for (index_t r = slice.first; r < slice.last; ++r) {
        if (!Backend::all_finite(out.row_data(r), out_size_)) bad[as_size(s)] = std::min(bad[as_size(s)], r);
        const float weight = plan.weights[as_size(first + r)] * expert.scale;
        Backend::axpy(weight, out.row_data(r), out_size_, y.row_data(tokens[as_size(r)]));
      }
    });
    for (const index_t r : bad) {
      if (r == count) continue;
      return Status::not_finite("output of an expert is not finite", -1, tokens[as_size(r)], plan.experts[as_size(i)]);
    }
    return Status::success();
  }

  index_t in_size_;
  index_t out_size_;
  std::vector<Expert> experts_;
};

}  // namespace headgate::inline HEADGATE_ABI
